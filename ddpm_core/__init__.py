"""The mathematics of denoising diffusion: torch only, no files, clock, environment or global state."""
