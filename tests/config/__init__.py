"""The settings and the log, as the programs have them."""
