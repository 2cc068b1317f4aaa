"""The outside world: one outside service a file; none of them knows diffusion."""
