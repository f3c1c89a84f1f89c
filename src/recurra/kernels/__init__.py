"""Kernels: pure functions over a whole sequence, each an operation of torch with a reference and faster backends.

They know arrays and nothing of parameters, layers or tasks.
"""

from recurra.kernels.native import (
    BACKENDS,
    BackendWarning,
    backend,
    instruction_set,
    instruction_sets,
    missing,
    unsupported,
)
from recurra.kernels.ops import KERNELS, elman, gru, linear, lstm, recording
from recurra.kernels.reference import ACTIVATIONS

__all__ = [
    "ACTIVATIONS",
    "BACKENDS",
    "KERNELS",
    "BackendWarning",
    "backend",
    "elman",
    "gru",
    "instruction_set",
    "instruction_sets",
    "linear",
    "lstm",
    "missing",
    "recording",
    "unsupported",
]
