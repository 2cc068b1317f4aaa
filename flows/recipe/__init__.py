"""A recipe: the settings of every stage, their sources, and the identity of a run."""
