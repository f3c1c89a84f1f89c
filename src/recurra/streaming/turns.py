"""Turns at memory that several streams of a GPU work on: in the order in which the host takes them.

A lock orders what threads of the host do, not what two streams of a device do. So each turn leaves a mark on its stream, and
the stream of the next one waits for it on the device; the host waits for nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


def stream_of(device: torch.device) -> Any:
    """The stream that this thread works on."""
    return torch.cuda.current_stream(device)


def lend(values: Iterable[Tensor], stream: Any) -> None:
    """Keep memory that is let go of from being given away before this stream is done with it."""
    for value in values:
        value.record_stream(stream)


class Turns:
    """Turns at tensors on one device, one at a time."""

    def __init__(self, device: torch.device, values: Iterable[Tensor]) -> None:
        """`values` were made on the current stream, which takes the first turn here."""
        self._device, self._values = device, list(values)
        self._lock = threading.Lock()
        stream = stream_of(device)
        self._known, self._mark = {stream}, stream.record_event()

    @contextmanager
    def turn(self) -> Iterator[Any]:
        """Within, the current stream, which waits for the turn before."""
        with self._lock:
            stream = stream_of(self._device)
            stream.wait_event(self._mark)
            if stream not in self._known:
                lend(self._values, stream)
                self._known.add(stream)
            try:
                yield stream
            finally:
                # (an event of its own: others may still be asked to wait for the one before)
                self._mark = stream.record_event()
