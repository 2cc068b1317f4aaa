"""The four stages: plain functions from artifacts and a config to an artifact."""
