"""A Prefect run, seen from the process that works for it."""
