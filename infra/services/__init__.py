"""Servers that we start, and what we ask of those that others started."""
