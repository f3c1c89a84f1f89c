"""Which of several ways is the fastest: measured once for each kind of call, and remembered.

It knows calls and seconds. A measurement waits for the device, so it is made the first time only, and never while a
CUDA graph is captured, inside of a backward pass, or where results have to be the same from run to run.
"""

from __future__ import annotations

import statistics
import threading
from collections.abc import Callable, Hashable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass

import torch

ROUNDS = 5
"""Timed calls of each way, taken in turns; the medians are compared."""
HEAD_START = 4_000_000
"""Cycles that the device is held up before a timed call, about 2 ms: what the processor needs to give out a call meanwhile
is no part of the device's time."""


@dataclass(frozen=True)
class Finding:
    """The fastest way, and the milliseconds of each; none where they could not be measured, and the first way is taken."""

    way: str
    milliseconds: dict[str, float]
    why_not: str = ""
    """Why nothing was measured."""
    failed: bool = False
    """Whether that is because another way than the first one raised an error."""

    def __str__(self) -> str:
        if not self.milliseconds:
            return f"not measured, since {self.why_not}"
        times = (f"{way} {took:.3f} ms" for way, took in sorted(self.milliseconds.items(), key=lambda item: item[1]))
        return f"measured: {', '.join(times)}"


_findings: dict[Hashable, Finding] = {}
_lock = threading.Lock()


def known(key: Hashable) -> Finding | None:
    """What was found for such a call, or None."""
    return _findings.get(key)


def may_measure() -> bool:
    """Whether a call of this moment may be run several times to time it."""
    if torch.are_deterministic_algorithms_enabled() or torch.compiler.is_compiling() or _in_backward():
        return False
    return not (torch.cuda.is_available() and torch.cuda.is_current_stream_capturing())


def _in_backward() -> bool:
    """Whether this thread is one of a backward pass, as where pieces are computed again: whoever measures may wait for it."""
    current = getattr(torch._C, "_current_graph_task_id", None)
    return current is not None and current() != -1


def by_events(call: Callable[[], object]) -> float:
    """Milliseconds of one call on the current stream of the current device, on the device's clock.

    Where a call waits for the device, or takes longer than `HEAD_START` to be given out, that counts.
    """
    begins, ends = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda._sleep(HEAD_START)
    begins.record()
    call()
    ends.record()
    ends.synchronize()
    return begins.elapsed_time(ends)


def fastest(
    key: Hashable,
    ways: Mapping[str, Callable[[], object]],
    device: torch.device,
    clock: Callable[[Callable[[], object]], float] = by_events,
) -> Finding:
    """The finding for such a call, measured on the device if there is none yet."""
    with _lock:
        if key not in _findings:
            with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
                _findings[key] = _measured(ways, clock)
        return _findings[key]


def _measured(ways: Mapping[str, Callable[[], object]], clock: Callable[[Callable[[], object]], float]) -> Finding:
    """The first call of each way, which compiles, does not count."""
    first = running = next(iter(ways))
    took: dict[str, list[float]] = {name: [] for name in ways}
    try:
        for running in ways:
            ways[running]()
        for _ in range(ROUNDS):
            for running, call in ways.items():
                took[running].append(clock(call))
    except torch.OutOfMemoryError:
        # what is asked for, and nothing beside it, may well have room
        return Finding(first, {}, "there was no memory for it")
    except Exception as error:
        # (a kernel that a compiler or a device refuses is no reason to refuse a call that the first way can serve)
        if running == first:
            raise
        return Finding(first, {}, f"'{running}' failed: {in_short(error)}", failed=True)
    medians = {name: statistics.median(times) for name, times in took.items()}
    return Finding(min(medians, key=lambda name: medians[name]), medians)


def in_short(error: BaseException) -> str:
    """The kind of an error and its first line."""
    return f"{type(error).__name__}: {(str(error).strip() or 'no more is said').splitlines()[0]}"
