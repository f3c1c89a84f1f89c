"""Shared by all tests: quiet threads, poisoned memory, and no warning left unheard."""

from __future__ import annotations

import os

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# tests run side by side: threads that wait for one another would fight over the cores
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch


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
