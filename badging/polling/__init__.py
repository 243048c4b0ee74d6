"""Polling: each Moodle site as soon as it is due, many at once, and an issuance for each completion that counts."""
