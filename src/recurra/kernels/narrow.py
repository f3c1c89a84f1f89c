"""Numbers of 16 bits: which they are, and as what they are computed where no kernel takes them as they are."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_NARROW = (torch.bfloat16, torch.float16)


def wide(value: Any) -> Any:
    """Numbers of 16 bits in float32; all else as it is."""
    narrow = isinstance(value, Tensor) and value.dtype in _NARROW
    return value.float() if narrow else value
