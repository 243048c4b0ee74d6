"""Secrets at rest: an encrypted model field, its keys, and the command that rotates them."""
