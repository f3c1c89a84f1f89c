"""The gradient of the recurrence with weights that stay in a program: several parts a block of rows.

A part carries the gradients of its own units' state in registers, and holds the columns of the weight that belong to these.
The gradients of the sums of all units, which their product wants, lie in `exchange`; between its two phases a step meets
once. See `resident_forward.py`.
"""

# (what GATES decides, and every constexpr, is settled at compilation)
# (Triton has no starred tuples)
# ruff: noqa: RUF005
# pyright: reportPossiblyUnboundVariable=false, reportGeneralTypeIssues=false

from __future__ import annotations

import triton
import triton.language as tl

from recurra.kernels.gpu.cell_kernels import read, retreat, write_sums
from recurra.kernels.gpu.common_kernels import rows_of, steps_of
from recurra.kernels.gpu.resident_common import (
    add_product,
    arrive,
    depth,
    going_on,
    held,
    mask_of_tf32,
    operand,
    row_ends,
    spread,
    wait,
    weights,
)


@triton.jit
def of_step(
    grad_outputs, grad_cells, resets, outputs, gates, cells, begin, t, before, wanted, rows, there, ends, j, T, B, H,
    GATES: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """(which rows go on from their state, what the gradient of step t needs): see `read`."""
    at, at_before = (rows * 0 + t) * B + rows, (rows * 0 + before) * B + rows
    alive = there & (t < ends) & wanted
    goes_on = going_on(resets, alive, at)
    stepped = (rows * 0 + before >= 0) & (rows * 0 + before < ends)
    inside = j < H
    found = read(
        grad_outputs, grad_cells, outputs, gates, cells, begin, at, at_before, j, H, alive & inside, goes_on & inside,
        stepped, GATES, ACC,
    )  # fmt: skip
    return goes_on, found


@triton.jit(do_not_specialize=["start", "stop", "T", "B", "PARTS"])
def backward_resident(
    grad_outputs, grad_cells, w, mask, lengths, resets, order, first, outputs, gates, cells, d_h, d_c, exchange, d_sums,
    masks, counters, start, stop, T, B, H, PARTS, GATES: tl.constexpr, ACTIVATION: tl.constexpr, REVERSE: tl.constexpr,
    MEET: tl.constexpr, PHASE: tl.constexpr, R: tl.constexpr, U: tl.constexpr, K: tl.constexpr, CHUNKS: tl.constexpr,
    SPLIT: tl.constexpr, HOLD: tl.constexpr, PRECISION: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """The steps the other way: d_h[B, H] and d_c[B, H] begin as the last state's gradients and end as the first one's.

    first[B, H] is the first state, h of a GRU and c of an LSTM; exchange[2, rows of all blocks, GATES CHUNKS K] is zeros at
    first. d_sums[T, B, S] are the gradients of the sums: a GRU's of r, z, n and of what n's gate multiplies, S = 4H; else
    S = GATES H. A step has two phases, what is done by unit and the product: PHASE 0 runs both, 1 or 2 one of them.
    """
    TO: tl.constexpr = exchange.dtype.element_ty
    WIDTH: tl.constexpr = CHUNKS * K
    rows, there = rows_of(order, B, R)
    steps = steps_of(lengths, rows, there, T)
    ends = row_ends(lengths, rows, there, T)
    last = tl.minimum(stop, steps)
    j = (tl.program_id(1) * U + tl.arange(0, U))[None, :]
    here = there & (j < H)
    handed = exchange + (tl.program_id(0) * R + tl.arange(0, R)[:, None]).to(tl.int64) * (GATES * WIDTH)
    place = tl.num_programs(0).to(tl.int64) * R * (GATES * WIDTH)

    column = j if SPLIT == 1 else j[None, :, :]
    tiles = ()
    for gate in tl.static_range(GATES):
        for chunk in tl.static_range(CHUNKS):
            k = depth(chunk, K, SPLIT, 0)
            pointers = w + (gate * H + k).to(tl.int64) * H + column
            tiles = tiles + (weights(pointers, (k < H) & (column < H), PRECISION, TO),)

    own = tl.load(d_h + rows * H + j, mask=here, other=0.0)
    own_c, begin = own, own
    if GATES > 1:
        begin = tl.load(first + rows * H + j, mask=here, other=0.0).to(ACC)
    if GATES == 4:
        own_c = tl.load(d_c + rows * H + j, mask=here, other=0.0)
    scale = tl.zeros((R, U), dtype=ACC) + 1
    if mask is not None:
        scale = tl.load(mask + rows * H + j, mask=here, other=0.0).to(ACC)

    t = start if REVERSE else steps - 1 - start
    goes_on, needed = of_step(
        grad_outputs, grad_cells, resets, outputs, gates, cells, begin, t, t + 1 if REVERSE else t - 1, start < last, rows,
        there, ends, j, T, B, H, GATES, ACC,
    )  # fmt: skip
    for s in range(start, last):
        t = s if REVERSE else steps - 1 - s
        at = (rows * 0 + t) * B + rows
        active, stays = here & (t < ends), goes_on & (j < H)
        if PHASE != 2:
            came, came_c, k0, k1, k2, k3, cell, was = needed
            d = tl.where(active, own + came, 0.0)
            d_cell = tl.where(active, own_c, 0.0)
            if grad_cells is not None:
                d_cell += came_c
            s0, s1, s2, s3, direct, before_c = retreat(d, d_cell, k0, k1, k2, k3, cell, was, GATES, ACTIVATION)
            own = tl.where(active, tl.where(stays, direct, 0.0), own)
            own_c = tl.where(active, tl.where(stays, before_c, 0.0), own_c)
            to = handed + s % 2 * place + j
            tl.store(to, operand(s0, PRECISION, TO), mask=j < H)
            if GATES > 1:
                tl.store(to + WIDTH, operand(s1, PRECISION, TO), mask=j < H)
                tl.store(to + 2 * WIDTH, operand(s3 if GATES == 3 else s2, PRECISION, TO), mask=j < H)
            if GATES == 4:
                tl.store(to + 3 * WIDTH, operand(s3, PRECISION, TO), mask=j < H)
            arrive(counters, MEET)
            # no other part waits for this
            write_sums(d_sums, at, j, H, here, s0, s1, s2, s3, GATES)
        if PHASE != 1:
            # what the next step needs and no part makes is on its way while the parts meet
            after = t + 1 if REVERSE else t - 1
            goes_on, needed = of_step(
                grad_outputs, grad_cells, resets, outputs, gates, cells, begin, after, after + 1 if REVERSE else after - 1,
                s + 1 < last, rows, there, ends, j, T, B, H, GATES, ACC,
            )  # fmt: skip
            bits = mask_of_tf32(masks, HOLD, SPLIT)
            wait(counters, s + 1 - start, PARTS, MEET)
            arrived = ()
            for chunk in tl.static_range(GATES * CHUNKS):
                from_parts = handed if SPLIT == 1 else handed[None, :, :]
                one = tl.load(from_parts + s % 2 * place + depth(chunk, K, SPLIT, 1), cache_modifier=".cg")
                arrived = arrived + (one,)
            # (two sums, since a product waits for the one before it)
            total = tl.zeros((R, U) if SPLIT == 1 else (SPLIT, R, U), dtype=ACC)
            other = total
            for chunk in tl.static_range(GATES * CHUNKS):
                if chunk % 2 == 0:
                    total = add_product(total, arrived[chunk], held(tiles[chunk], bits, HOLD), bits, PRECISION, ACC)
                else:
                    other = add_product(other, arrived[chunk], held(tiles[chunk], bits, HOLD), bits, PRECISION, ACC)
            total += other
            into = spread(total if SPLIT == 1 else tl.sum(total, axis=0), 0, R, U)
            own = tl.where(stays, own + into * scale, own)
    tl.store(d_h + rows * H + j, own, mask=here)
    if GATES == 4:
        tl.store(d_c + rows * H + j, own_c, mask=here)
