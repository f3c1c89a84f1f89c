"""Elman, GRU and LSTM in Triton with weights that stay in programs through all steps: forward, several parts a block of rows.

A part has R rows and U units, and the weights of these as one tile of [K, N] for all gates together, read once and held in
registers. It carries its own units' state in registers too. What the other parts need of it lies in `exchange`, as products
take it; between two steps the parts meet (`resident_common.py`). See `shares.py` for the sizes.
"""

# (what GATES decides, and every constexpr, is settled at compilation)
# (Triton has no starred tuples)
# ruff: noqa: RUF005
# pyright: reportPossiblyUnboundVariable=false, reportGeneralTypeIssues=false

from __future__ import annotations

import triton
import triton.language as tl

from recurra.kernels.gpu.cell_kernels import advance, write
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


@triton.jit(do_not_specialize=["start", "stop", "T", "B", "PARTS"])
def forward_resident(
    x, w, bias, mask, lengths, resets, order, h, c, exchange, outputs, gates, cells, masks, counters, start, stop, T, B, H,
    PARTS, GATES: tl.constexpr, ACTIVATION: tl.constexpr, REVERSE: tl.constexpr, KEEP: tl.constexpr, MEET: tl.constexpr,
    PHASE: tl.constexpr, R: tl.constexpr, U: tl.constexpr, K: tl.constexpr, CHUNKS: tl.constexpr, SPLIT: tl.constexpr,
    HOLD: tl.constexpr, PRECISION: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Steps start to stop of T. x[T, B, GATES H] are the sums of the inputs; h[B, H] and c[B, H] are the state, before and
    after.

    exchange[2, rows of all blocks, CHUNKS K] is zeros at first. A step has two phases, what is handed to the other parts and
    the product: PHASE 0 runs both, 1 or 2 one of them. A product takes K units of the state at once, in SPLIT shares for as
    many warps. What lies after the end of all rows of a block is not written.
    """
    N: tl.constexpr = U if GATES == 1 else 4 * U
    TO: tl.constexpr = exchange.dtype.element_ty
    rows, there = rows_of(order, B, R)
    steps = steps_of(lengths, rows, there, T)
    ends = row_ends(lengths, rows, there, T)
    last = tl.minimum(stop, steps)
    j = (tl.program_id(1) * U + tl.arange(0, U))[None, :]
    here = there & (j < H)
    handed = exchange + (tl.program_id(0) * R + tl.arange(0, R)[:, None]).to(tl.int64) * (CHUNKS * K)
    place = tl.num_programs(0).to(tl.int64) * R * (CHUNKS * K)

    # columns are those of the first gate, of the second, ...; a GRU's last are the inputs of n, which nothing multiplies
    column = tl.arange(0, N)[None, :]
    gate, unit = column // U, tl.program_id(1) * U + column % U
    from_input = (tl.minimum(gate, 2) if GATES == 3 else gate) * H + unit
    has_input = there & (unit < H) & ((gate != 2) if GATES == 3 else (gate < GATES))
    constant = tl.zeros((1, N), dtype=ACC)
    if GATES == 3 and bias is not None:
        constant += tl.load(bias + unit, mask=(unit < H) & (gate == 2), other=0.0).to(ACC)
    row, has_row = gate * H + unit, (unit < H) & (gate < GATES)
    if SPLIT > 1:
        row, has_row = row[None, :, :], has_row[None, :, :]
    tiles = ()
    for chunk in tl.static_range(CHUNKS):
        k = depth(chunk, K, SPLIT, 0)
        tiles = tiles + (weights(w + row.to(tl.int64) * H + k, has_row & (k < H), PRECISION, TO),)

    own = tl.load(h + rows * H + j, mask=here, other=0.0)
    own_c = own
    if GATES == 4:
        own_c = tl.load(c + rows * H + j, mask=here, other=0.0)
    scale = tl.zeros((R, U), dtype=ACC) + 1
    if mask is not None:
        scale = tl.load(mask + rows * H + j, mask=here, other=0.0).to(ACC)

    # what the first step is given
    t = steps - 1 - start if REVERSE else start
    at = (rows * 0 + t) * B + rows
    alive = there & (t < ends) & (start < last)
    goes_on = going_on(resets, alive, at)
    came = tl.load(x + at * (GATES * H) + from_input, mask=has_input & alive, other=0.0)
    if PHASE != 2:
        given = operand(tl.where(goes_on, own * scale, 0.0), PRECISION, TO)
        tl.store(handed + start % 2 * place + j, given, mask=j < H)
        arrive(counters, MEET)
    if PHASE != 1:
        for s in range(start, last):
            t = steps - 1 - s if REVERSE else s
            at = (rows * 0 + t) * B + rows
            active, stays = here & (t < ends), goes_on & (j < H)
            # what the next step needs and no part makes is on its way while the parts meet
            after = t - 1 if REVERSE else t + 1
            at_after = (rows * 0 + after) * B + rows
            alive_after = there & (after < ends) & (s + 1 < last)
            goes_on = going_on(resets, alive_after, at_after)
            came_after = tl.load(x + at_after * (GATES * H) + from_input, mask=has_input & alive_after, other=0.0)
            bits = mask_of_tf32(masks, HOLD, SPLIT)
            wait(counters, s + 1 - start, PARTS, MEET)
            states = ()
            for chunk in tl.static_range(CHUNKS):
                from_parts = handed if SPLIT == 1 else handed[None, :, :]
                state = tl.load(from_parts + s % 2 * place + depth(chunk, K, SPLIT, 1), cache_modifier=".cg")
                states = states + (state,)
            total = tl.zeros((R, N) if SPLIT == 1 else (SPLIT, R, N), dtype=ACC)
            for chunk in tl.static_range(CHUNKS):
                total = add_product(total, states[chunk], held(tiles[chunk], bits, HOLD), bits, PRECISION, ACC)
            sums = (total if SPLIT == 1 else tl.sum(total, axis=0)) + (came.to(ACC) + constant)
            a0 = spread(sums, 0, R, U)
            a1, a2, a3 = a0, a0, a0
            if GATES > 1:
                a1, a2, a3 = spread(sums, 1, R, U), spread(sums, 2, R, U), spread(sums, 3, R, U)
            was, was_c = tl.where(stays, own, 0.0), tl.where(stays, own_c, 0.0)
            new, new_c, k0, k1, k2, k3 = advance(a0, a1, a2, a3, was, was_c, GATES, ACTIVATION)
            own, own_c = tl.where(active, new, own), tl.where(active, new_c, own_c)
            given = operand(tl.where(goes_on, own * scale, 0.0), PRECISION, TO)
            tl.store(handed + (s + 1) % 2 * place + j, given, mask=j < H)
            arrive(counters, MEET)
            # no other part waits for this
            write(outputs, gates, cells, at, j, H, active, here, new, new_c, k0, k1, k2, k3, GATES, KEEP)
            came = came_after
        tl.store(h + rows * H + j, own, mask=here)
        if GATES == 4:
            tl.store(c + rows * H + j, own_c, mask=here)
