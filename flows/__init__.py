"""The pipeline: its stages, the records that they exchange, the Prefect flow and the command line."""
