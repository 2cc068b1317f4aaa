"""Every figure wanted from the first hour on a GPU: `python -m benchmarks.gpu.run`."""
