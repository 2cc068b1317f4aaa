"""The surroundings of a stage while it runs."""
