"""The linear recurrence h_t = a_t h_{t-1} + b_t as a scan in Triton, side by side in time, and its gradient.

A step is a pair (a, b), and two steps make one: (a2 a1, a2 b1 + b2) (Blelloch 1990, section 1.4.1). So the sequence is cut
into chunks of a fixed number of steps: every chunk is made one pair, a short walk over these pairs gives the state before
each chunk, and then all chunks run at once from there. Where a chunk ends depends on the time alone, so a row's bits do not
depend on the rows beside it. The gradient is the same walk the other way:

    G_t = dL/dh_t = (gradient of output t) + conj(a_{t+1}) G_{t+1},  db_t = G_t,  da_t = G_t conj(h_{t-1}).

A reset is a flag that the pairs carry: what came before is not taken times zero, it is not taken at all, NaN or not. A step
after the end of a row is the pair (1, 0), and its output is zero. Complex numbers are pairs of blocks, real then imaginary.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from recurra.kernels.gpu.launch import HOW, accumulator, flags, on_device

CHUNK = 64
"""Steps that one program takes at once."""
MOST_UNITS = 32
"""Units that one program takes, at most."""


@triton.jit
def _joined(a1, b1, f1, a2, b2, f2):
    return a1 * a2, tl.where(f2 != 0, b2, a2 * b1 + b2), f1 | f2


@triton.jit
def _joined_pairs(ar1, ai1, br1, bi1, f1, ar2, ai2, br2, bi2, f2):
    re = tl.where(f2 != 0, br2, ar2 * br1 - ai2 * bi1 + br2)
    im = tl.where(f2 != 0, bi2, ar2 * bi1 + ai2 * br1 + bi2)
    return ar1 * ar2 - ai1 * ai2, ar1 * ai2 + ai1 * ar2, re, im, f1 | f2


@triton.jit
def _takes_part(lengths, row, t, T):
    """Whether a row takes part in step t, which may lie outside of the sequence."""
    there = (t >= 0) & (t < T)
    if lengths is not None:
        there = there & (t < tl.load(lengths + row))
    return there


@triton.jit
def _chunk(
    a, b, lengths, resets, row, s, cols, T, B, H, a_t, a_b,
    PAIRS: tl.constexpr, REVERSE: tl.constexpr, BACK: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """All steps of a chunk up to each one as one step: (a, its imaginary part, b, its imaginary part, flag).

    s[C, 1] are places in the order of the walk. On the way back a step's coefficient is that of the step one earlier in
    the walk, and one place more gives the gradient of the first state; places outside have the pair (1, 0).
    """
    t = s
    if REVERSE != BACK:
        t = T - 1 - s
    at = t
    if BACK:
        at = t - 1 if REVERSE else t + 1
    adds, acts = _takes_part(lengths, row, t, T), _takes_part(lengths, row, at, T)
    inside = cols < H
    width = 2 * H if PAIRS else H
    own_a, own_b = a + at * a_t + row * a_b + cols, b + (t * B + row) * width + cols
    re_a = tl.load(own_a, mask=acts & inside, other=1.0).to(ACC)
    re_b = tl.load(own_b, mask=adds & inside, other=0.0).to(ACC)
    flag = tl.zeros(re_a.shape, dtype=tl.int32)
    if resets is not None:
        flag += tl.load(resets + at * B + row, mask=acts, other=0).to(tl.int32)
    if PAIRS:
        im_a = tl.load(own_a + H, mask=acts & inside, other=0.0).to(ACC)
        im_b = tl.load(own_b + H, mask=adds & inside, other=0.0).to(ACC)
        if BACK:
            im_a = -im_a
        re_a, im_a, re_b, im_b, flag = tl.associative_scan((re_a, im_a, re_b, im_b, flag), 0, _joined_pairs)
        return re_a, im_a, re_b, im_b, flag
    else:
        re_a, re_b, flag = tl.associative_scan((re_a, re_b, flag), 0, _joined)
        return re_a, re_a, re_b, re_b, flag


@triton.jit
def _last(values, C: tl.constexpr):
    return tl.sum(tl.where((tl.arange(0, C) == C - 1)[:, None], values, 0), axis=0, keep_dims=True)


@triton.jit
def _whole_chunks(
    a, b, lengths, resets, whole_a, whole_b, whole_flag, T, B, H, a_t, a_b,
    PAIRS: tl.constexpr, REVERSE: tl.constexpr, BACK: tl.constexpr, C: tl.constexpr, U: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Each chunk as one step, into whole_a, whole_b[chunks, B, W] and whole_flag[chunks, B, H]."""
    place = tl.program_id(0).to(tl.int64)
    chunk, row = place // B, place % B
    cols = tl.program_id(1) * U + tl.arange(0, U)[None, :]
    s = chunk * C + tl.arange(0, C)[:, None].to(tl.int64)
    re_a, im_a, re_b, im_b, flag = _chunk(  # pyright: ignore[reportGeneralTypeIssues]
        a, b, lengths, resets, row, s, cols, T, B, H, a_t, a_b, PAIRS, REVERSE, BACK, ACC
    )
    inside = cols < H
    to = place * (2 * H if PAIRS else H) + cols
    tl.store(whole_a + to, _last(re_a, C), mask=inside)
    tl.store(whole_b + to, _last(re_b, C), mask=inside)
    tl.store(whole_flag + place * H + cols, _last(flag, C), mask=inside)
    if PAIRS:
        tl.store(whole_a + to + H, _last(im_a, C), mask=inside)
        tl.store(whole_b + to + H, _last(im_b, C), mask=inside)


@triton.jit
def _between_chunks(
    whole_a, whole_b, whole_flag, first, before, chunks, B, H, PAIRS: tl.constexpr, U: tl.constexpr, ACC: tl.constexpr
):
    """The state before each chunk, before[chunks, B, W], from the first one: one chunk after another."""
    row = tl.program_id(0).to(tl.int64)
    cols = tl.program_id(1) * U + tl.arange(0, U)[None, :]
    inside = cols < H
    width = 2 * H if PAIRS else H
    re = tl.load(first + row * width + cols, mask=inside, other=0.0).to(ACC)
    im = re
    if PAIRS:
        im = tl.load(first + row * width + H + cols, mask=inside, other=0.0).to(ACC)
    for chunk in range(chunks):
        place = chunk * B + row
        at = place * width + cols
        tl.store(before + at, re, mask=inside)
        re_a, re_b = tl.load(whole_a + at, mask=inside, other=0.0), tl.load(whole_b + at, mask=inside, other=0.0)
        reset = tl.load(whole_flag + place * H + cols, mask=inside, other=0) != 0
        if PAIRS:
            tl.store(before + at + H, im, mask=inside)
            im_a = tl.load(whole_a + at + H, mask=inside, other=0.0)
            im_b = tl.load(whole_b + at + H, mask=inside, other=0.0)
            new = tl.where(reset, re_b, re_a * re - im_a * im + re_b)
            im = tl.where(reset, im_b, re_a * im + im_a * re + im_b)
            re = new
        else:
            re = tl.where(reset, re_b, re_a * re + re_b)


@triton.jit
def _run_chunks(
    a, b, lengths, resets, before, first, outputs, d_a, results, last, T, B, H, a_t, a_b, chunks,
    PAIRS: tl.constexpr, REVERSE: tl.constexpr, BACK: tl.constexpr, C: tl.constexpr, U: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """All steps of each chunk from the state before it. Forward: results are the outputs, last the last state.

    On the way back b are the gradients of outputs, results are d_b, last is that of the first state, and d_a is written.
    """
    place = tl.program_id(0).to(tl.int64)
    chunk, row = place // B, place % B
    cols = tl.program_id(1) * U + tl.arange(0, U)[None, :]
    s = chunk * C + tl.arange(0, C)[:, None].to(tl.int64)
    re_a, im_a, re_b, im_b, flag = _chunk(  # pyright: ignore[reportGeneralTypeIssues]
        a, b, lengths, resets, row, s, cols, T, B, H, a_t, a_b, PAIRS, REVERSE, BACK, ACC
    )
    inside = cols < H
    width = 2 * H if PAIRS else H
    re_s = tl.load(before + place * width + cols, mask=inside, other=0.0).to(ACC)
    im_s = re_s
    if PAIRS:
        im_s = tl.load(before + place * width + H + cols, mask=inside, other=0.0).to(ACC)
        im = tl.where(flag != 0, im_b, re_a * im_s + im_a * re_s + im_b)
        re = tl.where(flag != 0, re_b, re_a * re_s - im_a * im_s + re_b)
    else:
        re = tl.where(flag != 0, re_b, re_a * re_s + re_b)
        im = re
    ends = cols < tl.where(chunk == chunks - 1, H, 0)
    tl.store(last + row * width + cols, _last(re, C), mask=ends)
    if PAIRS:
        tl.store(last + row * width + H + cols, _last(im, C), mask=ends)

    t = s
    if REVERSE != BACK:
        t = T - 1 - s
    alive, there = _takes_part(lengths, row, t, T), (t >= 0) & (t < T) & inside
    to = (t * B + row) * width + cols
    tl.store(results + to, tl.where(alive, re, 0.0), mask=there)
    if PAIRS:
        tl.store(results + to + H, tl.where(alive, im, 0.0), mask=there)
    if BACK:
        # the state before step t: an output, or the first state where no step of this row was taken before
        was = t + 1 if REVERSE else t - 1
        stepped = _takes_part(lengths, row, was, T)
        crosses = alive
        if resets is not None:
            crosses = alive & (tl.load(resets + t * B + row, mask=alive, other=0) == 0)
        mask = crosses & inside
        goes_on, begins = mask & stepped, mask & (stepped == 0)
        at_first, at_out = first + row * width + cols, outputs + (was * B + row) * width + cols
        re_h = tl.load(at_out, mask=goes_on, other=0.0).to(ACC) + tl.load(at_first, mask=begins, other=0.0).to(ACC)
        if PAIRS:
            im_h = tl.load(at_out + H, mask=goes_on, other=0.0).to(ACC)
            im_h += tl.load(at_first + H, mask=begins, other=0.0).to(ACC)
            tl.store(d_a + to, tl.where(mask, re * re_h + im * im_h, 0.0), mask=there)
            tl.store(d_a + to + H, tl.where(mask, im * re_h - re * im_h, 0.0), mask=there)
        else:
            tl.store(d_a + to, tl.where(mask, re * re_h, 0.0), mask=there)


def _launch(
    a: Tensor, b: Tensor, first: Tensor, lengths: Tensor | None, resets: Tensor | None, reverse: bool, pairs: bool,
    chunk: int, kept: tuple[Tensor, Tensor] | None,
) -> tuple[Tensor, Tensor, Tensor | None]:  # fmt: skip
    """(results, last state, d_a): the walk forward, or with kept = (outputs, the state they began with) the one back."""
    steps, batch, width = b.shape
    back, hidden, acc = kept is not None, width // 2 if pairs else width, accumulator(b.dtype)
    # the way back has one place more, which gives the gradient of the first state
    units = min(MOST_UNITS, triton.next_power_of_2(hidden))
    chunks, blocks = -(-(steps + back) // chunk), -(-hidden // units)
    results, last = torch.empty_like(b), torch.empty_like(first)
    d_a = torch.empty_like(b) if back else None
    options = {**HOW, "PAIRS": pairs, "U": units, "ACC": acc.triton}
    walk = {**options, "REVERSE": reverse, "BACK": back, "C": chunk}
    given = a, b, lengths, flags(resets)
    sizes = steps, batch, hidden, a.stride(0), a.stride(1)
    before = first
    with on_device(b):
        if chunks > 1:
            whole_a, whole_b, before = (b.new_empty(chunks, batch, width, dtype=acc.torch) for _ in range(3))
            whole_flag = b.new_empty(chunks, batch, hidden, dtype=torch.int32)
            wholes = whole_a, whole_b, whole_flag
            _whole_chunks[(chunks * batch, blocks)](*given, *wholes, *sizes, **walk)
            _between_chunks[(batch, blocks)](*wholes, first, before, chunks, batch, hidden, **options)
        kept_outputs, kept_first = kept or (None, None)
        _run_chunks[(chunks * batch, blocks)](
            *given, before, kept_first, kept_outputs, d_a, results, last, *sizes, chunks, **walk
        )
    return results, last, d_a


class _LinearScan(torch.autograd.Function):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, a: Tensor, b: Tensor, first: Tensor, lengths: Any, resets: Any, reverse: bool, pairs: bool, chunk: int
    ) -> tuple[Tensor, Tensor]:
        b, first = b.contiguous(), first.contiguous()
        # numbers that are the same in every step or row stay as few as they are; only the last axis must lie in one piece
        a = a if a.stride(-1) == 1 or a.shape[-1] == 1 else a.contiguous()
        outputs, last, _ = _launch(a, b, first, lengths, resets, reverse, pairs, chunk, None)
        ctx.save_for_backward(a, first, outputs, lengths, resets)
        ctx.plain = reverse, pairs, chunk
        return outputs, last

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_outputs: Tensor, grad_last: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        a, first, outputs, lengths, resets = ctx.saved_tensors
        reverse, pairs, chunk = ctx.plain
        grads, kept = (grad_outputs.contiguous(), grad_last.contiguous()), (outputs, first)
        d_b, d_first, d_a = _launch(a, *grads, lengths, resets, reverse, pairs, chunk, kept)
        return d_a, d_b, d_first, None, None, None, None, None


def linear_scan(
    a: Tensor, b: Tensor, first: Tensor, *, lengths: Tensor | None = None, resets: Tensor | None = None,
    reverse: bool = False, pairs: bool = False, chunk: int = CHUNK,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """h_t = a_t h_{t-1} + b_t from h_{-1} = first: (outputs[T, B, W], the last state[B, W]), with first derivatives.

    a, b[T, B, W], a expanded along steps or rows if it likes; first[B, W]; with `pairs` W = 2H, the real parts before the
    imaginary ones. lengths[B], resets[T, B] and reverse as in `reference`. Numbers of 16 bits are added up in float32.
    """
    if 0 in b.shape:
        # nothing to launch; the sum keeps the gradient's way
        return b + 0 * a, first.clone()
    return _LinearScan.apply(a, b, first, lengths, resets, reverse, pairs, chunk)  # pyright: ignore[reportReturnType]
