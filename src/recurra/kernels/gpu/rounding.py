"""How products of float32 are rounded on a GPU: as torch was told, by its older switch or by its newer one.

torch lets cuDNN round to tf32 by default, unlike its own products. Here it may where those may, so that results do not depend
on which way was the faster one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.backends import cudnn


def as_tf32() -> bool:
    """Whether products may be those of tf32 numbers: `torch.set_float32_matmul_precision` below "highest", or the newer
    `torch.backends.cuda.matmul.fp32_precision`, after which torch refuses to answer by the older name."""
    newer: Any = getattr(torch.backends.cuda.matmul, "fp32_precision", None)
    return torch.get_float32_matmul_precision() != "highest" if newer is None else newer == "tf32"


class _Full:
    """The switch of cuDNN, which is one for all threads: the first to come turns it, the last to go turns it back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before: Any = None

    def enter(self) -> None:
        with self._lock:
            if self._inside == 0:
                owner, name, full = self._switch()
                self._before = getattr(owner, name)
                setattr(owner, name, full)
            self._inside += 1

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                owner, name, _ = self._switch()
                setattr(owner, name, self._before)

    @staticmethod
    def _switch() -> tuple[Any, str, Any]:
        # torch before 2.9 has one for all of cuDNN
        new = hasattr(cudnn.rnn, "fp32_precision")
        return (cudnn.rnn, "fp32_precision", "ieee") if new else (cudnn, "allow_tf32", False)


_full = _Full()


@contextmanager
def in_full() -> Iterator[None]:
    """Within, cuDNN rounds nothing to tf32 unless torch's products do."""
    if as_tf32():
        yield
        return
    _full.enter()
    try:
        yield
    finally:
        _full.leave()
