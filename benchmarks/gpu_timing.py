"""Timing on a device: medians of CUDA events, inputs that take turns, errors against float64. It knows calls, not kernels."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from recurra.kernels.gpu.measured import by_events

Call = Callable[[int], list[Tensor]]
"""The results of a call on one of the sets of inputs, by its number."""

FEWEST, MOST = 3, 64
"""Sets of inputs of a row."""
ROUNDS = 30
"""Timed calls of each contestant, at most."""
SECONDS = 2.0
"""For the timed calls of a row; what compiles comes before."""


@dataclass(frozen=True)
class Contestant:
    """A call, the rate of the machine (a name of `rates`) that its share is told by, and how products are taken in it."""

    call: Call
    rate: str
    products: str = ""
    """A way of `products`, turned on around what is timed; none: as torch stands."""

    def setting(self) -> contextlib.AbstractContextManager[None]:
        return products(self.products) if self.products else contextlib.nullcontext()


@dataclass(frozen=True)
class Row:
    """Who takes part, what set 0 gives in float64, how many sets there are, and the work of one call."""

    contestants: Mapping[str, Contestant]
    truth: Callable[[], list[Tensor]]
    sets: int
    work: float
    """Floating point operations, or bytes that have to be moved where the rate is the bandwidth."""
    published: Mapping[str, float] = field(default_factory=dict)
    """Milliseconds that others published, on machines of theirs."""


def sets_for(device: torch.device, size: int) -> int:
    """How many sets of inputs of so many bytes do not fit into the last cache together, twice over."""
    if device.type == "cpu":
        return 2
    cache = torch.cuda.get_device_properties(device).L2_cache_size
    return min(MOST, max(FEWEST, -(-2 * cache // size)))


@contextlib.contextmanager
def products(how: str) -> Iterator[None]:
    """Products of float32 in full ("float32"), or of tf32 numbers ("tf32"): torch's, cuDNN's and ours."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest" if how == "float32" else "high")
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=how == "tf32"):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def within(how: str, call: Call) -> Contestant:
    """A contestant whose products are taken in this way."""
    return Contestant(call, how, how)


def once(call: Callable[[], object], device: torch.device) -> float:
    """Milliseconds of one call: on the device's own clock, or, on the processor, on this one's."""
    if device.type == "cpu":
        began = time.perf_counter()
        call()
        return 1e3 * (time.perf_counter() - began)
    return by_events(call)


def medians(
    contestants: Mapping[str, Contestant],
    sets: int,
    device: torch.device,
    rounds: int = ROUNDS,
    seconds: float = SECONDS,
) -> dict[str, float]:
    """Milliseconds of each contestant, who take turns on the same inputs; each was called before, so that all is compiled."""
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    began = time.monotonic()
    for turn in range(rounds):
        for name, one in contestants.items():
            with one.setting():
                taken[name].append(once(partial(one.call, turn % sets), device))
        if time.monotonic() - began > seconds:
            break
    return {name: statistics.median(each) for name, each in taken.items()}


def rates(device: torch.device, side: int) -> dict[str, float]:
    """What the machine was measured to do in a second: products of `side`^3 by dtype, and bytes that a copy moves."""
    left, right = torch.randn(side, side, device=device), torch.randn(side, side, device=device)
    narrow = left.bfloat16(), right.bfloat16()
    source, target = torch.randn(4 * side * side, device=device), torch.empty(4 * side * side, device=device)
    measured = {
        "float32": within("float32", lambda _: [left @ right]), "tf32": within("tf32", lambda _: [left @ right]),
        "bfloat16": Contestant(lambda _: [narrow[0] @ narrow[1]], "bfloat16"),
        "bytes": Contestant(lambda _: [target.copy_(source)], "bytes"),
    }  # fmt: skip
    for one in measured.values():
        with one.setting():
            one.call(0)
    took = medians(measured, 1, device, 10)
    work = {name: 8.0 * source.numel() if name == "bytes" else 2.0 * side**3 for name in measured}
    return {name: work[name] / (each * 1e-3) for name, each in took.items()}


def figures(row: Row, measured: Mapping[str, float], device: torch.device, rounds: int) -> list[dict[str, Any]]:
    """One line a contestant: milliseconds, error, share of the machine's rate; or why it failed."""
    truth, lines, there = row.truth(), dict[str, dict[str, Any]](), dict[str, Contestant]()
    for name, one in row.contestants.items():
        try:
            with one.setting():
                values = one.call(0)
            lines[name], there[name] = {"contestant": name, "error": worst(values, truth)}, one
        except Exception as error:  # who fails is told in the table, and the others go on
            said = str(error).splitlines()
            lines[name] = {"contestant": name, "failed": f"{type(error).__name__}: {said[0] if said else ''}"[:200]}
    for name, took in medians(there, row.sets, device, rounds).items():
        share = row.work / (took * 1e-3) / measured[row.contestants[name].rate]
        lines[name] |= {"milliseconds": took, "rate": row.contestants[name].rate, "share": share}
    published = ({"contestant": name, "published": took} for name, took in row.published.items())
    return [*lines.values(), *published]


def worst(values: list[Tensor], truth: list[Tensor]) -> float:
    """The greatest difference, against the greatest number of each result."""
    pairs = zip(values, truth, strict=True)
    return max(float((v.double() - t).abs().max() / t.abs().max().clamp(min=1e-30)) for v, t in pairs)
