"""The rows of `gpu.py`, the most important ones first, so that a run that is cut short has those."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch

import gpu_layers
import gpu_steps
from gpu_timing import Row

DENSE = (16, 1024, 768), (64, 512, 256), (128, 128, 256), (1, 1024, 512), (256, 64, 1024)
TORCHRL = ("gru", (128, 16, 256)), ("gru", (128, 64, 256)), ("lstm", (128, 128, 256))
"""The shapes of TorchRL's own measurements of its recurrent modules, with resets on 3 % of the steps."""
FLASHRNN = (
    {"FlashRNN, cuda_fused": 4.87, "torch.nn, by FlashRNN": 2.01},
    {"FlashRNN, cuda_fused": 13.61, "torch.nn, by FlashRNN": 5.19},
)
"""Milliseconds of an LSTM of 16 rows, 1024 steps, 768 units in one head, bfloat16, on a machine of FlashRNN's authors
(README of FlashRNN, Pöppel et al. 2024): forward, forward and backward."""

Made = Callable[[torch.device], Row]


def rows(dry: bool) -> Iterator[tuple[str, Made]]:
    """Every row by name, a function of the device. `dry`: one row of each kind, tiny."""
    seen = set[str]()
    for kind, shape, made in _all(dry):
        if not (dry and kind in seen):
            yield "{}, B={}, T={}, H={}".format(kind, *shape), made
        seen.add(kind)


def _all(dry: bool) -> Iterator[tuple[str, gpu_layers.Shape, Made]]:
    """(kind, shape, what makes the row); `dry`: of a tiny shape."""

    def sized(shape: gpu_layers.Shape, tiny: gpu_layers.Shape = (2, 2, 18)) -> gpu_layers.Shape:
        return tiny if dry else shape

    def dense(cell: str, shape: gpu_layers.Shape, training: bool) -> tuple[str, gpu_layers.Shape, Made]:
        shape = sized(shape)
        made = partial(gpu_layers.dense, cell, shape, training)
        return f"{cell}, {'forward and backward' if training else 'forward'}", shape, made

    for training in (False, True):
        direction = "forward and backward" if training else "forward"
        made = partial(
            gpu_layers.dense, "lstm", sized(DENSE[0]), training, dtype=torch.bfloat16, published=FLASHRNN[training]
        )
        yield f"lstm, bfloat16, {direction}", sized(DENSE[0]), made
    for shape in DENSE[:3]:
        yield from (dense(cell, shape, training) for cell in ("lstm", "gru") for training in (False, True))
    for cell in ("gru", "lstm"):
        yield f"{cell}, lengths from 1 to T", sized(DENSE[1]), partial(gpu_layers.ragged, cell, sized(DENSE[1]))
    for cell, shape in TORCHRL:
        yield f"{cell}, resets on 3 %", sized(shape), partial(gpu_layers.resets, cell, sized(shape))
    for text, made in (
        ("lstm, layer normalisation", gpu_steps.normalised), ("own cell", gpu_steps.own),
        ("lstm, gates handed out", gpu_steps.gates_out),
    ):  # fmt: skip
        yield text, sized(DENSE[2]), partial(made, sized(DENSE[2]))
    yield "lstm, a penalty on the gradient", sized(DENSE[2]), partial(gpu_layers.penalty, "lstm", sized(DENSE[2]))
    long = sized((16, 4096, 1024), (2, 9, 8))
    for cell in ("mingru", "lru", "rglru"):
        for back in (False, True):
            made = partial(gpu_steps.scan, cell, long, back)
            yield f"scan of {cell}, {'backward' if back else 'forward'}", long, made
    for back in (False, True):
        made = partial(gpu_steps.chunks, sized((16, 1024, 512), (2, 9, 8)), back)
        yield f"mlstm in chunks, {'forward and backward' if back else 'forward'}", (16, 1024, 512), made
    few = sized((1, 65536, 256), (1, 70, 8))
    yield "scan of mingru, one row", few, partial(gpu_steps.scan, "mingru", few, False)
    yield "own cell, linear", long, partial(gpu_steps.own_linear, long)
    sessions = sized((10_000, 1, 256), (5, 1, 18))
    yield "lstm, sessions", sessions, partial(gpu_steps.sessions, sessions[0], sessions[2])
    for shape in DENSE[3:]:
        yield from (dense(cell, shape, training) for cell in ("lstm", "gru") for training in (False, True))
    for shape in DENSE:
        yield from (dense("elman", shape, training) for training in (False, True))
