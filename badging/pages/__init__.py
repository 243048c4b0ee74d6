"""The course managers' pages under `/courses/`."""
