"""The listing of a source: all of its images, each with its split and its class."""
