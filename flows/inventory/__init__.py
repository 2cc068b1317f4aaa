"""What is below a root: runs, outputs, how they refer to each other, and what nothing refers to."""
