"""The outputs of stages: how they are written, sealed and read."""
