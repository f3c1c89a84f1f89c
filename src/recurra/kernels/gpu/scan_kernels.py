"""The linear recurrence S_t = a_t S_{t-1} + b_t in Triton, and its gradient. `scans.py` says how a call is shared out.

A program takes some units of one row, and walks in tiles[C, U] of C steps, whose numbers are asked for while the tiles
before them are computed. The walk is cut into chunks of L steps, L a multiple of C. Inside of a chunk two steps make one
(Blelloch 1990, section 1.4.1): (a2 a1, a2 b1 + b2), one after another, and S_t = A_t S + B_t from the state S before the
chunk. So a program may walk all chunks with S in its registers, or one chunk alone once S is known; the bits are the same,
since what is added to what depends on t alone: chunks begin at multiples of L in t, walked either way (FLIP: from the last
step to the first). A lane of a warp has all steps of its units, so a scan in time passes nothing between lanes.

The gradient walks back. R is what arrives at the state after a step from the steps behind it:

    G = dL/dS_t = (gradient of output t) + R,  db = G,  da = G conj(S_{t-1}),  R <- conj(a_t) G.

A reset is a flag that is carried along: what came before is not taken times zero, it is not taken at all, NaN or not. A step
after the end of a row is (1, 0), nothing of it is read, and its output is zero. Complex numbers are two tiles, real then
imaginary; of a real one the second is the first again, which nobody reads. Offsets are of 64 bits, but for those in a tile.

Loops count their tiles twice: `tile` is the one whose numbers are asked for, `now` the one that is computed. With one count
the compiler would carry what is known of the steps of a tile along, from the one to the other, in too few registers.
"""

from __future__ import annotations

import triton
import triton.language as tl

from recurra.kernels.gpu.scan_cells import coefficients, gradients


@triton.jit
def _joined(a1, b1, f1, a2, b2, f2):
    """Two steps (a, b, whether nothing before is taken) as one."""
    return a1 * a2, tl.where(f2 != 0, b2, tl.fma(a2, b1, b2)), f1 | f2


@triton.jit
def _joined_pairs(ar1, ai1, br1, bi1, f1, ar2, ai2, br2, bi2, f2):
    re = tl.where(f2 != 0, br2, tl.fma(ar2, br1, tl.fma(-ai2, bi1, br2)))
    im = tl.where(f2 != 0, bi2, tl.fma(ar2, bi1, tl.fma(ai2, br1, bi2)))
    return tl.fma(ar1, ar2, -(ai1 * ai2)), tl.fma(ar1, ai2, ai1 * ar2), re, im, f1 | f2


@triton.jit
def _joined_back(a1, b1, f1, p1, q1, e1, s1, a2, b2, f2, p2, q2, e2, s2):
    """The same, and (p, q, e): all steps but the last one as one. s: whether this is a single step, before which is none."""
    p, e = tl.where(s2 != 0, a1, a1 * p2), tl.where(s2 != 0, f1, f1 | e2)
    q = tl.where(s2 != 0, b1, tl.where(e2 != 0, q2, tl.fma(p2, b1, q2)))
    return a1 * a2, tl.where(f2 != 0, b2, tl.fma(a2, b1, b2)), f1 | f2, p, q, e, s1 & 0


@triton.jit
def _joined_pairs_back(
    ar1, ai1, br1, bi1, f1, pr1, pi1, qr1, qi1, e1, s1, ar2, ai2, br2, bi2, f2, pr2, pi2, qr2, qi2, e2, s2
):
    re = tl.where(f2 != 0, br2, tl.fma(ar2, br1, tl.fma(-ai2, bi1, br2)))
    im = tl.where(f2 != 0, bi2, tl.fma(ar2, bi1, tl.fma(ai2, br1, bi2)))
    pr = tl.where(s2 != 0, ar1, tl.fma(ar1, pr2, -(ai1 * pi2)))
    pi = tl.where(s2 != 0, ai1, tl.fma(ar1, pi2, ai1 * pr2))
    qr = tl.where(s2 != 0, br1, tl.where(e2 != 0, qr2, tl.fma(pr2, br1, tl.fma(-pi2, bi1, qr2))))
    qi = tl.where(s2 != 0, bi1, tl.where(e2 != 0, qi2, tl.fma(pr2, bi1, tl.fma(pi2, br1, qi2))))
    e = tl.where(s2 != 0, f1, f1 | e2)
    return (
        tl.fma(ar1, ar2, -(ai1 * ai2)), tl.fma(ar1, ai2, ai1 * ar2), re, im, f1 | f2, pr, pi, qr, qi, e, s1 & 0
    )  # fmt: skip


@triton.jit
def _places(B, H, U: tl.constexpr, V: tl.constexpr):
    """(the part of the walk, the row, the units[1, U], which of them there are).

    V units lie side by side in a lane: with more of them lanes would share the steps of a tile, with one the copies in
    shared memory would lie step by step, and the lanes get in each other's way.
    """
    place, blocks = tl.program_id(0).to(tl.int64), tl.cdiv(H, U)
    units = tl.multiple_of((place % blocks) * U + tl.arange(0, U), V)[None, :]
    return place // blocks // B, place // blocks % B, units, units < H


@triton.jit
def _steps(lengths, row, T):
    """The steps that the row takes part in."""
    steps = T
    if lengths is not None:
        steps = tl.minimum(tl.load(lengths + row), T).to(tl.int32)
    return steps


@triton.jit
def _tiles(part, count, T, FLIP: tl.constexpr, C: tl.constexpr, L: tl.constexpr):
    """(the first tile of this part of the walk, the one after the last); those outside of the sequence are left out."""
    begin, stop = (part * count * (L // C)).to(tl.int32), ((part + 1) * count * (L // C)).to(tl.int32)
    if FLIP:
        end = tl.cdiv(T, L) * L
        return tl.maximum(begin, (end - T) // C), tl.minimum(stop, end // C)
    else:
        return begin, tl.minimum(stop, tl.cdiv(T, C))


@triton.jit
def _times(tile, T, FLIP: tl.constexpr, C: tl.constexpr, L: tl.constexpr):
    """(the first step[1, 1] of a tile in the order of the walk, of 64 bits; all its steps[C, 1])."""
    begin, places = tile * C, tl.arange(0, C)[:, None]
    if FLIP:
        begin = tl.cdiv(T, L) * L - 1 - tile * C
        places = -places
    return tl.zeros((1, 1), dtype=tl.int64) + begin, begin + places


@triton.jit
def _stride(B, count, H):
    """How far a step of B rows of `count` planes lies from the next one, of 64 bits: a step may have 2^31 numbers."""
    return tl.cast(B, tl.int64) * (count * H)


@triton.jit
def _offsets(stride, FLIP: tl.constexpr, C: tl.constexpr, FAR: tl.constexpr):
    """How far the steps of a tile[C, 1] lie from its first one; of 32 bits where that is enough."""
    places = tl.arange(0, C)[:, None]
    if FLIP:
        places = -places
    return places * tl.cast(stride, tl.int64 if FAR else tl.int32)


@triton.jit
def _flags(resets, tile, row, steps, T, B, FLIP: tl.constexpr, C: tl.constexpr, L: tl.constexpr):
    """The resets[C, 1] of a tile, as bits that lie side by side when they are summed."""
    flags = tl.zeros((C, 1), dtype=tl.int32)
    if resets is not None:
        _, t = _times(tile, T, FLIP, C, L)  # pyright: ignore[reportGeneralTypeIssues]
        there = (t >= 0) & (t < steps)
        at = resets + t.to(tl.int64) * B + row
        flags += tl.load(at, mask=there, other=0).to(tl.int32) << tl.arange(0, C)[:, None]
    return flags


@triton.jit
def _spread(resets, flags, C: tl.constexpr, U: tl.constexpr):
    """The flags of a tile for each unit, [C, U]; where there are no resets the compiler sees that."""
    spread = tl.zeros((C, U), dtype=tl.int32)
    if resets is not None:
        spread = tl.broadcast_to((tl.sum(flags) >> tl.arange(0, C)[:, None]) & 1, (C, U))
    return spread


@triton.jit
def _planes(values, count: tl.constexpr, H, mask, ACC: tl.constexpr):
    """A tuple of so many planes, which lie H numbers from one another."""
    planes = ()
    for at in tl.static_range(count):  # pyright: ignore[reportGeneralTypeIssues]
        planes = planes + (tl.load(values + at * H, mask=mask, other=0.0).to(ACC),)  # noqa: RUF005 (the compiler's way)
    return planes


@triton.jit
def _pair(values, H, mask, WIDTH: tl.constexpr, ACC: tl.constexpr):
    planes = _planes(values, WIDTH, H, mask, ACC)
    return planes[0], planes[WIDTH - 1]


@triton.jit
def _store(to, planes, count: tl.constexpr, H, mask):
    for at in tl.static_range(count):  # pyright: ignore[reportGeneralTypeIssues]
        tl.store(to + at * H, planes[at], mask=mask)


@triton.jit
def _last(values, C: tl.constexpr):
    return tl.sum(tl.where((tl.arange(0, C) == C - 1)[:, None], values, 0), axis=0, keep_dims=True)


@triton.jit
def _after(ar, ai, br, bi, flag, sr, si, WIDTH: tl.constexpr):
    """a s + b; b alone where s is not taken."""
    if WIDTH == 2:
        re = tl.where(flag != 0, br, tl.fma(ar, sr, tl.fma(-ai, si, br)))
        return re, tl.where(flag != 0, bi, tl.fma(ar, si, tl.fma(ai, sr, bi)))
    else:
        re = tl.where(flag != 0, br, tl.fma(ar, sr, br))
        return re, re


@triton.jit
def _given(
    x, a, numbers, there, mask, H, CELL: tl.constexpr, PLANES: tl.constexpr, WIDTH: tl.constexpr, ACC: tl.constexpr
):
    """(the sums of a tile, its a and b in two parts each); a = 1 and b = 0 where the row takes no part."""
    sums = _planes(x, PLANES, H, mask, ACC)
    given = ()
    if a is not None:
        given = _planes(a, WIDTH, H, mask, ACC)
    ar, ai, br, bi = coefficients(given, sums, numbers, CELL)  # pyright: ignore[reportGeneralTypeIssues]
    return sums, tl.where(there, ar, 1.0), tl.where(there, ai, 0.0), tl.where(there, br, 0.0), tl.where(there, bi, 0.0)


@triton.jit
def _nothing(U: tl.constexpr, ACC: tl.constexpr):
    """No steps as one step: a = 1, b = 0, nothing left out."""
    zeros = tl.zeros((1, U), dtype=ACC)
    return zeros + 1, zeros, zeros, zeros, tl.zeros((1, U), dtype=tl.int32)


@triton.jit
def _forward(whole, ar, ai, br, bi, flag, WIDTH: tl.constexpr, C: tl.constexpr):
    """All steps of a chunk up to each one of this tile as one step; `whole` is what came before this tile."""
    begins = (tl.arange(0, C) == 0)[:, None]
    Ar, Ai, Br, Bi, before = whole
    if WIDTH == 2:
        re, im, joined_r, joined_i, f = _joined_pairs(Ar, Ai, Br, Bi, before, ar, ai, br, bi, flag)  # pyright: ignore[reportGeneralTypeIssues]
        ar, ai, flag = tl.where(begins, re, ar), tl.where(begins, im, ai), tl.where(begins, f, flag)
        br, bi = tl.where(begins, joined_r, br), tl.where(begins, joined_i, bi)
        return tl.associative_scan((ar, ai, br, bi, flag), 0, _joined_pairs)
    else:
        a, b, f = _joined(Ar, Br, before, ar, br, flag)  # pyright: ignore[reportGeneralTypeIssues]
        a, b, flag = tl.where(begins, a, ar), tl.where(begins, b, br), tl.where(begins, f, flag)
        a, b, flag = tl.associative_scan((a, b, flag), 0, _joined)
        return a, a, b, b, flag


@triton.jit
def _back(whole, ar, ai, gr, gi, flag, WIDTH: tl.constexpr, C: tl.constexpr):
    """The same on the way back, where a step makes conj(a) (R + g) of R: (up to each step, up to the one before it)."""
    none, single = tl.full(flag.shape, 0, flag.dtype), tl.full(flag.shape, 1, flag.dtype)
    begins, resets = (tl.arange(0, C) == 0)[:, None], flag != 0
    Ar, Ai, Br, Bi, before = whole
    e = tl.where(begins, before, none)
    if WIDTH == 2:
        br = tl.where(resets, 0.0, tl.fma(ar, gr, ai * gi))
        bi = tl.where(resets, 0.0, tl.fma(ar, gi, -(ai * gr)))
        re, im, joined_r, joined_i, f = _joined_pairs(Ar, Ai, Br, Bi, before, ar, -ai, br, bi, flag)  # pyright: ignore[reportGeneralTypeIssues]
        ar, ai, flag = tl.where(begins, re, ar), tl.where(begins, im, -ai), tl.where(begins, f, flag)
        br, bi = tl.where(begins, joined_r, br), tl.where(begins, joined_i, bi)
        one, zero = tl.full(ar.shape, 1, ar.dtype), tl.full(ar.shape, 0, ar.dtype)
        pr, pi = tl.where(begins, Ar, one), tl.where(begins, Ai, zero)
        qr, qi = tl.where(begins, Br, zero), tl.where(begins, Bi, zero)
        ar, ai, br, bi, flag, pr, pi, qr, qi, e, single = tl.associative_scan(
            (ar, ai, br, bi, flag, pr, pi, qr, qi, e, single), 0, _joined_pairs_back
        )
        return ar, ai, br, bi, flag, pr, pi, qr, qi, e
    else:
        b = tl.where(resets, 0.0, ar * gr)
        a, joined, f = _joined(Ar, Br, before, ar, b, flag)  # pyright: ignore[reportGeneralTypeIssues]
        a, b, flag = tl.where(begins, a, ar), tl.where(begins, joined, b), tl.where(begins, f, flag)
        one, zero = tl.full(ar.shape, 1, ar.dtype), tl.full(ar.shape, 0, ar.dtype)
        p, q = tl.where(begins, Ar, one), tl.where(begins, Br, zero)
        a, b, flag, p, q, e, single = tl.associative_scan((a, b, flag, p, q, e, single), 0, _joined_back)
        return a, a, b, b, flag, p, p, q, q, e


@triton.jit
def _rest(ends, whole, ar, ai, br, bi, flag, sr, si, after_r, after_i, WIDTH: tl.constexpr, C: tl.constexpr):
    """(steps so far of the chunk, the state before it) for the next tile; where a chunk ends, none and the last state."""
    flag = tl.where(ends, 0, _last(flag, C))
    whole = (
        tl.where(ends, 1.0, _last(ar, C)), tl.where(ends, 0.0, _last(ai, C)), tl.where(ends, 0.0, _last(br, C)),
        tl.where(ends, 0.0, _last(bi, C)), flag,
    )  # fmt: skip
    return whole, tl.where(ends, after_r, sr), tl.where(ends, after_i, si)


@triton.jit
def chunks_as_steps(
    x, a, numbers, lengths, resets, grads, whole_a, whole_b, whole_flag, T, B, H, a_t, a_b,
    CELL: tl.constexpr, PLANES: tl.constexpr, NUMBERS: tl.constexpr, WIDTH: tl.constexpr, FLIP: tl.constexpr,
    FAR: tl.constexpr, C: tl.constexpr, L: tl.constexpr, U: tl.constexpr, V: tl.constexpr, STAGES: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """Each chunk as one step: whole_a, whole_b[chunks, B, W], whole_flag[chunks, B, H]; with grads that of the way back."""
    chunk, row, units, inside = _places(B, H, U, V)  # pyright: ignore[reportGeneralTypeIssues]
    steps = _steps(lengths, row, T)
    n = ()
    if numbers is not None:
        n = _planes(numbers + units, NUMBERS, H, inside, ACC)
    own_x, x_t, y_t = x + row * (PLANES * H) + units, _stride(B, PLANES, H), _stride(B, WIDTH, H)
    whole = _nothing(U, ACC)
    begin, stop = _tiles(chunk, 1, T, FLIP, C, L)  # pyright: ignore[reportGeneralTypeIssues]
    now = begin
    flags = _flags(resets, begin, row, steps, T, B, FLIP, C, L)
    for tile in tl.range(begin, stop, num_stages=STAGES):
        flag = _spread(resets, flags, C, U)
        flags = _flags(resets, tile + 1, row, steps, T, B, FLIP, C, L)
        first_t, t = _times(tile, T, FLIP, C, L)  # pyright: ignore[reportGeneralTypeIssues]
        _first_now, t_now = _times(now, T, FLIP, C, L)  # pyright: ignore[reportGeneralTypeIssues]
        mask, there, at_a, now = (t < steps) & inside, t_now < steps, a, now + 1
        if a is not None:
            at_a = a + row * a_b + units + first_t * a_t + _offsets(a_t, FLIP, C, FAR)
        at_x = own_x + first_t * x_t + _offsets(x_t, FLIP, C, FAR)
        _sums, ar, ai, br, bi = _given(at_x, at_a, n, there, mask, H, CELL, PLANES, WIDTH, ACC)  # pyright: ignore[reportGeneralTypeIssues]
        if grads is not None:
            at = grads + row * (WIDTH * H) + units + first_t * y_t + _offsets(y_t, FLIP, C, FAR)
            gr, gi = _pair(at, H, mask, WIDTH, ACC)  # pyright: ignore[reportGeneralTypeIssues]
            ar, ai, br, bi, flag, _pr, _pi, _qr, _qi, _e = _back(whole, ar, ai, gr, gi, flag, WIDTH, C)  # pyright: ignore[reportGeneralTypeIssues]
        else:
            ar, ai, br, bi, flag = _forward(whole, ar, ai, br, bi, flag, WIDTH, C)  # pyright: ignore[reportGeneralTypeIssues]
        whole = _last(ar, C), _last(ai, C), _last(br, C), _last(bi, C), _last(flag, C)
    at = (chunk * B + row) * (WIDTH * H) + units
    Ar, Ai, Br, Bi, before = whole
    _store(whole_a + at, (Ar, Ai), WIDTH, H, inside)
    _store(whole_b + at, (Br, Bi), WIDTH, H, inside)
    if resets is not None:
        tl.store(whole_flag + (chunk * B + row) * H + units, before, mask=inside)


@triton.jit
def between_chunks(
    whole_a, whole_b, whole_flag, first, before, chunks, B, H,
    WIDTH: tl.constexpr, C: tl.constexpr, U: tl.constexpr, V: tl.constexpr, STAGES: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """The state before each chunk, before[chunks, B, W], from the first one: a scan that begins with that state, one chunk
    after another, as a program that walks through all of them goes on."""
    _part, row, units, inside = _places(B, H, U, V)  # pyright: ignore[reportGeneralTypeIssues]
    here, y_t = row * (WIDTH * H) + units, _stride(B, WIDTH, H)
    sr, si = _pair(first + here, H, inside, WIDTH, ACC)  # pyright: ignore[reportGeneralTypeIssues]
    _store(before + here, (sr, si), WIDTH, H, inside)
    nothing = tl.zeros((1, U), dtype=tl.int32)
    for tile in tl.range(0, tl.cdiv(chunks, C), num_stages=STAGES):
        chunk = (row * 0 + tile * C + tl.arange(0, C))[:, None]
        mask, at = inside & (chunk < chunks), here + chunk * y_t
        ar, ai = _pair(whole_a + at, H, mask, WIDTH, ACC)  # pyright: ignore[reportGeneralTypeIssues]
        br, bi = _pair(whole_b + at, H, mask, WIDTH, ACC)  # pyright: ignore[reportGeneralTypeIssues]
        flag = tl.zeros((C, U), dtype=tl.int32)
        if whole_flag is not None:
            flag += tl.load(whole_flag + (chunk * B + row) * H + units, mask=mask, other=0)
        ar, ai, br, bi, flag = _forward((sr, si, sr, si, nothing), ar, ai, br, bi, flag, WIDTH, C)  # pyright: ignore[reportGeneralTypeIssues]
        _store(before + at + y_t, (br, bi), WIDTH, H, inside & (chunk + 1 < chunks))
        sr, si = _last(br, C), _last(bi, C)


@triton.jit(do_not_specialize=["chunks", "count"])  # (one kernel for both ways)
def walk(
    x, a, numbers, lengths, resets, before, outputs, last, T, B, H, chunks, count, a_t, a_b,
    CELL: tl.constexpr, PLANES: tl.constexpr, NUMBERS: tl.constexpr, WIDTH: tl.constexpr, FLIP: tl.constexpr,
    FAR: tl.constexpr, C: tl.constexpr, L: tl.constexpr, U: tl.constexpr, V: tl.constexpr, STAGES: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """`count` chunks from before[parts, B, W], the state before each part: outputs[T, B, W], and the last state[B, W]."""
    part, row, units, inside = _places(B, H, U, V)  # pyright: ignore[reportGeneralTypeIssues]
    steps, here = _steps(lengths, row, T), row * (WIDTH * H) + units
    n = ()
    if numbers is not None:
        n = _planes(numbers + units, NUMBERS, H, inside, ACC)
    own_x, x_t, y_t = x + row * (PLANES * H) + units, _stride(B, PLANES, H), _stride(B, WIDTH, H)
    sr, si = _pair(before + part * y_t + here, H, inside, WIDTH, ACC)  # pyright: ignore[reportGeneralTypeIssues]
    whole, last_r, last_i = _nothing(U, ACC), sr, si
    begin, stop = _tiles(part, count, T, FLIP, C, L)  # pyright: ignore[reportGeneralTypeIssues]
    now = begin
    flags = _flags(resets, begin, row, steps, T, B, FLIP, C, L)
    for tile in tl.range(begin, stop, num_stages=STAGES):
        flag = _spread(resets, flags, C, U)
        flags = _flags(resets, tile + 1, row, steps, T, B, FLIP, C, L)
        first_t, t = _times(tile, T, FLIP, C, L)  # pyright: ignore[reportGeneralTypeIssues]
        first_now, t_now = _times(now, T, FLIP, C, L)  # pyright: ignore[reportGeneralTypeIssues]
        there, at_a, now = t_now < steps, a, now + 1
        if a is not None:
            at_a = a + row * a_b + units + first_t * a_t + _offsets(a_t, FLIP, C, FAR)
        at_x = own_x + first_t * x_t + _offsets(x_t, FLIP, C, FAR)
        _sums, ar, ai, br, bi = _given(at_x, at_a, n, there, (t < steps) & inside, H, CELL, PLANES, WIDTH, ACC)  # pyright: ignore[reportGeneralTypeIssues]
        ar, ai, br, bi, flag = _forward(whole, ar, ai, br, bi, flag, WIDTH, C)  # pyright: ignore[reportGeneralTypeIssues]
        re, im = _after(ar, ai, br, bi, flag, sr, si, WIDTH)  # pyright: ignore[reportGeneralTypeIssues]
        out, at = (tl.where(there, re, 0.0), tl.where(there, im, 0.0)), outputs + here + first_now * y_t
        _store(at + _offsets(y_t, FLIP, C, FAR), out, WIDTH, H, inside & (t_now < T))
        last_r, last_i, ends = _last(re, C), _last(im, C), now % (L // C) == 0
        whole, sr, si = _rest(ends, whole, ar, ai, br, bi, flag, sr, si, last_r, last_i, WIDTH, C)  # pyright: ignore[reportGeneralTypeIssues]
    if part == (chunks - 1) // count:
        _store(last + here, (last_r, last_i), WIDTH, H, inside)


@triton.jit(do_not_specialize=["chunks", "count"])
def walk_back(
    x, a, numbers, lengths, resets, before, first, outputs, grads, d_x, d_a, d_numbers, d_first, T, B, H, chunks, count,
    a_t, a_b, CELL: tl.constexpr, PLANES: tl.constexpr, NUMBERS: tl.constexpr, WIDTH: tl.constexpr, FLIP: tl.constexpr,
    FAR: tl.constexpr, C: tl.constexpr, L: tl.constexpr, U: tl.constexpr, V: tl.constexpr, STAGES: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """`count` chunks of the way back from before[parts, B, W], what arrives at each part, over outputs of `walk`.

    Gradients: d_x[T, B, PLANES * H], d_a[T, B, W] of a that was given, d_first[B, W], and d_numbers[parts, B, NUMBERS, H],
    what each program has of those of the numbers.
    """
    part, row, units, inside = _places(B, H, U, V)  # pyright: ignore[reportGeneralTypeIssues]
    steps, here = _steps(lengths, row, T), row * (WIDTH * H) + units
    n = ()
    if numbers is not None:
        n = _planes(numbers + units, NUMBERS, H, inside, ACC)
    own, x_t, y_t = row * (PLANES * H) + units, _stride(B, PLANES, H), _stride(B, WIDTH, H)
    first_r, first_i = _pair(first + here, H, inside, WIDTH, ACC)  # pyright: ignore[reportGeneralTypeIssues]
    sr, si = _pair(before + part * y_t + here, H, inside, WIDTH, ACC)  # pyright: ignore[reportGeneralTypeIssues]
    whole, last_r, last_i, zeros = _nothing(U, ACC), sr, si, tl.zeros((1, U), dtype=ACC)
    total = zeros, zeros, zeros
    begin, stop = _tiles(part, count, T, FLIP, C, L)  # pyright: ignore[reportGeneralTypeIssues]
    now = begin
    flags = _flags(resets, begin, row, steps, T, B, FLIP, C, L)
    for tile in tl.range(begin, stop, num_stages=STAGES):
        resets_here = _spread(resets, flags, C, U)
        flags = _flags(resets, tile + 1, row, steps, T, B, FLIP, C, L)
        first_t, t = _times(tile, T, FLIP, C, L)  # pyright: ignore[reportGeneralTypeIssues]
        first_now, t_now = _times(now, T, FLIP, C, L)  # pyright: ignore[reportGeneralTypeIssues]
        mask, there, inbounds, at_a, now = (t < steps) & inside, t_now < steps, inside & (t_now < T), a, now + 1
        # the state before step t: an output, or the first state where no step of this row was taken before
        stepped = t_now > 0 if FLIP else t_now + 1 < steps
        if a is not None:
            at_a = a + row * a_b + units + first_t * a_t + _offsets(a_t, FLIP, C, FAR)
        at_x, at = first_t * x_t + _offsets(x_t, FLIP, C, FAR), first_t * y_t + _offsets(y_t, FLIP, C, FAR)
        sums, ar, ai, br, bi = _given(x + own + at_x, at_a, n, there, mask, H, CELL, PLANES, WIDTH, ACC)  # pyright: ignore[reportGeneralTypeIssues]
        gr, gi = _pair(grads + here + at, H, mask, WIDTH, ACC)  # pyright: ignore[reportGeneralTypeIssues]
        at_was = outputs + here + (-y_t if FLIP else y_t) + at
        hr, hi = _pair(at_was, H, mask & (t > 0 if FLIP else t + 1 < steps), WIDTH, ACC)  # pyright: ignore[reportGeneralTypeIssues]
        hr, hi = tl.where(stepped, hr, first_r), tl.where(stepped, hi, first_i)
        ar, ai, br, bi, flag, pr, pi, qr, qi, e = _back(whole, ar, ai, gr, gi, resets_here, WIDTH, C)  # pyright: ignore[reportGeneralTypeIssues]
        re, im = _after(pr, pi, qr, qi, e, sr, si, WIDTH)  # pyright: ignore[reportGeneralTypeIssues]
        gr, gi = gr + re, gi + im
        d_ar, d_ai = gr * hr, gi
        if WIDTH == 2:
            d_ar, d_ai = tl.fma(gr, hr, gi * hi), tl.fma(gi, hr, -(gr * hi))
        if lengths is not None:
            d_ar, d_ai = tl.where(there, d_ar, 0.0), tl.where(there, d_ai, 0.0)
        if resets is not None:
            d_ar, d_ai = tl.where(resets_here == 0, d_ar, 0.0), tl.where(resets_here == 0, d_ai, 0.0)
        d_sums, d_n = gradients(sums, n, d_ar, d_ai, gr, gi, CELL)  # pyright: ignore[reportGeneralTypeIssues]
        now_x, now_y = first_now * x_t + _offsets(x_t, FLIP, C, FAR), first_now * y_t + _offsets(y_t, FLIP, C, FAR)
        for plane in tl.static_range(PLANES):  # pyright: ignore[reportGeneralTypeIssues]
            value = d_sums[plane]
            if lengths is not None:
                value = tl.where(there, value, 0.0)
            tl.store(d_x + own + plane * H + now_x, value, mask=inbounds)
        if d_a is not None:
            _store(d_a + here + now_y, (d_ar, d_ai), WIDTH, H, inbounds)
        if NUMBERS > 0:
            total = _totals(total, d_n, there, NUMBERS)
        re, im = _after(ar, ai, br, bi, flag, sr, si, WIDTH)  # pyright: ignore[reportGeneralTypeIssues]
        last_r, last_i, ends = _last(re, C), _last(im, C), now % (L // C) == 0
        whole, sr, si = _rest(ends, whole, ar, ai, br, bi, flag, sr, si, last_r, last_i, WIDTH, C)  # pyright: ignore[reportGeneralTypeIssues]
    if part == (chunks - 1) // count:
        _store(d_first + here, (last_r, last_i), WIDTH, H, inside)
    if d_numbers is not None:
        _store(d_numbers + (part * B + row) * (NUMBERS * H) + units, total, NUMBERS, H, inside)


@triton.jit
def _totals(total, added, there, NUMBERS: tl.constexpr):
    """The sums over the steps of a tile, added to those of the tiles before."""
    first = total[0] + tl.sum(tl.where(there, added[0], 0.0), axis=0, keep_dims=True)
    if NUMBERS == 1:
        return first, total[1], total[2]
    else:
        second = total[1] + tl.sum(tl.where(there, added[1], 0.0), axis=0, keep_dims=True)
        return first, second, total[2] + tl.sum(tl.where(there, added[2], 0.0), axis=0, keep_dims=True)
