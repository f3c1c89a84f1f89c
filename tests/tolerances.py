"""The one table of tolerances: how far a fast kernel may be from the reference, and never further.

Values are (relative, absolute), as `torch.testing.assert_close` takes them. "weights" are those that two trainings end with
which differ in the order of additions alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

TOLERANCES = {
    (torch.int64, "values"): (0.0, 0.0),
    (torch.float64, "values"): (1e-10, 1e-12),
    (torch.float64, "gradients"): (1e-9, 1e-11),
    (torch.float64, "weights"): (1e-9, 1e-11),
    (torch.float32, "values"): (2e-5, 2e-6),
    (torch.float32, "gradients"): (1e-4, 2e-5),
    # one rounding; for gradients also that of the kept values (outputs, gates, cells)
    (torch.float32, "weights"): (1e-3, 1e-4),
    (torch.bfloat16, "values"): (4e-3, 2e-6),
    (torch.bfloat16, "gradients"): (4e-2, 4e-2),
    (torch.float16, "values"): (5e-4, 2e-6),
    (torch.float16, "gradients"): (5e-3, 5e-3),
}


def assert_close(actual: Tensor, expected: Tensor, what: str = "values") -> None:
    """`actual` in its own dtype against `expected`, compared in float64."""
    relative, absolute = TOLERANCES[actual.dtype, what]
    torch.testing.assert_close(actual.double(), expected.double(), rtol=relative, atol=absolute)
