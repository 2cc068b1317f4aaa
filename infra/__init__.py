"""The outside world: one outside service per file; none of them knows diffusion."""
