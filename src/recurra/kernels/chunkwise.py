"""The mLSTM parallel in time: the steps of a chunk as products of matrices, and a matrix state from chunk to chunk.

What the steps of `sweeps` give, but for the order of additions, in plain torch: on any device, with gradients of every order
(Beck et al. 2024, appendix on the parallel form; chunks as in Yang et al. 2024). With F(t, s) = Σ log f over the steps s+1
to t, step t reads of step s in its own chunk (q_t k_s) exp(F(t, s) + i_s - m_t) v_s, and of the matrix C before its chunk,
which is kept times exp(-m), exp(F(t, before) + m - m_t) C^T q_t. The normaliser n is one more column of C, whose values are
one. The scale m takes no gradient, so it is made for all steps beforehand.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from recurra.kernels.narrow import wide
from recurra.kernels.reference import without_padding
from recurra.kernels.sweeps import SWEEPS, Parameters, Tensors, by_reference, near_log_sigmoid, prepared
from recurra.kernels.transforms import in_own_dtype

CHUNK = 64
"""Steps of a chunk at most.

A step of a head of W units takes about 2 C W + 2 W² products in chunks of C, and gradients keep about 5 C + 3 W²/C numbers,
which is least near C = W. Heads are of 32 to 256 units, and a larger chunk has fewer launches.
"""
NEVER = float("-inf")


def by_chunks(
    cell: str,
    x: Tensor,
    states: Tensors,
    parameters: Parameters,
    tokens: Tensor | None,
    lengths: Tensor | None,
    resets: Tensor | None,
    reverse: bool,
    keep: bool,
    chunk: int = CHUNK,
) -> list[Tensor]:
    """`sweeps.by_reference` of an mLSTM, so many steps at once. Gradients of every order; memory as T times `chunk`.

    Numbers of 16 bits are computed in float32, and results rounded once. Once a gate, key, value or state of a head is not
    finite, what that head gives is NaN until the next reset; no gradient goes through that.
    """
    if 0 in (x if tokens is None else tokens).shape[:2]:
        return by_reference(cell, x, states, parameters, tokens, lengths, resets, reverse, keep)
    with in_own_dtype(x.device):
        return _by_chunks(cell, x, states, parameters, tokens, lengths, resets, reverse, keep, chunk)


def _by_chunks(
    cell: str, x: Tensor, states: Tensors, parameters: Parameters, tokens: Tensor | None, lengths: Tensor | None,
    resets: Tensor | None, reverse: bool, keep: bool, chunk: int,
) -> list[Tensor]:  # fmt: skip
    narrow = x.dtype
    x, states, parameters = wide(x), [wide(state) for state in states], Parameters(*map(wide, parameters.all))
    sums = without_padding(prepared(cell, x, parameters, tokens, lengths)[0], lengths)
    steps, batch = sums.shape[:2]
    alive = torch.ones(steps, batch, dtype=torch.bool, device=x.device)
    if lengths is not None:
        alive = torch.arange(steps, device=x.device)[:, None] < lengths
    starts = torch.zeros_like(alive) if resets is None else resets & alive
    walked = [value.flip(0) if reverse else value for value in (sums, alive, starts)]
    outputs, *last = _forward(walked[0], walked[1], walked[2], states, chunk)
    outputs = without_padding(outputs.flip(0) if reverse else outputs, lengths)
    kept = sums if keep else x.new_empty(0)
    marks = x.new_zeros(SWEEPS[cell].marks(steps, states) if keep else (0,))
    return [value.to(narrow) for value in (outputs, *last, kept, marks)]


def _forward(sums: Tensor, alive: Tensor, starts: Tensor, states: Tensors, chunk: int) -> list[Tensor]:
    """(outputs[T, B, H], n, c, m) from sums[T, B, S]; alive, starts[T, B]: whether a step is taken, begins from zeros."""
    n, c, m = states
    steps, heads, hidden = sums.shape[0], m.shape[1], n.shape[1]
    width = hidden // heads
    scales, unread, lost = _beforehand(sums, alive, starts, n, c, m)
    n, c, m = (value.nan_to_num(0.0, 0.0, 0.0) for value in (n, c, m.detach()))

    count = -(-steps // chunk)
    chunk = -(-steps // count)

    def cut(value: Tensor) -> Tensor:
        """[T, B, ...] -> [chunks, B, chunk, ...], with zeros after the end."""
        more = value.new_zeros(count * chunk - steps, *value.shape[1:])
        return torch.cat([value, more]).unflatten(0, (count, chunk)).transpose(1, 2)

    # what is not finite is lost anyway, and must not reach other steps through a product with zero
    sums = cut(sums.nan_to_num(0.0, 0.0, 0.0))
    q, k, v, o = (
        sums[..., : 4 * hidden].unflatten(-1, (4, heads, width)).permute(3, 0, 1, 4, 2, 5)
    )  # [chunks, B, heads, C, W]
    i, f = sums[..., 4 * hidden :].unflatten(-1, (2, heads)).permute(3, 0, 1, 4, 2)  # [chunks, B, heads, C]
    alive, starts = (cut(value)[:, :, None] for value in (alive, starts))
    at = torch.cat([scales, scales[-1:].expand(count * chunk - steps, -1, -1)])
    at = at.unflatten(0, (count, chunk)).permute(0, 2, 3, 1)
    before = torch.cat([m[None], at[:-1, ..., -1]])  # [chunks, B, heads]

    fades = torch.where(alive, F.logsigmoid(f), torch.zeros_like(f))
    piece = starts.cumsum(-1)
    sees = (piece[..., :, None] == piece[..., None, :]) & alive[..., None, :]
    sees = sees & torch.ones(chunk, chunk, dtype=torch.bool, device=sums.device).tril()
    # (a sum for each pair, not a difference of two: digits of a gate that is shut would be lost to all steps after it)
    between = fades[..., :, None].expand(*fades.shape, chunk).tril(-1).cumsum(-2)
    shares = torch.where(sees, between + i[..., None, :] - at[..., :, None], NEVER).exp()  # [.., step, step read]
    keeps = torch.where(piece == 0, fades.cumsum(-1) + before[..., None] - at, NEVER).exp()  # [.., step]

    k, v = k / width**0.5, torch.cat([v, torch.ones_like(v[..., :1])], dim=-1)
    adds = (k * shares[..., -1, :, None]).mT @ v
    state, entered = torch.cat([c.unflatten(1, (heads, width, width)), n.unflatten(1, (heads, width, 1))], dim=-1), []
    for one, add in zip(keeps[..., -1, None, None], adds, strict=True):
        entered.append(state)
        state = torch.addcmul(add, one, state)
    read = (q @ k.mT * shares) @ v + keeps[..., None] * (q @ torch.stack(entered))
    by = torch.maximum(read[..., -1:].abs(), torch.exp(-at.clamp(max=80))[..., None])
    outputs = (torch.sigmoid(o) * (read[..., :-1] / by)).permute(0, 3, 1, 2, 4).flatten(0, 1)[:steps]
    outputs = outputs.masked_fill(unread[..., None], torch.nan).flatten(2)
    state = state.masked_fill(lost[..., None, None], torch.nan)
    last = state[..., -1].flatten(1), state[..., :-1].flatten(1), scales[-1].masked_fill(lost, torch.nan)
    # (a row without steps hands on what it was given, m and its gradient too)
    taken = alive.any(-1).any(0)
    return [outputs, *(torch.where(taken, new, old) for new, old in zip(last, states, strict=True))]


@torch.no_grad()
def _beforehand(
    sums: Tensor, alive: Tensor, starts: Tensor, n: Tensor, c: Tensor, m: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """m after each step [T, B, heads], whether what a head gives there is lost, and whether its last state is [B, heads]."""
    heads, finite = m.shape[1], sums.isfinite()
    parts = finite[..., : -2 * heads].unflatten(-1, (4, heads, -1)).all(-1)
    gates = finite[..., -2 * heads :].unflatten(-1, (2, heads))
    input, forget = sums[..., -2 * heads :].nan_to_num(0.0, 0.0, 0.0).chunk(2, dim=-1)
    alive, starts = alive[..., None], starts[..., None]
    fades = near_log_sigmoid(forget)
    # a step that begins from zeros does so with m = 0
    input = torch.where(starts, torch.maximum(fades, input), input)
    never, none = torch.full_like(input, NEVER), torch.zeros_like(input)
    fades = torch.where(starts, never, torch.where(alive, fades, none))
    input = torch.where(alive, input, never)
    # what is not finite stays until a reset: the same recurrence of flags, which are 0 or never
    spoilt = ~(parts[:, :, 1] & parts[:, :, 2] & gates.all(2))
    fine = [value.isfinite().unflatten(1, (heads, -1)).all(-1) for value in (n, c, m)]
    first = torch.where(fine[0] & fine[1] & fine[2], NEVER, 0.0).to(m)
    found = running_maximum(
        torch.stack([fades, torch.where(starts, never, none)], dim=1),
        torch.stack([input, torch.where(spoilt, none, never)], dim=1),
        torch.stack([m.nan_to_num(0.0, 0.0, 0.0), first]),
    )
    lost = found[:, 1] == 0
    return found[:, 0], lost | ~(parts[:, :, 0] & parts[:, :, 3]), lost[-1]


def running_maximum(add: Tensor, value: Tensor, first: Tensor) -> Tensor:
    """m_t = max(add_t + m_{t-1}, value_t) along axis 0, m_{-1} = `first`, by doubling (Hillis and Steele 1986)."""
    span = 1
    while span < len(add):
        value = torch.cat([value[:span], torch.maximum(value[span:], add[span:] + value[:-span])])
        add = torch.cat([add[:span], add[span:] + add[:-span]])
        span *= 2
    return torch.maximum(value, add + first)
