"""Sequences of numbers changed a little in training, so that few rows teach more: noise, scale, time, and place in a picture.

Every draw is made for the whole batch, so that a batch worked off in parts changes as it would as a whole.
"""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor

from recurra.config import Config
from recurra.layers.dropout import drawn_for

_WAVES = 3


class Augmentation(Config):
    """How much inputs are changed, in units of standardised values and shares of the length.

    - jitter: standard deviation of the noise on each value.
    - scale: standard deviation of the factor of each feature of a row, around one.
    - warp: how far, as a share of the length, time is stretched and squeezed along smooth waves.
    - shift: steps and features that a picture is moved by at most; what comes in is `edge`.
    """

    jitter: float = Field(default=0.0, ge=0)
    scale: float = Field(default=0.0, ge=0)
    warp: float = Field(default=0.0, ge=0, lt=0.5)
    shift: int = Field(default=0, ge=0)
    edge: float = 0.0


def augmented(inputs: Tensor, lengths: Tensor | None, how: Augmentation) -> Tensor:
    """inputs[T, B, F], changed. Steps past the end of a row stay what they are; NaN stays NaN."""
    steps, batch = inputs.shape[:2]
    if not steps:
        return inputs
    ends = torch.full((batch,), steps, device=inputs.device) if lengths is None else lengths
    if how.warp:
        inputs = _warped(inputs, ends, how.warp)
    if how.scale:
        inputs = inputs * (1 + how.scale * drawn_for(inputs[0]))
    if how.jitter:
        inputs = inputs + how.jitter * drawn_for(inputs.transpose(0, 1)).transpose(0, 1)
    if how.shift:
        inputs = _shifted(inputs, how.shift, how.edge)
    return inputs


def _warped(inputs: Tensor, ends: Tensor, amount: float) -> Tensor:
    """Each row read at places that lie a few sine waves off; its first and last step stay where they are."""
    steps, batch, features = inputs.shape
    last = (ends - 1).clamp(min=1).to(inputs.dtype)
    time = torch.arange(steps, device=inputs.device, dtype=inputs.dtype)[:, None]
    place = (time / last).clamp(max=1)
    heights = amount * drawn_for(inputs.new_empty(batch, _WAVES))
    waves = sum(heights[:, wave] * torch.sin(math.pi * (wave + 1) * place) / (wave + 1) for wave in range(_WAVES))
    wanted = (place + waves).clamp(0, 1) * last
    low = wanted.floor().long()
    high = torch.minimum(low + 1, (ends - 1).clamp(min=0))
    part = (wanted - low)[..., None]

    def at(places: Tensor) -> Tensor:
        return inputs.gather(0, places[..., None].expand(steps, batch, features))

    mixed = torch.where(part == 0, at(low), at(low) * (1 - part) + at(high) * part)
    return torch.where((time < ends)[..., None], mixed, inputs)


def _shifted(inputs: Tensor, most: int, edge: float) -> Tensor:
    """Pictures moved by whole steps and features, each row of the batch its own way."""
    steps, batch, features = inputs.shape
    by = torch.round((drawn_for(inputs.new_empty(batch, 2), uniform=True) * 2 - 1) * (most + 0.499)).long()
    time = torch.arange(steps, device=inputs.device)[:, None] - by[:, 0]
    place = torch.arange(features, device=inputs.device)[:, None] - by[:, 1]
    rows = torch.arange(batch, device=inputs.device)
    moved = inputs[time.clamp(0, steps - 1), rows].gather(
        2, place.clamp(0, features - 1).T[None].expand(steps, batch, features)
    )
    inside = ((time >= 0) & (time < steps))[..., None] & ((place >= 0) & (place < features)).T[None]
    return torch.where(inside, moved, edge)
