"""Elman, GRU and LSTM in Triton, one launch for all steps of a layer: forward, and the gradient of the recurrence.

A program has a block of rows and all their units, and takes them through the sequence; nobody waits for another program.
With few units the recurrent weight is read once and stays in the program's registers and shared memory; with more, it is
read block by block at every step. The state lies in a buffer that has two places, this step's and the last one's, since a
block of units needs all units of the state before. GATES says which cell it is: 1 Elman, 3 GRU, 4 LSTM.
"""

# (tiles are bound where RESIDENT, which is settled at compilation, says so)
# pyright: reportPossiblyUnboundVariable=false

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _tanh(x):
    e = tl.exp(-2 * tl.abs(x))
    size = (1 - e) / (1 + e)
    return tl.where(x < 0, -size, size)


@triton.jit
def _activated(x, ACTIVATION: tl.constexpr):
    if ACTIVATION == 0:
        y = _tanh(x)
    elif ACTIVATION == 1:
        y = tl.maximum(x, 0.0)
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
        d = tl.where(y > 0, 1.0, 0.0).to(y.dtype)
    elif ACTIVATION == 2:
        d = y * (1 - y)
    else:
        d = y * 0 + 1
    return d


@triton.jit
def _tile(w, gate, j, k, H, ACC: tl.constexpr):
    """weight[gate H + j, k] for j and k that lie along the two axes, zeros outside."""
    return tl.load(w + (gate * H + j) * H + k, mask=(j < H) & (k < H), other=0.0).to(ACC)


@triton.jit
def _add(total, rows, tile, ACC: tl.constexpr):
    # in full precision: the default of float32 would round what is multiplied to tf32
    return tl.dot(rows, tile, total, input_precision="ieee", out_dtype=ACC)  # pyright: ignore[reportArgumentType]


@triton.jit
def forward_steps(
    x, w, bias, mask, lengths, resets, h, c, outputs, gates, cells, T, B, H,
    GATES: tl.constexpr, ACTIVATION: tl.constexpr, REVERSE: tl.constexpr, KEEP: tl.constexpr, RESIDENT: tl.constexpr,
    R: tl.constexpr, U: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """x[T, B, GATES H] are the sums of the inputs; h[2, B, H] and c[B, H] begin with the state and end with the last one."""
    rows = (tl.program_id(0) * R + tl.arange(0, R))[:, None].to(tl.int64)
    there = rows < B
    unit = tl.arange(0, U)
    if RESIDENT:
        w0 = _tile(w, 0, unit[None, :], unit[:, None], H, ACC)
        if GATES > 1:
            w1 = _tile(w, 1, unit[None, :], unit[:, None], H, ACC)
            w2 = _tile(w, 2, unit[None, :], unit[:, None], H, ACC)
        if GATES > 3:
            w3 = _tile(w, 3, unit[None, :], unit[:, None], H, ACC)
    for s in range(T):
        t = T - 1 - s if REVERSE else s
        # (with a row's number, so that the products are of 64 bits)
        at = (rows * 0 + t) * B + rows
        old, new = (rows * 0 + s % 2) * B + rows, (rows * 0 + (s + 1) % 2) * B + rows
        alive = there
        if lengths is not None:
            alive = there & (t < tl.load(lengths + rows, mask=there, other=0))
        goes_on = alive
        if resets is not None:
            goes_on = alive & (tl.load(resets + at, mask=there, other=0) == 0)
        for j0 in range(0, H, U):
            j = (j0 + unit)[None, :]
            here, active, stays = there & (j < H), alive & (j < H), goes_on & (j < H)
            a0 = tl.zeros((R, U), dtype=ACC)
            a1, a2, a3 = a0, a0, a0
            for k0 in range(0, H, U):
                k = k0 + unit
                inside = k[None, :] < H
                state = tl.load(h + old * H + k[None, :], mask=goes_on & inside, other=0.0)
                if mask is not None:
                    state *= tl.load(mask + rows * H + k[None, :], mask=there & inside, other=0.0).to(ACC)
                a0 = _add(a0, state, w0 if RESIDENT else _tile(w, 0, j, k[:, None], H, ACC), ACC)
                if GATES > 1:
                    a1 = _add(a1, state, w1 if RESIDENT else _tile(w, 1, j, k[:, None], H, ACC), ACC)
                    a2 = _add(a2, state, w2 if RESIDENT else _tile(w, 2, j, k[:, None], H, ACC), ACC)
                if GATES > 3:
                    a3 = _add(a3, state, w3 if RESIDENT else _tile(w, 3, j, k[:, None], H, ACC), ACC)
            own = x + at * (GATES * H) + j
            a0 += tl.load(own, mask=active, other=0.0).to(ACC)
            was = tl.load(h + old * H + j, mask=here, other=0.0)
            keep = gates + at * (4 * H if GATES > 1 else H) + j
            if GATES == 1:
                after = _activated(a0, ACTIVATION)
                if KEEP:
                    tl.store(keep, tl.where(active, a0, 0.0), mask=here)
            elif GATES == 3:
                r = tl.sigmoid(a0)
                z = tl.sigmoid(a1 + tl.load(own + H, mask=active, other=0.0).to(ACC))
                q = a2
                if bias is not None:
                    q += tl.load(bias + j, mask=j < H, other=0.0).to(ACC)
                n = _tanh(tl.load(own + 2 * H, mask=active, other=0.0).to(ACC) + r * q)
                after = (1 - z) * n + z * tl.where(stays, was, 0.0)
                if KEEP:
                    tl.store(keep, tl.where(active, r, 0.0), mask=here)
                    tl.store(keep + H, tl.where(active, z, 0.0), mask=here)
                    tl.store(keep + 2 * H, tl.where(active, n, 0.0), mask=here)
                    tl.store(keep + 3 * H, tl.where(active, q, 0.0), mask=here)
            else:
                i = tl.sigmoid(a0)
                f = tl.sigmoid(a1 + tl.load(own + H, mask=active, other=0.0).to(ACC))
                g = _tanh(a2 + tl.load(own + 2 * H, mask=active, other=0.0).to(ACC))
                o = tl.sigmoid(a3 + tl.load(own + 3 * H, mask=active, other=0.0).to(ACC))
                was_c = tl.load(c + rows * H + j, mask=here, other=0.0)
                new_c = f * tl.where(stays, was_c, 0.0) + i * g
                after = o * _tanh(new_c)
                tl.store(c + rows * H + j, tl.where(active, new_c, was_c), mask=here)
                if KEEP:
                    tl.store(keep, tl.where(active, i, 0.0), mask=here)
                    tl.store(keep + H, tl.where(active, f, 0.0), mask=here)
                    tl.store(keep + 2 * H, tl.where(active, g, 0.0), mask=here)
                    tl.store(keep + 3 * H, tl.where(active, o, 0.0), mask=here)
                    tl.store(cells + at * H + j, tl.where(active, new_c, 0.0), mask=here)
            tl.store(outputs + at * H + j, tl.where(active, after, 0.0), mask=here)
            tl.store(h + new * H + j, tl.where(active, after, was), mask=here)
        # the next step reads what other threads of this program wrote
        tl.debug_barrier()


@triton.jit
def backward_steps(
    grad_outputs, grad_cells, w, mask, lengths, resets, first_h, first_c, outputs, gates, cells, d_h, d_c, d_sums, T, B, H,
    GATES: tl.constexpr, ACTIVATION: tl.constexpr, REVERSE: tl.constexpr, RESIDENT: tl.constexpr, R: tl.constexpr,
    U: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """The steps the other way: d_h[2, B, H] and d_c[B, H] begin as the last state's gradients and end as the first's.

    d_sums[T, B, S] are the gradients of the sums: a GRU's of r, z, n and of q, what n's gate multiplies, S = 4H; else
    S = GATES H.
    """
    rows = (tl.program_id(0) * R + tl.arange(0, R))[:, None].to(tl.int64)
    there = rows < B
    unit = tl.arange(0, U)
    S = H if GATES == 1 else 4 * H
    # where the gradient of the recurrent product of the third block lies
    third = 3 * H if GATES == 3 else 2 * H
    if RESIDENT:
        w0 = _tile(w, 0, unit[:, None], unit[None, :], H, ACC)
        if GATES > 1:
            w1 = _tile(w, 1, unit[:, None], unit[None, :], H, ACC)
            w2 = _tile(w, 2, unit[:, None], unit[None, :], H, ACC)
        if GATES > 3:
            w3 = _tile(w, 3, unit[:, None], unit[None, :], H, ACC)
    for s in range(T):
        t = s if REVERSE else T - 1 - s
        before = t + 1 if REVERSE else t - 1
        place = rows * 0 + before
        at, at_before = (rows * 0 + t) * B + rows, place * B + rows
        old, new = (rows * 0 + s % 2) * B + rows, (rows * 0 + (s + 1) % 2) * B + rows
        alive, stepped = there, there & (place >= 0) & (place < T)
        if lengths is not None:
            ends = tl.load(lengths + rows, mask=there, other=0)
            alive, stepped = alive & (t < ends), stepped & (place < ends)
        goes_on = alive
        if resets is not None:
            goes_on = alive & (tl.load(resets + at, mask=there, other=0) == 0)
        for j0 in range(0, H, U):
            j = (j0 + unit)[None, :]
            here, active, stays = there & (j < H), alive & (j < H), goes_on & (j < H)
            goes, begins = stays & stepped, stays & (stepped == 0)
            came = tl.load(d_h + old * H + j, mask=here, other=0.0)
            d = tl.where(active, came + tl.load(grad_outputs + at * H + j, mask=active, other=0.0).to(ACC), 0.0)
            keep, to = gates + at * (4 * H if GATES > 1 else H) + j, d_sums + at * S + j
            if GATES == 1:
                y = tl.load(outputs + at * H + j, mask=active, other=0.0).to(ACC)
                tl.store(to, d * _slope(y, ACTIVATION), mask=here)
                direct = d * 0
            elif GATES == 3:
                was = tl.load(outputs + at_before * H + j, mask=goes, other=0.0).to(ACC)
                was += tl.load(first_h + rows * H + j, mask=begins, other=0.0).to(ACC)
                r = tl.load(keep, mask=active, other=0.0).to(ACC)
                z = tl.load(keep + H, mask=active, other=0.0).to(ACC)
                n = tl.load(keep + 2 * H, mask=active, other=0.0).to(ACC)
                q = tl.load(keep + 3 * H, mask=active, other=0.0).to(ACC)
                d_n = d * (1 - z) * (1 - n * n)
                tl.store(to, d_n * q * r * (1 - r), mask=here)
                tl.store(to + H, d * (was - n) * z * (1 - z), mask=here)
                tl.store(to + 2 * H, d_n, mask=here)
                tl.store(to + 3 * H, d_n * r, mask=here)
                direct = d * z
            else:
                was = tl.load(cells + at_before * H + j, mask=goes, other=0.0).to(ACC)
                was += tl.load(first_c + rows * H + j, mask=begins, other=0.0).to(ACC)
                i = tl.load(keep, mask=active, other=0.0).to(ACC)
                f = tl.load(keep + H, mask=active, other=0.0).to(ACC)
                g = tl.load(keep + 2 * H, mask=active, other=0.0).to(ACC)
                o = tl.load(keep + 3 * H, mask=active, other=0.0).to(ACC)
                read = _tanh(tl.load(cells + at * H + j, mask=active, other=0.0).to(ACC))
                came_c = tl.load(d_c + rows * H + j, mask=here, other=0.0)
                d_cell = tl.where(active, came_c, 0.0) + d * o * (1 - read * read)
                if grad_cells is not None:
                    d_cell += tl.load(grad_cells + at * H + j, mask=active, other=0.0).to(ACC)
                tl.store(to, d_cell * g * i * (1 - i), mask=here)
                tl.store(to + H, d_cell * was * f * (1 - f), mask=here)
                tl.store(to + 2 * H, d_cell * i * (1 - g * g), mask=here)
                tl.store(to + 3 * H, d * read * o * (1 - o), mask=here)
                tl.store(d_c + rows * H + j, tl.where(active, tl.where(stays, d_cell * f, 0.0), came_c), mask=here)
                direct = d * 0
            tl.store(d_h + new * H + j, tl.where(active, tl.where(stays, direct, 0.0), came), mask=here)
        # the products read the gradients of all units
        tl.debug_barrier()
        for k0 in range(0, H, U):
            k = (k0 + unit)[None, :]
            into = tl.zeros((R, U), dtype=ACC)
            for j0 in range(0, H, U):
                j = j0 + unit
                own, inside = d_sums + at * S + j[None, :], goes_on & (j[None, :] < H)
                d0 = tl.load(own, mask=inside, other=0.0)
                into = _add(into, d0, w0 if RESIDENT else _tile(w, 0, j[:, None], k, H, ACC), ACC)
                if GATES > 1:
                    d1 = tl.load(own + H, mask=inside, other=0.0)
                    into = _add(into, d1, w1 if RESIDENT else _tile(w, 1, j[:, None], k, H, ACC), ACC)
                    d2 = tl.load(own + third, mask=inside, other=0.0)
                    into = _add(into, d2, w2 if RESIDENT else _tile(w, 2, j[:, None], k, H, ACC), ACC)
                if GATES > 3:
                    d3 = tl.load(own + 3 * H, mask=inside, other=0.0)
                    into = _add(into, d3, w3 if RESIDENT else _tile(w, 3, j[:, None], k, H, ACC), ACC)
            here = there & (k < H)
            if mask is not None:
                into *= tl.load(mask + rows * H + k, mask=here, other=0.0).to(ACC)
            total = tl.load(d_h + new * H + k, mask=here, other=0.0)
            tl.store(d_h + new * H + k, tl.where(goes_on, total + into, total), mask=here)
        tl.debug_barrier()
