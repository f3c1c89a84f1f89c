"""Shared by all tests: quiet threads, poisoned memory, and no warning left unheard."""

from __future__ import annotations

import os
import signal
from typing import Any

# where the tests run in the background of a shell, Ctrl-C comes in ignored; they are about a person who presses it
signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# tests run side by side: threads that wait for one another would fight over the cores, those that spin while they wait most
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# in the mode that fills new memory (below) cuBLAS wants to be told that its workspace stays the same
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import pytest  # noqa: E402
import torch  # noqa: E402

if not torch.cuda.is_available():
    # kernels for GPUs run in Triton's interpreter; it is chosen when Triton is imported first
    os.environ.setdefault("TRITON_INTERPRET", "1")

from recurra.data import tokens  # noqa: E402


@pytest.fixture(autouse=True)
def poisoned_memory():
    """Fresh memory holds NaN, so that reading what was never written cannot hide."""
    # torch fills new memory with NaN in this mode (torch.utils.deterministic.fill_uninitialized_memory, on by default)
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(autouse=True)
def seeded():
    """Each test draws the same numbers, alone or among others."""
    torch.manual_seed(0)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each time that tokens were written."""
    made: list[int] = []
    write = tokens._write

    def counted(*arguments: Any) -> str:
        made.append(1)
        return write(*arguments)

    monkeypatch.setattr(tokens, "_write", counted)
    return made
