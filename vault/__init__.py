"""Secrets at rest: an encrypted model field, its keys, and a command that rotates them."""
