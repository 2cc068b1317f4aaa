"""Reverse chains: from x_T to images."""
