"""The likelihood of images: the variational bound, its estimate from a few timesteps, and the flow's density."""
