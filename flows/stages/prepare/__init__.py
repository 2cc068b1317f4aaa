"""Prepare: a source of images to a sealed data set."""
