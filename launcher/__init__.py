"""Starts, restarts and stops the portal's programs on one host."""
