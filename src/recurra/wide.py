"""The widest floating type of a device: float64, or float32 where there is no wider one (Apple's graphics processors).

Sums over many steps and rows are kept in it. On such a device they have the accuracy of float32, and a cut between two
pieces of a sequence may change their last bits.
"""

from __future__ import annotations

import torch
from torch import Tensor

WITHOUT_FLOAT64 = {"mps"}
"""The kinds of devices that have no float64."""


def widest(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type in WITHOUT_FLOAT64 else torch.float64


def widened(value: Tensor) -> Tensor:
    """`value` in the widest type of its device."""
    return value.to(widest(value.device))


def moved(value: Tensor, device: torch.device) -> Tensor:
    """`value` on a device; in float32 where it is float64 and the device has none."""
    lost = value.dtype == torch.float64 and widest(device) != torch.float64
    return value.to(device, torch.float32 if lost else value.dtype, non_blocking=True)
