"""Sample: a snapshot to images."""
