"""Evaluate: samples and held-out images to figures."""
