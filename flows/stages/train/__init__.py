"""Train: turns a data set into a snapshot of averaged weights."""
