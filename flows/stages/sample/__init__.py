"""Sample: draws images from a snapshot."""
