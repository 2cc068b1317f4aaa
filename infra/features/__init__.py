"""Feature extractors, by name."""
