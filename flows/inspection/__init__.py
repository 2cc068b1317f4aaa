"""A first look at a source of images: what would become of it, and by which rules; nothing is written."""
