"""Measures the figures of the README, each against a limit or against a peer in the same run."""
