"""In which dtype a call runs: that of its tensors, or under autocast the one that torch's own modules come out with."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """The dtype of autocast where it is on for this device, else None."""
    known = torch.amp.is_autocast_available(
        device.type
    )  # not of every device, meta for one, may be asked whether it is on
    return torch.get_autocast_dtype(device.type) if known and torch.is_autocast_enabled(device.type) else None


def decided(device: torch.device) -> AbstractContextManager[Any]:
    """Within it autocast changes nothing more: the dtype of the call is known, and everything is in it."""
    return nullcontext() if autocast_dtype(device) is None else torch.autocast(device.type, enabled=False)


def result_dtype(kernel: str, x: Tensor, state: Sequence[Tensor] | None, *, fused: bool) -> torch.dtype | None:
    """The dtype to run in, or None where torch refuses the mixture.

    Under autocast torch casts what goes into its products, and the rest follows from promotion: an Elman layer comes out
    in autocast's dtype, the others in that promoted with the dtype of the state they carry. `fused`: the LSTM over padded
    sequences, which oneDNN runs in bfloat16 as a whole.
    """
    cast = autocast_dtype(x.device)
    if cast is None:
        return x.dtype
    if x.dtype == torch.float64:
        return None
    if kernel == "elman" or (kernel == "lstm" and fused and cast == torch.bfloat16 and x.dtype != torch.float16):
        return cast
    return torch.promote_types(cast, x.dtype if state is None else state[-1].dtype)
