"""Elman, GRU and LSTM layers by the kernels of `layer_kernels.py`: what they take, and the products around them.

The inputs are projected for all steps in one large product before, and the gradients of weights are large products after;
both are torch's. Nothing is read back from the device, so that a call can be recorded into a CUDA graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recurra.kernels.derived import derived_gradient
from recurra.kernels.gpu.launch import accumulator, by_length, flags, packed, state_buffer, through_steps, wide
from recurra.kernels.gpu.layer_kernels import backward_steps, forward_steps
from recurra.kernels.gpu.shares import ROWS, Device, Shares, options, share_out
from recurra.kernels.native import ACTIVATIONS, GATES
from recurra.kernels.reference import project

PROJECTED = ("x", "weight_in", "bias_in", "tokens", "lengths")


def _options(kernel: str, inputs: dict[str, Any], shares: Shares, device: Device) -> dict[str, Any]:
    """The choices a launch is compiled for."""
    return {
        "GATES": GATES[kernel],
        "ACTIVATION": ACTIVATIONS[inputs.get("activation", "tanh")],
        "REVERSE": inputs["reverse"],
        **options(shares, inputs["h"].dtype, device),
    }


@dataclass(frozen=True)
class Way:
    """How a call is run; for tests and measurements, since all ways give the same numbers."""

    shares: Shares | None = None
    """By default what `share_out` says."""
    stepwise: bool | None = None
    """One launch a step; by default where programs cannot meet."""


def _shares(kernel: str, h: Tensor, way: Way, device: Device) -> Shares:
    return way.shares or share_out(GATES[kernel], h.shape[1], h.shape[0], h.dtype, device)


def forward(kernel: str, inputs: dict[str, Any], way: Way = Way()) -> tuple[Tensor, ...]:
    """The results of `reference.KERNEL` for arguments by name, x[T, B, I] or a table with tokens[T, B].

    Numbers of 16 bits are computed in float32, and results rounded once.
    """
    narrow = inputs["h"].dtype
    inputs = {name: wide(value) for name, value in inputs.items()}
    return tuple(value.to(narrow) for value in _forward(kernel, inputs, way))


def _forward(kernel: str, inputs: dict[str, Any], way: Way) -> tuple[Tensor, ...]:
    h, keep, lengths = inputs["h"], inputs["keep"], inputs["lengths"]
    sums = project(*(inputs[name] for name in PROJECTED)).contiguous()
    (steps, batch), hidden, lstm = sums.shape[:2], h.shape[1], kernel == "lstm"
    acc, device = accumulator(h.dtype).torch, Device.of(h)
    states = state_buffer(h, acc)
    c = inputs["c"].to(acc, copy=True).contiguous() if lstm else None
    # (steps that no row of a block takes are not written)
    make = h.new_empty if lengths is None else h.new_zeros
    outputs = make(steps, batch, hidden)
    gates = make((steps, batch, hidden * (1 if kernel == "elman" else 4)) if keep else 0)
    cells = make((steps, batch, hidden) if keep else 0) if lstm else None
    h_last = h.new_empty(h.shape, dtype=acc) if steps else states[0]
    if batch and hidden and steps:
        shares = _shares(kernel, h, way, device)
        args = (
            sums, packed(inputs["weight"]), packed(inputs.get("bias")), packed(inputs["mask"]), packed(lengths),
            flags(inputs["resets"]), by_length(lengths, ROWS), states, c, outputs, gates, cells, h_last,
        )  # fmt: skip
        chosen = {"KEEP": keep, **_options(kernel, inputs, shares, device)}
        grid = -(-batch // ROWS), shares.parts
        through_steps(forward_steps, args, (steps, batch, hidden), h, grid, chosen, stepwise=way.stepwise)
    h_last = h_last.to(h.dtype, copy=True)
    if c is None or cells is None:
        return outputs, h_last, gates
    return outputs, h_last, c.to(h.dtype), gates, cells


def backward(
    kernel: str,
    grads: dict[str, Tensor | None],
    inputs: dict[str, Any],
    kept: dict[str, Tensor],
    need_x: bool,
    way: Way = Way(),
) -> dict[str, Tensor]:
    """The gradients by name of all that was given, from those of outputs, last states and cells (None is zero)."""
    narrow = inputs["h"].dtype
    grads, inputs, kept = ({name: wide(value) for name, value in each.items()} for each in (grads, inputs, kept))
    return {name: value.to(narrow) for name, value in _backward(kernel, grads, inputs, kept, need_x, way).items()}


def _backward(
    kernel: str, grads: dict[str, Any], inputs: dict[str, Any], kept: dict[str, Any], need_x: bool, way: Way
) -> dict[str, Tensor]:
    h, weight, outputs = inputs["h"], inputs["weight"], kept["outputs"].contiguous()
    (steps, batch, hidden), lstm = outputs.shape, kernel == "lstm"
    acc, device, lengths = accumulator(h.dtype).torch, Device.of(h), inputs["lengths"]

    def given(name: str, like: Tensor) -> Tensor:
        grad = grads[name]
        return like.new_zeros(like.shape) if grad is None else grad.contiguous()

    d_h = state_buffer(given("grad_h_last", h), acc)
    d_c = given("grad_c_last", inputs["c"]).to(acc, copy=True) if lstm else None
    make = h.new_empty if lengths is None else h.new_zeros
    d_sums = make(steps, batch, hidden * (1 if kernel == "elman" else 4), dtype=acc)
    d_first = h.new_empty(h.shape, dtype=acc) if steps else d_h[0]
    if batch and hidden and steps:
        shares = _shares(kernel, h, way, device)
        args = (
            given("grad_outputs", outputs), packed(grads.get("grad_cells")), packed(weight), packed(inputs["mask"]),
            packed(lengths), flags(inputs["resets"]), by_length(lengths, ROWS), packed(h), packed(inputs.get("c")),
            outputs, packed(kept["gates"]), packed(kept.get("cells")), d_h, d_c, d_sums, d_first,
        )  # fmt: skip
        chosen = _options(kernel, inputs, shares, device)
        grid, sizes = (-(-batch // ROWS), shares.parts), (steps, batch, hidden)
        through_steps(backward_steps, args, sizes, h, grid, chosen, phases=(1, 2), stepwise=way.stepwise)
    found = {"h": d_first.to(h.dtype, copy=True)}
    if d_c is not None:
        found["c"] = d_c.to(h.dtype)
    recurrent, of_inputs = d_sums, d_sums
    if kernel == "gru":
        # the third block is n's own sum, the fourth that of the product which its gate multiplies
        r_z, n, q = d_sums.split([2 * hidden, hidden, hidden], dim=-1)
        recurrent, of_inputs = torch.cat([r_z, q], dim=-1), torch.cat([r_z, n], dim=-1)
        if inputs["bias"] is not None:
            found["bias"] = q.sum(dim=(0, 1)).to(h.dtype)
    before = states_before(outputs, h, lengths, inputs["resets"], inputs["reverse"]).to(acc)
    before = before if inputs["mask"] is None else before * inputs["mask"]
    found["weight"] = (recurrent.flatten(0, 1).T @ before.flatten(0, 1)).to(weight.dtype)
    wanted = ["x", "weight_in", "bias_in"] if need_x else ["weight_in", "bias_in"]
    named = {name: inputs[name] for name in PROJECTED}
    if any(named[name] is not None for name in wanted):
        found.update(derived_gradient(_projected, wanted, named, [of_inputs.to(h.dtype)]))
    return found


def _projected(**inputs: Any) -> tuple[Tensor]:
    return (project(**inputs),)


def states_before(outputs: Tensor, h: Tensor, lengths: Tensor | None, resets: Tensor | None, reverse: bool) -> Tensor:
    """The state that each step of a row was given, [T, B, H]: the output before it, the first state, or zeros."""
    if outputs.shape[0] == 0:
        return outputs
    first = h[None].to(outputs.dtype)
    before = torch.cat([outputs[1:], first]) if reverse else torch.cat([first, outputs[:-1]])
    if reverse and lengths is not None:
        ends = torch.arange(1, outputs.shape[0] + 1, device=outputs.device)[:, None] == lengths
        before = torch.where(ends[..., None], first, before)
    return before if resets is None else torch.where(resets[..., None], torch.zeros_like(before), before)
