"""Prepare: turns a source of images into a sealed data set."""
