"""Programs: steps of recurrences that nobody wrote a kernel for, made from plain functions and run by one native loop."""

from recurra.kernels.programs.program import evaluate
from recurra.kernels.programs.running import (
    Given,
    backward_by_native,
    backward_by_torch,
    backward_with,
    by_native,
    by_torch,
    emitted_count,
    layout,
    recorded,
)
from recurra.kernels.programs.trace import Sizes, Step, Traced, trace
from recurra.kernels.programs.verify import difference, undisturbed

__all__ = [
    "Given",
    "Sizes",
    "Step",
    "Traced",
    "backward_by_native",
    "backward_by_torch",
    "backward_with",
    "by_native",
    "by_torch",
    "difference",
    "emitted_count",
    "evaluate",
    "layout",
    "recorded",
    "trace",
    "undisturbed",
]
