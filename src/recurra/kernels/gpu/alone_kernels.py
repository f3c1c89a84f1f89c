"""Small layers of Elman, GRU and LSTM in Triton: one program has all units of its rows, forward and backward.

Weights stay in the program, and so does the state: what a step makes is what the next one multiplies. No part of it is read
back from memory, and nobody is waited for.
"""

# (what GATES decides is settled at compilation)
# (Triton has no starred tuples)
# ruff: noqa: RUF005
# pyright: reportPossiblyUnboundVariable=false, reportGeneralTypeIssues=false

from __future__ import annotations

import triton
import triton.language as tl

from recurra.kernels.gpu.cell_kernels import advance, retreat, write, write_sums
from recurra.kernels.gpu.common_kernels import rows_of, steps_of
from recurra.kernels.gpu.resident_backward import of_step
from recurra.kernels.gpu.resident_common import add_product, going_on, held, mask_of_tf32, operand, row_ends, weights


@triton.jit
def _inputs(x, at, j, H, active, GATES: tl.constexpr, ACC: tl.constexpr):
    """The sums of the inputs of each gate."""
    own = x + at * (GATES * H) + j
    a0 = tl.load(own, mask=active, other=0.0)
    a1, a2 = a0, a0
    if GATES > 1:
        a1, a2 = tl.load(own + H, mask=active, other=0.0), tl.load(own + 2 * H, mask=active, other=0.0)
    a3 = tl.load(own + 3 * H, mask=active, other=0.0) if GATES == 4 else a2
    return a0, a1, a2, a3


@triton.jit(do_not_specialize=["T", "B"])
def forward_alone(
    x, w, bias, mask, lengths, resets, order, h, c, outputs, gates, cells, masks, T, B, H, GATES: tl.constexpr,
    ACTIVATION: tl.constexpr, REVERSE: tl.constexpr, KEEP: tl.constexpr, R: tl.constexpr, U: tl.constexpr, HOLD: tl.constexpr,
    PRECISION: tl.constexpr, ACC: tl.constexpr, TO: tl.constexpr,
):  # fmt: skip
    """x[T, B, GATES H] are the sums of the inputs; h[B, H] and c[B, H] are the state, before and after.

    What lies after the end of all rows of a block is not written.
    """
    rows, there = rows_of(order, B, R)
    steps = steps_of(lengths, rows, there, T)
    ends = row_ends(lengths, rows, there, T)
    j, k = tl.arange(0, U)[None, :], tl.arange(0, U)[:, None]
    inside, here = j < H, there & (j < H)
    tiles = ()
    for gate in tl.static_range(GATES):
        tiles = tiles + (weights(w + (gate * H + j).to(tl.int64) * H + k, inside & (k < H), PRECISION, TO),)
    constant = tl.zeros((1, U), dtype=ACC)
    if bias is not None:
        constant += tl.load(bias + j, mask=inside, other=0.0).to(ACC)
    own = tl.load(h + rows * H + j, mask=here, other=0.0)
    own_c = own
    if GATES == 4:
        own_c = tl.load(c + rows * H + j, mask=here, other=0.0)
    scale = tl.zeros((R, U), dtype=ACC) + 1
    if mask is not None:
        scale = tl.load(mask + rows * H + j, mask=here, other=0.0).to(ACC)
    t = steps - 1 if REVERSE else 0
    at = (rows * 0 + t) * B + rows
    alive = there & (t < ends) & (steps > 0)
    goes_on = going_on(resets, alive, at)
    came = _inputs(x, at, j, H, alive & inside, GATES, ACC)
    for s in range(0, steps):
        t = steps - 1 - s if REVERSE else s
        at = (rows * 0 + t) * B + rows
        active, stays = here & (t < ends), goes_on & inside
        was, was_c = tl.where(stays, own, 0.0), tl.where(stays, own_c, 0.0)
        given = operand(was * scale, PRECISION, TO)
        # what the next step needs, before it is needed
        after = t - 1 if REVERSE else t + 1
        at_after = (rows * 0 + after) * B + rows
        alive_after = there & (after < ends) & (s + 1 < steps)
        goes_on = going_on(resets, alive_after, at_after)
        came_after = _inputs(x, at_after, j, H, alive_after & inside, GATES, ACC)
        bits = mask_of_tf32(masks, HOLD, 1)
        x0, x1, x2, x3 = came
        zeros = tl.zeros((R, U), dtype=ACC)
        a0 = add_product(zeros, given, held(tiles[0], bits, HOLD), bits, PRECISION, ACC) + x0.to(ACC)
        a1, a2, a3 = a0, a0, a0
        if GATES > 1:
            a1 = add_product(zeros, given, held(tiles[1], bits, HOLD), bits, PRECISION, ACC) + x1.to(ACC)
            a2 = add_product(zeros, given, held(tiles[2], bits, HOLD), bits, PRECISION, ACC)
            a2, a3 = (a2 + constant, x2.to(ACC)) if GATES == 3 else (a2 + x2.to(ACC), a3)
        if GATES > 3:
            a3 = add_product(zeros, given, held(tiles[3], bits, HOLD), bits, PRECISION, ACC) + x3.to(ACC)
        new, new_c, k0, k1, k2, k3 = advance(a0, a1, a2, a3, was, was_c, GATES, ACTIVATION)
        own, own_c = tl.where(active, new, own), tl.where(active, new_c, own_c)
        write(outputs, gates, cells, at, j, H, active, here, new, new_c, k0, k1, k2, k3, GATES, KEEP)
        came = came_after
    tl.store(h + rows * H + j, own, mask=here)
    if GATES == 4:
        tl.store(c + rows * H + j, own_c, mask=here)


@triton.jit(do_not_specialize=["T", "B"])
def backward_alone(
    grad_outputs, grad_cells, w, mask, lengths, resets, order, first, outputs, gates, cells, d_h, d_c, d_sums, masks, T, B,
    H, GATES: tl.constexpr, ACTIVATION: tl.constexpr, REVERSE: tl.constexpr, R: tl.constexpr, U: tl.constexpr,
    HOLD: tl.constexpr, PRECISION: tl.constexpr, ACC: tl.constexpr, TO: tl.constexpr,
):  # fmt: skip
    """The steps the other way: d_h[B, H] and d_c[B, H] begin as the last state's gradients and end as the first one's.

    first[B, H] is the first state, h of a GRU and c of an LSTM. d_sums[T, B, S] are the gradients of the sums: a GRU's of
    r, z, n and of what n's gate multiplies, S = 4H; else S = GATES H.
    """
    rows, there = rows_of(order, B, R)
    steps = steps_of(lengths, rows, there, T)
    ends = row_ends(lengths, rows, there, T)
    j, k = tl.arange(0, U)[None, :], tl.arange(0, U)[:, None]
    inside, here = j < H, there & (j < H)
    tiles = ()
    for gate in tl.static_range(GATES):
        tiles = tiles + (weights(w + (gate * H + k).to(tl.int64) * H + j, inside & (k < H), PRECISION, TO),)
    own = tl.load(d_h + rows * H + j, mask=here, other=0.0)
    own_c, begin = own, own
    if GATES > 1:
        begin = tl.load(first + rows * H + j, mask=here, other=0.0).to(ACC)
    if GATES == 4:
        own_c = tl.load(d_c + rows * H + j, mask=here, other=0.0)
    scale = tl.zeros((R, U), dtype=ACC) + 1
    if mask is not None:
        scale = tl.load(mask + rows * H + j, mask=here, other=0.0).to(ACC)
    t = 0 if REVERSE else steps - 1
    goes_on, needed = of_step(
        grad_outputs, grad_cells, resets, outputs, gates, cells, begin, t, t + 1 if REVERSE else t - 1, steps > 0, rows,
        there, ends, j, T, B, H, GATES, ACC,
    )  # fmt: skip
    for s in range(0, steps):
        t = s if REVERSE else steps - 1 - s
        at = (rows * 0 + t) * B + rows
        active, stays = here & (t < ends), goes_on & inside
        came, came_c, k0, k1, k2, k3, cell, was = needed
        # what the next step needs, before it is needed
        after = t + 1 if REVERSE else t - 1
        goes_on, needed = of_step(
            grad_outputs, grad_cells, resets, outputs, gates, cells, begin, after, after + 1 if REVERSE else after - 1,
            s + 1 < steps, rows, there, ends, j, T, B, H, GATES, ACC,
        )  # fmt: skip
        d = tl.where(active, own + came, 0.0)
        d_cell = tl.where(active, own_c, 0.0)
        if grad_cells is not None:
            d_cell += came_c
        s0, s1, s2, s3, direct, before_c = retreat(d, d_cell, k0, k1, k2, k3, cell, was, GATES, ACTIVATION)
        bits = mask_of_tf32(masks, HOLD, 1)
        into = tl.zeros((R, U), dtype=ACC)
        into = add_product(into, operand(s0, PRECISION, TO), held(tiles[0], bits, HOLD), bits, PRECISION, ACC)
        if GATES > 1:
            third = s3 if GATES == 3 else s2
            into = add_product(into, operand(s1, PRECISION, TO), held(tiles[1], bits, HOLD), bits, PRECISION, ACC)
            into = add_product(into, operand(third, PRECISION, TO), held(tiles[2], bits, HOLD), bits, PRECISION, ACC)
        if GATES > 3:
            into = add_product(into, operand(s3, PRECISION, TO), held(tiles[3], bits, HOLD), bits, PRECISION, ACC)
        own = tl.where(active, tl.where(stays, direct + into * scale, 0.0), own)
        own_c = tl.where(active, tl.where(stays, before_c, 0.0), own_c)
        write_sums(d_sums, at, j, H, here, s0, s1, s2, s3, GATES)
    tl.store(d_h + rows * H + j, own, mask=here)
    if GATES == 4:
        tl.store(d_c + rows * H + j, own_c, mask=here)
