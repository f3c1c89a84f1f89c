"""Linear cells on a GPU: how the walks of `scan_kernels.py` are shared out, launched and differentiated.

Where there are enough rows and units to fill the device, a program walks through all steps of its units: the sums are read
once and the outputs written once. Where there are fewer, every chunk is made one step first, a short walk over these steps
gives the state before each chunk, and then all chunks run at once. Both ways give the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from recurra.kernels.gpu.launch import HOW, accumulator, flags, on_device, packed
from recurra.kernels.gpu.scan_cells import CELLS
from recurra.kernels.gpu.scan_kernels import between_chunks, chunks_as_steps, walk, walk_back
from recurra.kernels.gpu.shares import Device

CHUNK = 64
"""Steps of a chunk: the same for all calls, since bits depend on it."""
TILE, TILE_BACK = 16, 8
"""Steps of a tile, forward and on the way back, which needs more registers."""
STAGES = 4
"""Tiles that are there at once: one that is computed, the others on their way."""
UNITS, LANE = 64, 2
"""Units of a program, which is one warp, and of a lane. Two of 16 bits are the least that is copied to shared memory."""
FAR = 2**31
"""Numbers of a tile's steps, with all that lies between them, from which on offsets in a tile have 64 bits too."""
FULL = 1
"""Programs a multiprocessor from which on a program walks through all steps."""


@dataclass(frozen=True)
class Way:
    """How a call is run; for tests, since all ways with one chunk give the same bits."""

    chunk: int = CHUNK
    tile: int = TILE
    tile_back: int = TILE_BACK
    units: int = UNITS
    at_once: bool | None = None
    """Whether all chunks run at once; by default what `at_once` says."""


CHOSEN = Way()
"""The way that is chosen by device and shape."""


class Given(NamedTuple):
    """What a scan is given: a cell of `CELLS`, x[T, B, planes * H] in one piece, a[T, B, W] of "real" and "complex",
    numbers[n, H] of a cell that has some, the first state[B, W]; and lengths, resets, reverse as in `reference`."""

    cell: str
    x: Tensor
    a: Tensor | None
    numbers: Tensor | None
    first: Tensor
    lengths: Tensor | None
    resets: Tensor | None
    reverse: bool


def at_once(programs: int, chunks: int, device: Device) -> bool:
    """Whether the chunks run at once, because so many programs that walk through all of them do not fill the device."""
    return chunks > 1 and programs < FULL * device.multiprocessors


class _Shares:
    """How one call is shared out, and what its launches are told."""

    def __init__(self, given: Given, way: Way, grads: Tensor | None = None) -> None:
        planes, numbers, pairs = CELLS[given.cell]
        steps, batch, width = given.x.shape
        hidden, self.acc = width // planes, accumulator(given.x.dtype)
        self.width = hidden * (2 if pairs else 1)
        tile = way.tile if grads is None else way.tile_back
        # (of a short sequence a tile is short: what lies behind its end adds nothing to anything)
        tile = min(tile, max(2, triton.next_power_of_2(steps)))
        self.chunks, self.programs = -(-steps // way.chunk), batch * -(-hidden // way.units)
        fewer = at_once(self.programs, self.chunks, Device.of(given.x)) if way.at_once is None else way.at_once
        self.parts, self.count = (self.chunks, 1) if fewer else (1, self.chunks)
        self.between: dict[str, Any] = {
            **HOW, "WIDTH": 2 if pairs else 1, "C": tile, "U": way.units, "V": LANE, "STAGES": STAGES, "ACC": self.acc.triton,
            "num_warps": 1,
        }  # fmt: skip
        self.options = {
            **self.between, "CELL": given.cell, "PLANES": planes, "NUMBERS": numbers,
            "FLIP": given.reverse != (grads is not None),
            "FAR": tile * batch * max(width, self.width, 0 if given.a is None else given.a.stride(0)) >= FAR,
            "L": way.chunk,
        }  # fmt: skip
        self.args = given.x, given.a, given.numbers, packed(given.lengths), flags(given.resets)
        self.sizes = steps, batch, hidden
        self.walk = *self.sizes, self.chunks, self.count
        self.strides = (0, 0) if given.a is None else (given.a.stride(0), given.a.stride(1))
        self.grid = (self.parts * self.programs,)
        self.grads = grads

    def states(self, first: Tensor) -> Tensor:
        """The state before each part of the walk, [parts, B, W]; with grads of outputs what arrives there on the way back."""
        first, (_, batch, hidden), resets = first.to(self.acc.torch).contiguous(), self.sizes, self.args[-1]
        if self.parts == 1:
            return first[None]
        whole_a, whole_b, before = (first.new_empty(self.chunks, batch, self.width) for _ in range(3))
        whole_flag = None if resets is None else resets.new_empty(self.chunks, batch, hidden, dtype=torch.int32)
        wholes = whole_a, whole_b, whole_flag
        chunks_as_steps[self.grid](*self.args, self.grads, *wholes, *self.sizes, *self.strides, **self.options)
        between_chunks[(self.programs,)](*wholes, first, before, self.chunks, batch, hidden, **self.between)
        return before


def forward(given: Given, way: Way = CHOSEN) -> tuple[Tensor, Tensor]:
    """(outputs[T, B, W], the last state[B, W]), both of the dtype of the first state."""
    shares, first = _Shares(given, way), given.first
    outputs, last = first.new_empty(given.x.shape[0], *first.shape), torch.empty_like(first)
    with on_device(first):
        before = shares.states(first)
        walk[shares.grid](*shares.args, before, outputs, last, *shares.walk, *shares.strides, **shares.options)
    return outputs, last


def backward(
    given: Given, outputs: Tensor, grad_outputs: Tensor, grad_last: Tensor, way: Way = CHOSEN
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor]:
    """The gradients of x, a, numbers and the first state. Those of sums and numbers are of the type that is added up in."""
    x, first, alone = given.x, given.first, given.a is not None
    shares = _Shares(given, way, grad_outputs)
    acc, hidden = shares.acc.torch, shares.sizes[-1]
    d_x = torch.empty_like(x) if alone else x.new_empty(x.shape, dtype=acc)
    d_a, d_first = torch.empty_like(outputs) if alone else None, torch.empty_like(first)
    numbers, d_numbers = CELLS[given.cell].numbers, None
    if numbers:
        d_numbers = x.new_empty(shares.parts * shares.sizes[1], numbers, hidden, dtype=acc)
    with on_device(first):
        before = shares.states(grad_last)
        walk_back[shares.grid](
            *shares.args, before, first, outputs, grad_outputs, d_x, d_a, d_numbers, d_first, *shares.walk,
            *shares.strides, **shares.options,
        )  # fmt: skip
    return d_x, d_a, None if d_numbers is None else d_numbers.sum(0), d_first


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, cell: str, x: Tensor, a: Any, numbers: Any, first: Tensor, lengths: Any, resets: Any, reverse: bool,
        way: Way,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        outputs, last = forward(Given(cell, x, a, numbers, first, lengths, resets, reverse), way)
        ctx.save_for_backward(x, a, numbers, first, lengths, resets, outputs)
        ctx.plain = cell, reverse, way
        return outputs, last

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_outputs: Tensor, grad_last: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        *tensors, outputs = ctx.saved_tensors
        cell, reverse, way = ctx.plain
        given = Given._make((cell, *tensors, reverse))
        d_x, d_a, d_numbers, d_first = backward(given, outputs, grad_outputs.contiguous(), grad_last, way)
        return None, d_x.to(given.x.dtype), d_a, d_numbers, d_first, None, None, None, None


def scan(given: Given, way: Way = CHOSEN) -> tuple[Tensor, Tensor]:
    """`forward`, with first derivatives."""
    cell, x, a, numbers, first, lengths, resets, reverse = given
    x, first, numbers = x.contiguous(), first.contiguous(), packed(numbers)
    # numbers that are the same in every step or row stay as few as they are; only the last axis must lie in one piece
    if a is not None and a.stride(-1) != 1 and a.shape[-1] > 1:
        a = a.contiguous()
    if 0 in x.shape:
        # nothing to launch; the sums keep the gradient's way
        nothing = sum((value.sum() for value in (x, a, numbers) if value is not None), first.new_zeros(()))
        return first.new_empty(x.shape[0], *first.shape) + nothing, first.clone()
    return _Scan.apply(cell, x, a, numbers, first, lengths, resets, reverse, way)  # pyright: ignore[reportReturnType]


def linear_scan(
    a: Tensor, b: Tensor, first: Tensor, *, lengths: Tensor | None = None, resets: Tensor | None = None,
    reverse: bool = False, pairs: bool = False, way: Way = CHOSEN,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """h_t = a_t h_{t-1} + b_t from h_{-1} = first: (outputs[T, B, W], the last state[B, W]), with first derivatives.

    a, b[T, B, W], a expanded along steps or rows if it likes; first[B, W]; with `pairs` W = 2H, the real parts before the
    imaginary ones. lengths[B], resets[T, B] and reverse as in `reference`. Numbers of 16 bits are added up in float32.
    """
    return scan(Given("complex" if pairs else "real", b, a, None, first, lengths, resets, reverse), way)
