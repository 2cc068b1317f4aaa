"""Speed beside public packages, and figures of real GPUs; see RESULTS.md."""
