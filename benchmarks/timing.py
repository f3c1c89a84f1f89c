"""Fair timing: contestants take turns in one process, so that whatever else the machine does hits all of them.

It knows calls and seconds, and nothing of what is called.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Call = Callable[[], object]
Samples = dict[str, list[float]]

SAMPLE = 0.01  # seconds that one sample should last at the least
PAUSE = 0.02  # seconds; the threads of torch keep a core busy for half of that after each call


@dataclass(frozen=True)
class Spread:
    """A median with its quartiles."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}-{self.high:.2f})"


def interleaved(calls: Mapping[str, Call], rounds: int, *, once: bool = False) -> Samples:
    """Seconds of one call, `rounds` samples of each contestant, taken in turns and in changing order.

    A sample is the mean over as many calls as last for `SAMPLE`; one call before it is not counted. With `once` it is a
    single call and nothing before it, for calls of seconds that have run already.
    """
    counts = {} if once else {name: _count(call) for name, call in calls.items()}
    samples: Samples = {name: [] for name in calls}
    names = list(calls)
    collecting = gc.isenabled()
    gc.disable()
    try:
        for turn in range(rounds):
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                call = calls[name]
                samples[name].append(_seconds(call, 1) if once else _sample(call, counts[name]))
            gc.collect()
    finally:
        if collecting:
            gc.enable()
    return samples


def _count(call: Call) -> int:
    call()
    call()
    took = min(_seconds(call, 1) for _ in range(2))
    return max(1, math.ceil(SAMPLE / max(took, 1e-7)))


def _sample(call: Call, count: int) -> float:
    time.sleep(PAUSE)
    call()
    return _seconds(call, count)


def _seconds(call: Call, count: int) -> float:
    started = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - started) / count


def spread(values: list[float]) -> Spread:
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high)


def paired(above: list[float], below: list[float]) -> Spread:
    """The spread of the quotients of samples that were taken in the same round."""
    return spread([top / bottom for top, bottom in zip(above, below, strict=True)])
