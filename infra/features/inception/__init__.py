"""The Inception network of FID: its layers, its input, its weights from the files that people have."""
