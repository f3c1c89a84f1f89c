"""The linear cells as the scan sees them: what a step's sums make of a and b in S' = a S + b, and the gradients of that.

A cell is a name that its kernels are compiled for. Its equations stand in `kernels/sweeps.py`; here they are functions of
the sums x (a tuple of planes), of what the step knows of each unit, n, and, for "real" and "complex", of a as it was given.
Complex numbers are their two parts, and of a real one the second part is the first again, which nobody reads. Products that
are added are written as `fma`, so that every kernel rounds alike, whatever its compiler would have joined.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import triton
import triton.language as tl

from recurra.kernels.sweeps import LEAST, LOWEST

_LEAST = tl.constexpr(LEAST)
_LOWEST = tl.constexpr(LOWEST)
_SHARES = tl.constexpr(tuple(1 / math.factorial(n) for n in range(1, 16)))
"""Of the powers of y in the series of (e^y - 1) / y."""


class Cell(NamedTuple):
    """What a cell's kernels read: planes[T, B, H] of sums, numbers of each unit, whether its state is complex."""

    planes: int
    numbers: int
    pairs: bool


CELLS = {
    "real": Cell(1, 0, False),
    "complex": Cell(2, 0, True),
    "mingru": Cell(2, 0, False),
    "minlstm": Cell(3, 0, False),
    "rglru": Cell(3, 1, False),
    "lru": Cell(2, 3, True),
}
"""By name; the first two are given a and b."""


@triton.jit
def _at_least(x, LEAST: tl.constexpr):
    """As torch clamps: what is no number stays none."""
    least = tl.full(x.shape, LEAST, x.dtype)
    return tl.where(x < least, least, x)


@triton.jit
def _minlstm(x):
    """(how much is kept, how much is new, the two exponentials over their sum and 2)."""
    f, i = tl.exp(-_at_least(x[0], _LOWEST)), tl.exp(-_at_least(x[1], _LOWEST))
    whole = 1 / (2 + f + i)
    return (1 + i) * whole, (1 + f) * whole, f * whole, i * whole


@triton.jit
def _left(y, e, TERMS: tl.constexpr):
    """1 - e^y for y that is not above zero, e = e^y: its series near zero, where the difference would lose its digits."""
    series = tl.full(y.shape, _SHARES[TERMS - 1], y.dtype)
    for n in tl.static_range(TERMS - 1):  # pyright: ignore[reportGeneralTypeIssues]
        series = tl.fma(y, series, tl.full(y.shape, _SHARES[TERMS - 2 - n], y.dtype))
    return tl.where(y > -0.5, -y * series, 1 - e)


@triton.jit
def _rglru(x, n):
    """(r, i, a, 1 - a², its root)."""
    r, i = tl.sigmoid(x[1]), tl.sigmoid(x[2])
    log = n[0] * r
    a = tl.exp(log)
    left = _left(2 * log, a * a, 15 if a.dtype == tl.float64 else 9)
    return r, i, a, left, tl.sqrt(_at_least(left, _LEAST))


@triton.jit
def coefficients(a, x, n, CELL: tl.constexpr):
    """(a, its imaginary part, b, its imaginary part) of a step."""
    if CELL == "real":
        return a[0], a[0], x[0], x[0]
    elif CELL == "complex":
        return a[0], a[1], x[0], x[1]
    elif CELL == "mingru":
        z = tl.sigmoid(x[0])
        return 1 - z, z, z * x[1], z
    elif CELL == "minlstm":
        keep, new, _, _ = _minlstm(x)  # pyright: ignore[reportGeneralTypeIssues]
        return keep, keep, new * x[2], keep
    elif CELL == "rglru":
        _r, i, by, _left_over, root = _rglru(x, n)  # pyright: ignore[reportGeneralTypeIssues]
        return by, by, root * (i * x[0]), by
    else:
        tl.static_assert(CELL == "lru", "no such cell")
        return n[0], n[1], n[2] * x[0], n[2] * x[1]


@triton.jit
def gradients(x, n, d_ar, d_ai, d_br, d_bi, CELL: tl.constexpr):
    """(those of the sums, those of what is known of each unit), as tuples, from those of a and b."""
    if CELL == "real":
        return (d_br,), ()
    elif CELL == "complex":
        return (d_br, d_bi), ()
    elif CELL == "mingru":
        z = tl.sigmoid(x[0])
        return (tl.fma(d_br, x[1], -d_ar) * (z * (1 - z)), d_br * z), ()
    elif CELL == "minlstm":
        keep, new, f, i = _minlstm(x)  # pyright: ignore[reportGeneralTypeIssues]
        d_keep = tl.fma(-d_br, x[2], d_ar)
        d_f = tl.where(x[0] >= _LOWEST, d_keep * (keep * f), 0.0)
        d_i = tl.where(x[1] >= _LOWEST, -d_keep * (new * i), 0.0)
        return (d_f, d_i, d_br * new), ()
    elif CELL == "rglru":
        r, i, by, left, root = _rglru(x, n)  # pyright: ignore[reportGeneralTypeIssues]
        d_root = d_br * (i * x[0])
        d_left = tl.where(left >= _LEAST, d_root / root, 0.0)
        d_log = by * tl.fma(-by, d_left, d_ar)
        d_v, d_i = d_br * root * i, d_br * root * x[0]
        return (d_v, d_log * n[0] * (r * (1 - r)), d_i * (i * (1 - i))), (d_log * r,)
    else:
        tl.static_assert(CELL == "lru", "no such cell")
        return (n[2] * d_br, n[2] * d_bi), (d_ar, d_ai, tl.fma(d_br, x[0], d_bi * x[1]))
