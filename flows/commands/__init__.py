"""The command `ddpm`, one small file a command group."""
