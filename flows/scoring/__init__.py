"""Scoring images against images: metrics without a network."""
