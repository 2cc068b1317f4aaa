"""The kind of a source, told by the content and the names of its files."""
