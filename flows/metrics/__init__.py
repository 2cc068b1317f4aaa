"""Metrics, and the outputs that their figures rest on."""
