"""What a model is trained on."""

from __future__ import annotations

import torch

from recurra.errors import UsageError
from recurra.training import local_rank


def chosen_device(name: str) -> torch.device:
    """The device that a person named; "auto" is a GPU where there is one. Raises `UsageError` for one that is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "cuda" and device.index is None:
            # processes on one machine take a GPU each
            device = torch.device("cuda", local_rank() % max(1, torch.cuda.device_count()))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"There is no device '{name}' to train on",
            got=str(error).split("\n")[0][:120],
            expected="auto, cpu, cuda or mps",
        ) from error
    return device
