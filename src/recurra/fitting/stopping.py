"""Ctrl-C, politely: the first asks the work to stop at the next step, the second stops it at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# SIGHUP comes when the terminal is closed; Windows has none
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Stopping:
    """A context in which signals to stop set a wish that calling it tells; outside the main thread it does nothing.

    A signal that is ignored, as `nohup` has it, stays ignored.
    """

    def __init__(self) -> None:
        self._asked = False
        self._waiting = False
        self._before: dict[int, object] = {}

    def __call__(self) -> bool:
        return self._asked

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Inside, where nothing is done that could be lost, already the first signal raises `KeyboardInterrupt`."""
        self._waiting = True
        try:
            if self._asked:
                raise KeyboardInterrupt
            yield
        finally:
            self._waiting = False

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked or self._waiting:
            self._asked = True
            raise KeyboardInterrupt
        self._asked = True
