"""One step of Elman, GRU and LSTM on tiles of [rows, units], forward and backward, for every kernel of layers.

GATES says which cell it is: 1 Elman, 3 GRU, 4 LSTM. Where a cell has less to give, another tile stands, which nobody reads.
"""

# (what is bound for one cell alone is settled at compilation)
# pyright: reportPossiblyUnboundVariable=false, reportGeneralTypeIssues=false

from __future__ import annotations

import triton
import triton.language as tl

from recurra.kernels.gpu.common_kernels import tanh


@triton.jit
def _activated(x, ACTIVATION: tl.constexpr):
    if ACTIVATION == 0:
        y = tanh(x)
    elif ACTIVATION == 1:
        # (a maximum would make zero of what is no number)
        y = tl.where(x < 0, 0.0, x)
    elif ACTIVATION == 2:
        y = tl.sigmoid(x)
    else:
        y = x
    return y


@triton.jit
def _slope(y, ACTIVATION: tl.constexpr):
    """The derivative of an activation, from its value."""
    if ACTIVATION == 0:
        d = 1 - y * y
    elif ACTIVATION == 1:
        d = tl.where(y <= 0, 0.0, 1.0).to(y.dtype)
    elif ACTIVATION == 2:
        d = y * (1 - y)
    else:
        d = tl.full(y.shape, 1, y.dtype)
    return d


@triton.jit
def advance(a0, a1, a2, a3, h, c, GATES: tl.constexpr, ACTIVATION: tl.constexpr):
    """(new h, new c, the four numbers that are kept) from the sums of the gates and the state.

    A GRU's sums are those of r, z, the product that r multiplies, and the inputs of n; kept are r, z, n and that product. An
    LSTM's are those of i, f, g, o, which are kept. An Elman keeps its sum.
    """
    k0, k1, k2, k3, new_c = a0, a0, a0, a0, a0
    if GATES == 1:
        new = _activated(a0, ACTIVATION)
    elif GATES == 3:
        k0, k1, k3 = tl.sigmoid(a0), tl.sigmoid(a1), a2
        k2 = tanh(a3 + k0 * a2)
        new = (1 - k1) * k2 + k1 * h
    else:
        k0, k1, k2, k3 = tl.sigmoid(a0), tl.sigmoid(a1), tanh(a2), tl.sigmoid(a3)
        new_c = k1 * c + k0 * k2
        new = k3 * tanh(new_c)
    return new, new_c, k0, k1, k2, k3


@triton.jit
def write(
    outputs, gates, cells, at, j, H, active, here, new, new_c, k0, k1, k2, k3, GATES: tl.constexpr, KEEP: tl.constexpr
):
    """What a step leaves: its output, and with KEEP what the gradient needs; zeros for rows that it is not for."""
    tl.store(outputs + at * H + j, tl.where(active, new, 0.0), mask=here)
    if KEEP:
        keep = gates + at * (H if GATES == 1 else 4 * H) + j
        tl.store(keep, tl.where(active, k0, 0.0), mask=here)
        if GATES > 1:
            tl.store(keep + H, tl.where(active, k1, 0.0), mask=here)
            tl.store(keep + 2 * H, tl.where(active, k2, 0.0), mask=here)
            tl.store(keep + 3 * H, tl.where(active, k3, 0.0), mask=here)
        if GATES == 4:
            tl.store(cells + at * H + j, tl.where(active, new_c, 0.0), mask=here)


@triton.jit
def read(
    grad_outputs, grad_cells, outputs, gates, cells, begin, at, at_before, j, H, active, stays, stepped,
    GATES: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """What the gradient of a step needs: that of the output (and of c), what was kept, c, and the state before.

    `begin` is the first state, of h for a GRU, of c for an LSTM: that of rows which no step was before. The state before is
    zero where it does not stay.
    """
    came = tl.load(grad_outputs + at * H + j, mask=active, other=0.0).to(ACC)
    keep = gates + at * (4 * H) + j
    came_c, k0, k1, k2, k3, c, was = came, came, came, came, came, came, came
    if GATES == 1:
        k0 = tl.load(outputs + at * H + j, mask=active, other=0.0).to(ACC)
    else:
        k0 = tl.load(keep, mask=active, other=0.0).to(ACC)
        k1 = tl.load(keep + H, mask=active, other=0.0).to(ACC)
        k2 = tl.load(keep + 2 * H, mask=active, other=0.0).to(ACC)
        k3 = tl.load(keep + 3 * H, mask=active, other=0.0).to(ACC)
        state = outputs if GATES == 3 else cells
        was = tl.load(state + at_before * H + j, mask=stays & stepped, other=0.0).to(ACC)
        was = tl.where(stays, tl.where(stepped, was, begin), 0.0)
    if GATES == 4:
        c = tl.load(cells + at * H + j, mask=active, other=0.0).to(ACC)
        if grad_cells is not None:
            came_c = tl.load(grad_cells + at * H + j, mask=active, other=0.0).to(ACC)
    return came, came_c, k0, k1, k2, k3, c, was


@triton.jit
def retreat(d, d_c, k0, k1, k2, k3, c, was, GATES: tl.constexpr, ACTIVATION: tl.constexpr):
    """(gradients of the four sums, of h before without the product, of c before), from those of the new h and c.

    `d_c` is what came for the new c but for what goes through the new h. A GRU's four sums are those of r, z, n, and of the
    product that r multiplies.
    """
    s0, s1, s2, s3, direct, d_before = d, d, d, d, d, d
    if GATES == 1:
        s0, direct = d * _slope(k0, ACTIVATION), tl.zeros_like(d)
    elif GATES == 3:
        s2 = d * (1 - k1) * (1 - k2 * k2)
        s3 = s2 * k0
        s0, s1 = s2 * k3 * k0 * (1 - k0), d * (was - k2) * k1 * (1 - k1)
        direct = d * k1
    else:
        read_c = tanh(c)
        d_c += d * k3 * (1 - read_c * read_c)
        s0, s1 = d_c * k2 * k0 * (1 - k0), d_c * was * k1 * (1 - k1)
        s2, s3 = d_c * k0 * (1 - k2 * k2), d * read_c * k3 * (1 - k3)
        direct, d_before = tl.zeros_like(d), d_c * k1
    return s0, s1, s2, s3, direct, d_before


@triton.jit
def write_sums(d_sums, at, j, H, here, s0, s1, s2, s3, GATES: tl.constexpr):
    to = d_sums + at * (H if GATES == 1 else 4 * H) + j
    tl.store(to, s0, mask=here)
    if GATES > 1:
        tl.store(to + H, s1, mask=here)
        tl.store(to + 2 * H, s2, mask=here)
        tl.store(to + 3 * H, s3, mask=here)
