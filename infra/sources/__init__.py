"""The sources of images: one kind of source per file."""
