"""A recipe: every stage's settings, where they come from, and the identity of a run."""
