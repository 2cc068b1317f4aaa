"""The checks, a file per check."""
