"""The command `ddpm`, one small file per command group."""
