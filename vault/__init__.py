"""Secrets at rest: encrypted fields, keyed digests, their keys, and a command that rotates them."""
