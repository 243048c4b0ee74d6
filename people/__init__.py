"""The people who use the portal: how they sign in, and what they may do."""
