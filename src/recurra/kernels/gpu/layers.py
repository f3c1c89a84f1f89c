"""Elman, GRU and LSTM layers by the kernels of `layer_kernels.py`: what they take, and the products around them.

The inputs are projected for all steps in one large product before, and the gradients of weights are large products after;
both are torch's. Nothing is read back from the device, so that a call can be recorded into a CUDA graph.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor

from recurra.kernels.derived import derived_gradient
from recurra.kernels.gpu.launch import HOW, accumulator, flags, on_device, wide
from recurra.kernels.gpu.layer_kernels import backward_steps, forward_steps
from recurra.kernels.native import ACTIVATIONS, GATES
from recurra.kernels.reference import project

ROWS = 16
"""Rows that one program takes: the least that its products may have."""
RESIDENT = 64
"""Up to this many units the recurrent weight stays in a program, in float32."""
SHARED = 98304
"""Bytes of shared memory that this takes (an LSTM's gradient, as compiled for compute capability 9.0)."""
BLOCK = 32
"""Units of a block of the weight where it does not stay."""

PROJECTED = ("x", "weight_in", "bias_in", "tokens", "lengths")


def _resident(h: Tensor) -> int:
    if h.is_cuda and torch.cuda.get_device_properties(h.device).shared_memory_per_block_optin < SHARED:
        return BLOCK
    return BLOCK if h.dtype == torch.float64 else RESIDENT


def _plan(kernel: str, inputs: dict[str, Any], block: int | None) -> dict[str, Any]:
    """The choices a launch is compiled for; `block` forces the size of the weight's blocks."""
    hidden = inputs["h"].shape[1]
    whole = max(16, triton.next_power_of_2(hidden))
    units = block or (whole if whole <= _resident(inputs["h"]) else BLOCK)
    return {
        **HOW,
        "GATES": GATES[kernel],
        "ACTIVATION": ACTIVATIONS[inputs.get("activation", "tanh")],
        "REVERSE": inputs["reverse"],
        "RESIDENT": hidden <= units,
        "R": ROWS,
        "U": units,
        "ACC": accumulator(inputs["h"].dtype).triton,
    }


def _packed(value: Tensor | None) -> Tensor | None:
    return None if value is None else value.contiguous()


def _buffer(first: Tensor, dtype: torch.dtype) -> Tensor:
    """Two places for what a step leaves to the next, the first one filled."""
    both = first.new_empty(2, *first.shape, dtype=dtype)
    both[0] = first
    return both


def forward(kernel: str, inputs: dict[str, Any], block: int | None = None) -> tuple[Tensor, ...]:
    """The results of `reference.KERNEL` for arguments by name, x[T, B, I] or a table with tokens[T, B].

    Numbers of 16 bits are computed in float32, and results rounded once.
    """
    narrow = inputs["h"].dtype
    inputs = {name: wide(value) for name, value in inputs.items()}
    return tuple(value.to(narrow) for value in _forward(kernel, inputs, block))


def _forward(kernel: str, inputs: dict[str, Any], block: int | None) -> tuple[Tensor, ...]:
    h, keep = inputs["h"], inputs["keep"]
    sums = project(*(inputs[name] for name in PROJECTED)).contiguous()
    (steps, batch), hidden, lstm = sums.shape[:2], h.shape[1], kernel == "lstm"
    acc = accumulator(h.dtype).torch
    states = _buffer(h, acc)
    c = inputs["c"].to(acc, copy=True).contiguous() if lstm else None
    outputs = h.new_empty(steps, batch, hidden)
    gates = h.new_empty((steps, batch, hidden * (1 if kernel == "elman" else 4)) if keep else 0)
    cells = h.new_empty((steps, batch, hidden) if keep else 0) if lstm else None
    if batch and hidden:
        with on_device(h):
            forward_steps[(triton.cdiv(batch, ROWS),)](
                sums, _packed(inputs["weight"]), _packed(inputs.get("bias")), _packed(inputs["mask"]),
                _packed(inputs["lengths"]), flags(inputs["resets"]), states, c, outputs, gates, cells, steps, batch, hidden,
                KEEP=keep, **_plan(kernel, inputs, block),
            )  # fmt: skip
    h_last = states[steps % 2].to(h.dtype, copy=True)
    if c is None or cells is None:
        return outputs, h_last, gates
    return outputs, h_last, c.to(h.dtype), gates, cells


def backward(
    kernel: str,
    grads: dict[str, Tensor | None],
    inputs: dict[str, Any],
    kept: dict[str, Tensor],
    need_x: bool,
    block: int | None = None,
) -> dict[str, Tensor]:
    """The gradients by name of all that was given, from those of outputs, last states and cells (None is zero)."""
    narrow = inputs["h"].dtype
    grads, inputs, kept = ({name: wide(value) for name, value in each.items()} for each in (grads, inputs, kept))
    return {name: value.to(narrow) for name, value in _backward(kernel, grads, inputs, kept, need_x, block).items()}


def _backward(
    kernel: str, grads: dict[str, Any], inputs: dict[str, Any], kept: dict[str, Any], need_x: bool, block: int | None
) -> dict[str, Tensor]:
    h, weight, outputs = inputs["h"], inputs["weight"], kept["outputs"].contiguous()
    (steps, batch, hidden), lstm = outputs.shape, kernel == "lstm"
    acc = accumulator(h.dtype).torch

    def given(name: str, like: Tensor) -> Tensor:
        grad = grads[name]
        return torch.zeros_like(like) if grad is None else grad.contiguous()

    d_h = _buffer(given("grad_h_last", h), acc)
    d_c = given("grad_c_last", inputs["c"]).to(acc, copy=True) if lstm else None
    d_sums = h.new_empty(steps, batch, hidden * (1 if kernel == "elman" else 4), dtype=acc)
    if batch and hidden:
        with on_device(h):
            backward_steps[(triton.cdiv(batch, ROWS),)](
                given("grad_outputs", outputs), _packed(grads.get("grad_cells")), _packed(weight), _packed(inputs["mask"]),
                _packed(inputs["lengths"]), flags(inputs["resets"]), _packed(h), _packed(inputs.get("c")), outputs,
                _packed(kept["gates"]), _packed(kept.get("cells")), d_h, d_c, d_sums, steps, batch, hidden,
                **_plan(kernel, inputs, block),
            )  # fmt: skip
    found = {"h": d_h[steps % 2].to(h.dtype, copy=True)}
    if d_c is not None:
        found["c"] = d_c.to(h.dtype)
    recurrent, of_inputs = d_sums, d_sums
    if kernel == "gru":
        # the third block is n's own sum, the fourth that of the product which its gate multiplies
        r_z, n, q = d_sums.split([2 * hidden, hidden, hidden], dim=-1)
        recurrent, of_inputs = torch.cat([r_z, q], dim=-1), torch.cat([r_z, n], dim=-1)
        if inputs["bias"] is not None:
            found["bias"] = q.sum(dim=(0, 1)).to(h.dtype)
    before = states_before(outputs, h, inputs["lengths"], inputs["resets"], inputs["reverse"]).to(acc)
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
