"""Comparing finished runs: what differs, and which differences of figures exceed their interval."""
