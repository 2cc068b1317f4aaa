"""Distances between collections of images, from their features."""
