"""The formats of files that hold many images, read strictly: no size that a file claims is trusted."""
