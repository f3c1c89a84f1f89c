"""Elman, GRU and LSTM in Triton, one launch for all steps of a layer, for weights that do not stay in a program.

A block of rows goes through the sequence on its own. Its units are shared out among PARTS programs, which meet between
steps (`common_kernels.py`). The recurrent weight is read in blocks of K at every step, from the second level of cache. The
state lies in a buffer that has two places, this step's and the last one's, since every unit needs all units of the state
before. GATES says which cell it is: 1 Elman, 3 GRU, 4 LSTM. Where the weights stay, see `resident_forward.py`.
"""

# (what GATES and PHASE decide is settled at compilation)
# pyright: reportPossiblyUnboundVariable=false, reportGeneralTypeIssues=false

from __future__ import annotations

import triton
import triton.language as tl

from recurra.kernels.gpu.cell_kernels import advance, read, retreat, write, write_sums
from recurra.kernels.gpu.common_kernels import (
    add_product,
    hand_out,
    meet,
    place,
    rows_of,
    steps_of,
    takes_part,
    tile,
)


@triton.jit
def _gate_tiles(w, j, k, H, GATES: tl.constexpr, TO: tl.constexpr):
    """One tile a gate; those that a cell has not are the first one again, which nobody reads."""
    w0 = tile(w, 0, j, k, H, H, TO)
    w1, w2, w3 = w0, w0, w0
    if GATES > 1:
        w1 = tile(w, H, j, k, H, H, TO)
        w2 = tile(w, 2 * H, j, k, H, H, TO)
    if GATES > 3:
        w3 = tile(w, 3 * H, j, k, H, H, TO)
    return w0, w1, w2, w3


@triton.jit(do_not_specialize=["start", "stop", "T", "B", "PARTS"])
def forward_steps(
    x, w, bias, mask, lengths, resets, order, h, c, outputs, gates, cells, h_last, counters, start, stop, T, B, H, PARTS,
    GATES: tl.constexpr, ACTIVATION: tl.constexpr, REVERSE: tl.constexpr, KEEP: tl.constexpr, MEET: tl.constexpr,
    R: tl.constexpr, U: tl.constexpr, K: tl.constexpr, PRECISION: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Steps start to stop of T. x[T, B, GATES H] are the sums of the inputs; h[2, B, H] and c[B, H] begin with the state.

    c and h_last[B, H] end with the last one, after the last step. What lies after the end of all rows of a block is not
    written.
    """
    TO: tl.constexpr = w.dtype.element_ty if PRECISION == "narrow" else ACC
    rows, there = rows_of(order, B, R)
    steps = steps_of(lengths, rows, there, T)
    unit, depth = tl.arange(0, U), tl.arange(0, K)
    first = tl.program_id(1) * U
    for s in range(start, tl.minimum(stop, steps)):
        t = steps - 1 - s if REVERSE else s
        at, old, new = place(rows, s, t, B)
        alive, goes_on = takes_part(lengths, resets, rows, there, t, at)
        for j0 in range(first, H, PARTS * U):
            j = (j0 + unit)[None, :]
            here, active, stays = there & (j < H), alive & (j < H), goes_on & (j < H)
            a0 = tl.zeros((R, U), dtype=ACC)
            a1, a2, a3 = a0, a0, a0
            for k0 in range(0, H, K):
                k = k0 + depth
                inside = k[None, :] < H
                state = tl.load(h + old * H + k[None, :], mask=goes_on & inside, other=0.0, cache_modifier=".cg")
                if mask is not None:
                    state *= tl.load(mask + rows * H + k[None, :], mask=there & inside, other=0.0).to(ACC)
                w0, w1, w2, w3 = _gate_tiles(w, j, k[:, None], H, GATES, TO)
                a0 = add_product(a0, state, w0, PRECISION, ACC)
                if GATES > 1:
                    a1 = add_product(a1, state, w1, PRECISION, ACC)
                    a2 = add_product(a2, state, w2, PRECISION, ACC)
                if GATES > 3:
                    a3 = add_product(a3, state, w3, PRECISION, ACC)
            own = x + at * (GATES * H) + j
            a0 += tl.load(own, mask=active, other=0.0).to(ACC)
            if GATES > 1:
                a1 += tl.load(own + H, mask=active, other=0.0).to(ACC)
                from_input = tl.load(own + 2 * H, mask=active, other=0.0).to(ACC)
                if GATES == 3:
                    a3 = from_input
                    if bias is not None:
                        a2 += tl.load(bias + j, mask=j < H, other=0.0).to(ACC)
                else:
                    a2 += from_input
                    a3 += tl.load(own + 3 * H, mask=active, other=0.0).to(ACC)
            was = tl.load(h + old * H + j, mask=here, other=0.0, cache_modifier=".cg")
            was_c = tl.load(c + rows * H + j, mask=here, other=0.0) if GATES == 4 else was
            after, after_c, k0, k1, k2, k3 = advance(
                a0, a1, a2, a3, tl.where(stays, was, 0.0), tl.where(stays, was_c, 0.0), GATES, ACTIVATION
            )
            write(outputs, gates, cells, at, j, H, active, here, after, after_c, k0, k1, k2, k3, GATES, KEEP)
            if GATES == 4:
                tl.store(c + rows * H + j, tl.where(active, after_c, was_c), mask=here)
            tl.store(h + new * H + j, tl.where(active, after, was), mask=here)
        # the next step reads what other threads, and other parts, wrote
        meet(counters, s + 1, PARTS, MEET)
    if stop == T:
        hand_out(h, h_last, steps, rows, there, first, B, H, PARTS, U)


@triton.jit(do_not_specialize=["start", "stop", "T", "B", "PARTS"])
def backward_steps(
    grad_outputs, grad_cells, w, mask, lengths, resets, order, first_state, outputs, gates, cells, d_h, d_c, d_sums,
    d_first, counters, start, stop, T, B, H, PARTS,
    GATES: tl.constexpr, ACTIVATION: tl.constexpr, REVERSE: tl.constexpr, MEET: tl.constexpr, PHASE: tl.constexpr,
    R: tl.constexpr, U: tl.constexpr, K: tl.constexpr, PRECISION: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """The steps the other way: d_h[2, B, H] and d_c[B, H] begin as the last state's gradients.

    d_first[B, H] and d_c end as those of the first state; first_state[B, H] is it, h of a GRU and c of an LSTM.
    d_sums[T, B, S] are the gradients of the sums: a GRU's of r, z, n and of q, what n's gate multiplies, S = 4H; else
    S = GATES H. A step has two phases, what is done by unit and the products: PHASE 0 runs both, 1 or 2 one of them.
    """
    TO: tl.constexpr = w.dtype.element_ty if PRECISION == "narrow" else ACC
    rows, there = rows_of(order, B, R)
    steps = steps_of(lengths, rows, there, T)
    unit, depth = tl.arange(0, U), tl.arange(0, K)
    first = tl.program_id(1) * U
    S = H if GATES == 1 else 4 * H
    # where the gradient of the recurrent product of the third block lies
    third = 3 * H if GATES == 3 else 2 * H
    for s in range(start, tl.minimum(stop, steps)):
        t = s if REVERSE else steps - 1 - s
        before = t + 1 if REVERSE else t - 1
        at, old, new = place(rows, s, t, B)
        alive, goes_on = takes_part(lengths, resets, rows, there, t, at)
        if PHASE != 2:
            earlier = rows * 0 + before
            at_before = earlier * B + rows
            stepped = there & (earlier >= 0) & (earlier < T)
            if lengths is not None:
                stepped = stepped & (earlier < tl.load(lengths + rows, mask=there, other=0))
            for j0 in range(first, H, PARTS * U):
                j = (j0 + unit)[None, :]
                here, active, stays = there & (j < H), alive & (j < H), goes_on & (j < H)
                came = tl.load(d_h + old * H + j, mask=here, other=0.0)
                came_c = tl.load(d_c + rows * H + j, mask=here, other=0.0) if GATES == 4 else came
                begin = tl.load(first_state + rows * H + j, mask=here, other=0.0).to(ACC)
                of_output, of_c, k0, k1, k2, k3, cell, was = read(
                    grad_outputs, grad_cells, outputs, gates, cells, begin, at, at_before, j, H, active, stays, stepped,
                    GATES, ACC,
                )  # fmt: skip
                d, d_cell = tl.where(active, came + of_output, 0.0), tl.where(active, came_c, 0.0)
                if grad_cells is not None:
                    d_cell += of_c
                s0, s1, s2, s3, direct, before_c = retreat(d, d_cell, k0, k1, k2, k3, cell, was, GATES, ACTIVATION)
                write_sums(d_sums, at, j, H, here, s0, s1, s2, s3, GATES)
                if GATES == 4:
                    after_c = tl.where(active, tl.where(stays, before_c, 0.0), came_c)
                    tl.store(d_c + rows * H + j, after_c, mask=here)
                tl.store(d_h + new * H + j, tl.where(active, tl.where(stays, direct, 0.0), came), mask=here)
        if PHASE == 0:
            # the products read the gradients of all units
            meet(counters, s + 1, PARTS, MEET)
        if PHASE != 1:
            for k0 in range(first, H, PARTS * U):
                k = (k0 + unit)[None, :]
                into = tl.zeros((R, U), dtype=ACC)
                for j0 in range(0, H, K):
                    j = j0 + depth
                    own, inside = d_sums + at * S + j[None, :], goes_on & (j[None, :] < H)
                    w0, w1, w2, w3 = _gate_tiles(w, j[:, None], k, H, GATES, TO)
                    d0 = tl.load(own, mask=inside, other=0.0, cache_modifier=".cg")
                    into = add_product(into, d0, w0, PRECISION, ACC)
                    if GATES > 1:
                        d1 = tl.load(own + H, mask=inside, other=0.0, cache_modifier=".cg")
                        into = add_product(into, d1, w1, PRECISION, ACC)
                        d2 = tl.load(own + third, mask=inside, other=0.0, cache_modifier=".cg")
                        into = add_product(into, d2, w2, PRECISION, ACC)
                    if GATES > 3:
                        d3 = tl.load(own + 3 * H, mask=inside, other=0.0, cache_modifier=".cg")
                        into = add_product(into, d3, w3, PRECISION, ACC)
                here = there & (k < H)
                if mask is not None:
                    into *= tl.load(mask + rows * H + k, mask=here, other=0.0).to(ACC)
                total = tl.load(d_h + new * H + k, mask=here, other=0.0)
                tl.store(d_h + new * H + k, tl.where(goes_on, total + into, total), mask=here)
            # (d_h is read by the part that wrote it alone, and each step has gradients of its own: no meeting here)
            tl.debug_barrier()
    if stop == T and PHASE != 1:
        hand_out(d_h, d_first, steps, rows, there, first, B, H, PARTS, U)
