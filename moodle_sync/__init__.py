"""What Moodle says: its web-service client, and the sites, courses, learners and completions read through it."""
