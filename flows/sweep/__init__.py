"""A sweep: the runs of a grid of settings, one process per run, and the table of their figures."""
