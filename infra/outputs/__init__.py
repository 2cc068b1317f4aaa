"""What a stage writes, and how it is read again."""
