"""The network of FD-DINOv2: its size, its input, its weights from the files that people have."""
