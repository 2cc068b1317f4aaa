"""Settings of a run that takes seconds; in a module of its own, for tests that import nothing else."""

# The digits, a chain of 20 steps and a network of a few thousand weights: every part, nothing slow.
TINY = (
    "train.images=1280",
    "train.history_images=320",
    "train.checkpoint_images=320",
    "train.batch_size=64",
    "train.num_timesteps=20",
    "train.beta_end=0.3",
    "train.base_channels=8",
    "train.norm_groups=4",
    "train.threads=1",
    "train.dtype=float32",
    "train.watch_samples=32",
    "sample.count=24",
    "sample.batch_size=8",
    "sample.num_steps=5",
    "sample.dtype=float32",
    "evaluate.bpd_images=16",
    "evaluate.batch_size=8",
    "evaluate.extractor=pixels",
)
