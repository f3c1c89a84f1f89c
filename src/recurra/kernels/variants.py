"""Which step of `steps` a call of a kernel means, and the parameters by the names that the step knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recurra.kernels.steps import STEPS

Zoneout = Tensor | float | None
"""The share of the old state that stays: [T, B, H] (random zeros and ones in training), one number, or nothing."""


@dataclass(frozen=True)
class Variant:
    """A step and what it is given besides the projected inputs and the state."""

    kernel: str
    options: tuple[Any, ...]
    """Of the step, in the order of its fields."""
    zones: tuple[Tensor, ...]
    """More inputs of every step, [T, B, H]."""
    parameters: dict[str, Tensor]
    fixed: dict[str, Tensor]
    """By row, the same at every step, [B, H]."""

    @property
    def step(self) -> Callable[..., Any]:
        return STEPS[self.kernel](*self.options)

    @property
    def given(self) -> dict[str, Tensor]:
        return {**self.parameters, **self.fixed}


def _present(**values: Tensor | None) -> dict[str, Tensor]:
    return {name: value for name, value in values.items() if value is not None}


def _zones(*values: Zoneout) -> tuple[Tensor, ...]:
    return tuple(value for value in values if isinstance(value, Tensor))


def _share(value: Zoneout) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def elman(
    weight: Tensor, mask: Tensor | None, activation: str, norm: Tensor | None = None, zoneout: Zoneout = None
) -> Variant:
    options = (activation, _share(zoneout), isinstance(zoneout, Tensor))
    return Variant("elman", options, _zones(zoneout), _present(weight=weight, norm=norm), _present(mask=mask))


def gru(
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    reset_after: bool,
    norm: Tensor | None = None,
    gate_activation: str = "sigmoid",
    activation: str = "tanh",
    zoneout: Zoneout = None,
) -> Variant:
    hidden = weight.shape[0] // 3
    parts = [2 * hidden, hidden]
    weight_rz, weight_n = weight.split(parts)
    norm_rz, norm_n = (None, None) if norm is None else norm.split(parts)
    options = (reset_after, gate_activation, activation, _share(zoneout), isinstance(zoneout, Tensor))
    parameters = _present(weight_rz=weight_rz, weight_n=weight_n, bias=bias, norm_rz=norm_rz, norm_n=norm_n)
    return Variant("gru", options, _zones(zoneout), parameters, _present(mask=mask))


def lstm(
    weight: Tensor,
    mask: Tensor | None,
    peepholes: Tensor | None,
    projection: Tensor | None,
    norm: Tensor | None = None,
    norm_cell: Tensor | None = None,
    coupled: bool = False,
    clip: float | None = None,
    gate_activation: str = "sigmoid",
    activation: str = "tanh",
    zoneout: Zoneout = None,
    zoneout_cell: Zoneout = None,
) -> Variant:
    options = (
        coupled, clip, gate_activation, activation, _share(zoneout), isinstance(zoneout, Tensor),
        _share(zoneout_cell), isinstance(zoneout_cell, Tensor),
    )  # fmt: skip
    i, f, o = (None, None, None) if peepholes is None else peepholes.unbind()
    gain, shift = (None, None) if norm_cell is None else norm_cell.unbind()
    parameters = _present(
        weight=without_forget(weight) if coupled else weight, projection=projection,
        norm=norm if norm is None or not coupled else without_forget(norm), peephole_i=i,
        peephole_f=None if coupled else f, peephole_o=o, norm_gain=gain, norm_bias=shift,
    )  # fmt: skip
    return Variant("lstm", options, _zones(zoneout, zoneout_cell), parameters, _present(mask=mask))


def without_forget(sums: Tensor, dim: int = 0) -> Tensor:
    """The four blocks i, f, g, o without f, which coupled gates do not compute."""
    i, _, g, o = sums.chunk(4, dim=dim)
    return torch.cat([i, g, o], dim=dim)
