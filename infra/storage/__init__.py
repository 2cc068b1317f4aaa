"""Bytes by name, in a folder or on S3."""
