"""Ctrl-C, politely: the first asks the work to stop at the next step, the second stops it at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class Stopping:
    """A context in which `SIGINT` and `SIGTERM` set a wish that `asked` tells; outside the main thread it does nothing."""

    def __init__(self) -> None:
        self._asked = False
        self._before: dict[int, object] = {}

    def __call__(self) -> bool:
        return self._asked

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
