"""Where outputs go."""

import os

DEFAULT_ROOT = "ddpm-runs"


def resolve_root(root: str) -> str:
    """The folder of all outputs: what was given, else DDPM_ROOT, else ./ddpm-runs."""
    return root or os.environ.get("DDPM_ROOT", "") or DEFAULT_ROOT
