"""The runs and outputs below a root, how they refer to each other, and the outputs that nothing refers to."""
