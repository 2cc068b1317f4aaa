"""Extractors of features, by name."""
