"""Prefect: an API to work with, our own server, and the runs and deployments on it."""
