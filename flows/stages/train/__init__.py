"""Train: a data set to a snapshot of averaged weights."""
