"""Watching a training run: figures and images of its points, on fixed noise, without a byte of training changed."""
