"""The waits that the stand-in device lets pass, each by name; a test fails if one of them is no longer there."""

# File -> the beginning of a line that reads a value from the device.
READS = {
    # Once per batch, before the first of its 2 (T - 1) network calls.
    "ddpm_core/likelihood/flow.py": "levels = sigma.tolist()",
}

# File -> a function whose tensors are meant to be on the host.
HOST_WORK = {
    # It seeds torch's own generator, which takes a number of the host.
    "flows/stages/train/step.py": "_dropout_seed",
}
