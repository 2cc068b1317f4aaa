"""The pipeline: stages, the records they exchange, the Prefect flow and the command line."""
