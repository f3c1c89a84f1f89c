"""Elman, GRU and LSTM layers by Triton kernels: which of them, what they take, and the products around them.

The kernels are those of `alone_kernels.py` for small layers, of `resident_forward.py` and `resident_backward.py` where the
recurrent weight has room in the programs, else of `layer_kernels.py`.

The inputs are projected for all steps in one large product before, and the gradients of weights are large products after;
both are torch's. Nothing is read back from the device, so that a call can be recorded into a CUDA graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recurra.kernels.derived import derived_gradient
from recurra.kernels.gpu.alone_kernels import backward_alone, forward_alone
from recurra.kernels.gpu.launch import (
    HOW,
    accumulator,
    by_length,
    flags,
    on_device,
    operands,
    packed,
    state_buffer,
    through_steps,
)
from recurra.kernels.gpu.layer_kernels import backward_steps, forward_steps
from recurra.kernels.gpu.resident_backward import backward_resident
from recurra.kernels.gpu.resident_forward import forward_resident
from recurra.kernels.gpu.resident_shares import Resident, keep
from recurra.kernels.gpu.shares import Device, Shares, options, share_out
from recurra.kernels.native import ACTIVATIONS, GATES
from recurra.kernels.reference import project

PROJECTED = ("x", "weight_in", "bias_in", "tokens", "lengths")


@dataclass(frozen=True)
class Way:
    """How a call is run; for tests and measurements, since all ways give the same numbers."""

    shares: Shares | Resident | None = None
    """By default what `keep` says, else what `share_out` says."""
    stepwise: bool | None = None
    """One launch a step; by default where programs cannot meet."""


class _Call:
    """A call of a kernel of steps: which of them, and what it takes besides the values it works on."""

    def __init__(self, kernel: str, inputs: dict[str, Any], steps: int, way: Way, backward: bool) -> None:
        h = inputs["h"]
        batch, hidden = h.shape
        device, dtype = Device.of(h), h.dtype
        kept = way.shares or keep(GATES[kernel], hidden, batch, dtype, device, backward)
        self.h, self.way, self.backward, self.gates = h, way, backward, GATES[kernel]
        self.shares: Shares | Resident = kept or share_out(hidden, batch, device, many=True)
        self.resident = isinstance(self.shares, Resident)
        rows = self.shares.rows
        self.blocks, self.sizes = -(-batch // rows), (steps, batch, hidden)
        own = (
            self.shares.options(dtype, device)
            if isinstance(self.shares, Resident)
            else options(self.shares, dtype, device)
        )
        self.options: dict[str, Any] = {
            "GATES": self.gates, "ACTIVATION": ACTIVATIONS[inputs.get("activation", "tanh")], "REVERSE": inputs["reverse"],
            **own,
        }  # fmt: skip
        lengths = packed(inputs["lengths"])
        self.rows = packed(inputs["mask"]), lengths, flags(inputs["resets"]), by_length(lengths, rows)

    @property
    def alone(self) -> bool:
        return self.resident and self.shares.parts == 1

    def exchange(self) -> tuple[Tensor, ...]:
        """What parts hand to one another, as products take it, in two places; nothing where they do not."""
        if not isinstance(self.shares, Resident) or self.alone:
            return ()
        width = self.shares.chunk * self.shares.chunks * (self.gates if self.backward else 1)
        return (self.h.new_zeros(2, self.blocks * self.shares.rows, width, dtype=operands(self.h.dtype).torch),)

    def masks(self) -> tuple[Tensor, ...]:
        """The bits that a number of tf32 has, where a kernel wants them from memory (`held` in resident_common.py)."""
        return (torch.full((1,), -8192, dtype=torch.int32, device=self.h.device),) if self.resident else ()

    def run(self, kernels: tuple[Any, Any, Any], args: tuple[Any, ...], phases: tuple[int, ...], **more: Any) -> None:
        """One of the three kernels: where a program is alone, where weights stay, where they do not."""
        alone, resident, steps = kernels
        chosen = {**self.options, **more}
        if self.alone:
            with on_device(self.h):
                alone[(self.blocks,)](*args, *self.sizes, **HOW, **chosen)
            return
        kernel, grid = resident if self.resident else steps, (self.blocks, self.shares.parts)
        through_steps(kernel, args, self.sizes, self.h, grid, chosen, phases, self.way.stepwise)


def _fresh(value: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy in rows."""
    return value.to(dtype, copy=True, memory_format=torch.contiguous_format)


def forward(kernel: str, inputs: dict[str, Any], way: Way = Way()) -> tuple[Tensor, ...]:
    """The results of `reference.KERNEL` for arguments by name, x[T, B, I] or a table with tokens[T, B].

    Numbers of 16 bits are multiplied as they are and added up in float32, in which the state is carried through all steps.
    """
    h, keep, lengths = inputs["h"], inputs["keep"], inputs["lengths"]
    sums = project(*(inputs[name] for name in PROJECTED)).contiguous()
    (steps, batch), hidden, lstm = sums.shape[:2], h.shape[1], kernel == "lstm"
    acc = accumulator(h.dtype).torch
    last, c = _fresh(h, acc), _fresh(inputs["c"], acc) if lstm else None
    # (steps that no row of a block takes are not written)
    make = h.new_empty if lengths is None else h.new_zeros
    outputs = make(steps, batch, hidden)
    gates = make((steps, batch, hidden * (1 if kernel == "elman" else 4)) if keep else 0)
    cells = make((steps, batch, hidden) if keep else 0) if lstm else None
    if batch and hidden and steps:
        call = _Call(kernel, inputs, steps, way, False)
        given = sums, packed(inputs["weight"]), packed(inputs.get("bias")), *call.rows
        if call.resident:
            args = (*given, last, c, *call.exchange(), outputs, gates, cells, *call.masks())
        else:
            args = (*given, state_buffer(h, acc), c, outputs, gates, cells, last)
        phases = (1, 2) if call.resident else ()
        call.run((forward_alone, forward_resident, forward_steps), args, phases, KEEP=keep)
    last = last.to(h.dtype)
    if c is None or cells is None:
        return outputs, last, gates
    return outputs, last, c.to(h.dtype), gates, cells


def backward(
    kernel: str,
    grads: dict[str, Tensor | None],
    inputs: dict[str, Any],
    kept: dict[str, Tensor],
    need_x: bool,
    way: Way = Way(),
) -> dict[str, Tensor]:
    """The gradients by name of all that was given, from those of outputs, last states and cells (None is zero).

    Of numbers of 16 bits the gradients of the sums are rounded once, for the products that they are multiplied in.
    """
    h, weight, outputs = inputs["h"], inputs["weight"], kept["outputs"].contiguous()
    (steps, batch, hidden), lstm = outputs.shape, kernel == "lstm"
    acc, lengths = accumulator(h.dtype).torch, inputs["lengths"]

    def given(name: str, like: Tensor) -> Tensor:
        grad = grads[name]
        return like.new_zeros(like.shape) if grad is None else grad.contiguous()

    d_h = _fresh(given("grad_h_last", h), acc)
    d_c = _fresh(given("grad_c_last", inputs["c"]), acc) if lstm else None
    make = h.new_empty if lengths is None else h.new_zeros
    d_sums = make(steps, batch, hidden * (1 if kernel == "elman" else 4))
    if batch and hidden and steps:
        call = _Call(kernel, inputs, steps, way, True)
        args = (
            given("grad_outputs", outputs), packed(grads.get("grad_cells")), packed(weight), *call.rows,
            packed(inputs["c"] if lstm else h), outputs, packed(kept["gates"]), packed(kept.get("cells")),
        )  # fmt: skip
        if call.resident:
            args = (*args, d_h, d_c, *call.exchange(), d_sums, *call.masks())
        else:
            args = (*args, state_buffer(d_h, acc), d_c, d_sums, d_h)
        call.run((backward_alone, backward_resident, backward_steps), args, (1, 2))
    found = {"h": d_h.to(h.dtype)}
    if d_c is not None:
        found["c"] = d_c.to(h.dtype)
    recurrent, of_inputs = d_sums, d_sums
    if kernel == "gru":
        # the third block is n's own sum, the fourth that of the product which its gate multiplies
        r_z, n, q = d_sums.split([2 * hidden, hidden, hidden], dim=-1)
        recurrent, of_inputs = torch.cat([r_z, q], dim=-1), torch.cat([r_z, n], dim=-1)
        if inputs["bias"] is not None:
            found["bias"] = q.sum(dim=(0, 1))
    before = states_before(outputs, h, lengths, inputs["resets"], inputs["reverse"])
    before = before if inputs["mask"] is None else before * inputs["mask"]
    found["weight"] = recurrent.flatten(0, 1).T @ before.flatten(0, 1)
    wanted = ["x", "weight_in", "bias_in"] if need_x else ["weight_in", "bias_in"]
    named = {name: inputs[name] for name in PROJECTED}
    if any(named[name] is not None for name in wanted):
        found.update(derived_gradient(_projected, wanted, named, [of_inputs]))
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
        steps = outputs.shape[0]
        ends = torch.arange(1, steps + 1, device=outputs.device)[:, None] == lengths.clamp(max=steps)
        before = torch.where(ends[..., None], first, before)
    return before if resets is None else torch.where(resets[..., None], torch.zeros_like(before), before)
