"""The presets: recipes that have a name, a file each, and their table."""
