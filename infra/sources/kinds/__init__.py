"""The kinds of sources, one per file: each finds the images of the user's files and reads them."""
