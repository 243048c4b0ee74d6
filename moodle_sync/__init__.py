"""Moodle: its web-service client, and the sites, courses, learners and completions that are read from it."""
