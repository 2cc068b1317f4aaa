"""The message of a run that somebody takes for dead; a process that finds it on its own run takes the run back."""

LOST = "Its process gave no sign of life. A new run of it goes on from the finished work."
