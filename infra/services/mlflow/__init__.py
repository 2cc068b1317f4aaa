"""MLflow's server, started by us."""
