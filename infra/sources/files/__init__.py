"""The user's files, local or on S3."""
