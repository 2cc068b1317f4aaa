"""The questions of a run to the nodes that will work for it, and their answers: devices, room, environments."""
