"""What the layer kernels and the generated ones share: rows of a program, who takes part in a step, products, meetings.

A launch has a grid of (blocks of rows, parts). The parts of a block share its rows and halve, quarter, ... its units; where
there are several they meet between two steps, which is a barrier over that block alone. All parts must run at once for that,
so such a launch is cooperative: a device that cannot hold the whole grid refuses it, where it would wait for ever.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def tanh(x):
    e = tl.exp(-2 * tl.abs(x))
    size = (1 - e) / (1 + e)
    return tl.where(x < 0, -size, size)


@triton.jit
def meet(counters, times, PARTS, MEET: tl.constexpr):
    """Wait until every part of this block has come here `times` times; what each wrote before, all read after.

    The barrier of the program's threads orders their writes before the release of one of them, which passes them on to
    whoever acquires the counter after it (PTX memory model: causality order goes through barriers). What others wrote must be
    read from the second level of cache (".cg"): the first one belongs to one multiprocessor. Without MEET, where each launch
    is one phase of one step, only threads of one program wait for one another.
    """
    tl.debug_barrier()
    if MEET:
        counter = counters + tl.program_id(0)
        tl.atomic_add(counter, 1, sem="release", scope="gpu")
        # (of 64 bits, since a long sequence has more meetings than 32 bits count)
        all_came = PARTS.to(tl.int64) * times
        while tl.atomic_add(counter, 0, sem="acquire", scope="gpu") < all_came:
            pass
        tl.debug_barrier()


@triton.jit
def rows_of(order, B, R: tl.constexpr):
    """(the rows of this block, [R, 1] of 64 bits, so that every offset made from them is; which of them there are)."""
    at = (tl.program_id(0) * R + tl.arange(0, R))[:, None].to(tl.int64)
    there = at < B
    rows = at
    if order is not None:
        rows = tl.load(order + at, mask=there, other=0)
    return rows, there


@triton.jit
def steps_of(lengths, rows, there, T):
    """The steps that any of these rows takes: what comes after them is not walked through."""
    steps = T
    if lengths is not None:
        steps = tl.minimum(tl.max(tl.load(lengths + rows, mask=there, other=0)), T).to(tl.int32)
    return steps


@triton.jit
def takes_part(lengths, resets, rows, there, t, at):
    """(which rows take part in step t, which of these go on from their state); at is the place of (t, row)."""
    alive = there
    if lengths is not None:
        alive = there & (t < tl.load(lengths + rows, mask=there, other=0))
    goes_on = alive
    if resets is not None:
        goes_on = alive & (tl.load(resets + at, mask=there, other=0) == 0)
    return alive, goes_on


@triton.jit
def tile(w, first, j, k, rows, columns, TO: tl.constexpr):
    """weight[first + j, k] for j and k that lie along the two axes, zeros outside of rows and columns."""
    return tl.load(w + (first + j).to(tl.int64) * columns + k, mask=(j < rows) & (k < columns), other=0.0).to(TO)


@triton.jit
def _parts_of(x):
    """x as two numbers of tf32: its leading bits, and what they leave, which is exact.

    An infinity is all in the second one, which meets leading bits: what these leave may be zero, and would make no number.
    """
    high = (x.to(tl.int32, bitcast=True) & -8192).to(tl.float32, bitcast=True)
    low = x - high
    is_finite = low == low
    return tl.where(is_finite, high, 0.0), tl.where(is_finite, low, x)


@triton.jit
def add_product(total, rows, tile, PRECISION: tl.constexpr, ACC: tl.constexpr):
    """total + rows tile. "ieee" rounds nothing that is multiplied, "tf32" to eleven bits, "narrow" to the 16
    bits of the tile; "tf32x3" leaves out 2^-19 of it at most.

    The three products have sums of their own: Triton gives dots that follow one another a layout in which every warp does
    the same work.
    """
    if PRECISION == "tf32x3":
        high, low = _parts_of(rows)  # pyright: ignore[reportGeneralTypeIssues]
        tile_high, tile_low = _parts_of(tile)  # pyright: ignore[reportGeneralTypeIssues]
        small = tl.dot(low, tile_high, input_precision="tf32") + tl.dot(high, tile_low, input_precision="tf32")
        total += small + tl.dot(high, tile_high, input_precision="tf32")
    elif PRECISION == "narrow":
        total = tl.dot(rows.to(tile.dtype), tile, total)
    else:
        total = tl.dot(rows, tile, total, input_precision=PRECISION, out_dtype=ACC)  # pyright: ignore[reportArgumentType]
    return total


@triton.jit
def place(rows, s, t, B):
    """Where (t, row) lies, and which places of the state are the last step's and this one's; of 64 bits as rows are."""
    return (rows * 0 + t) * B + rows, (rows * 0 + s % 2) * B + rows, (rows * 0 + (s + 1) % 2) * B + rows


@triton.jit
def hand_out(both, last, steps, rows, there, first, B, H, PARTS, U: tl.constexpr):
    """Copy this part's units out of the place where the last step left them."""
    for j0 in range(first, H, PARTS * U):
        j = (j0 + tl.arange(0, U))[None, :]
        here = there & (j < H)
        value = tl.load(both + ((rows * 0 + steps % 2) * B + rows) * H + j, mask=here, other=0.0, cache_modifier=".cg")
        tl.store(last + rows * H + j, value, mask=here)
