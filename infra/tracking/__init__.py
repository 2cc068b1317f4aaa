"""MLflow: runs recorded so that tracking never hurts the work."""
