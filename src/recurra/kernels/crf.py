"""A linear-chain conditional random field over tags: the loss, the likeliest path, and the filter (docs/equations.md).

Time first: emissions[T, B, K] are the scores of each tag at each step, transitions[K, K] of each tag after each other
(row: before, column: after), start[K] and end[K] of a path's two ends, lengths[B] as everywhere. It is plain torch and
runs on any device; it knows no labels and no schemes of spans.

The loss goes over the steps with probabilities and not with their logarithms, so that a step of all rows and tags is one
product; what would overflow is taken out of the scores first, and where they lie too far apart for that,
`log_partition_by_logs`, the truth, does it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from recurra.errors import DataError
from recurra.kernels.derived import derived_gradient
from recurra.kernels.ops import linear
from recurra.kernels.reference import without_padding
from recurra.kernels.transforms import transformed
from recurra.wide import widest

_NAMES: tuple[str, ...] = ("emissions", "transitions", "start", "end")


def crf_loss(
    emissions: Tensor,
    tags: Tensor,
    transitions: Tensor,
    start: Tensor,
    end: Tensor,
    lengths: Tensor | None = None,
) -> Tensor:
    """The sum over rows of -log p(tags | emissions) in nats, exact, with gradients of every order.

    tags[T, B] int64; those past a row's end are not looked at. A row of length 0 costs nothing. Raises `DataError` for
    shapes that do not fit and, on the CPU, for tags outside 0..K-1.
    """
    _check(emissions, transitions, start, end, lengths, tags)
    if emissions.shape[0] == 0 or emissions.shape[1] == 0:
        return emissions.sum() * 0.0
    if emissions.dtype not in (torch.float32, torch.float64):
        emissions, transitions, start, end = (value.float() for value in (emissions, transitions, start, end))
    emissions = without_padding(emissions, lengths)
    given = path_scores(emissions, tags, transitions, start, end, lengths)
    return log_partition(emissions, transitions, start, end, lengths).sum() - given.sum()


def path_scores(
    emissions: Tensor, tags: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor | None = None
) -> Tensor:
    """The score[B] of each row's path: emissions, transitions and both ends added up."""
    batch, count = emissions.shape[1:]
    alive, ends = _alive(emissions, lengths)
    tags = torch.where(alive, tags, 0)
    at_steps = emissions.gather(2, tags[..., None])[..., 0]
    moves = transitions.flatten()[tags[:-1] * count + tags[1:]]
    total = torch.where(alive, at_steps, 0.0).sum(0) + torch.where(alive[1:], moves, 0.0).sum(0)
    last = tags[(ends - 1).clamp(min=0), torch.arange(batch, device=tags.device)]
    return total + torch.where(alive[0], start[tags[0]] + end[last], 0.0)


def log_partition(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor | None = None
) -> Tensor:
    """log Z[B]: the logarithm of the sum, over all paths, of the exponential of their scores (Lafferty et al. 2001)."""
    if transformed(emissions, transitions, start, end) or _spread(emissions, transitions, start, end) > _most(
        emissions
    ):
        return log_partition_by_logs(emissions, transitions, start, end, lengths)
    return _LogPartition.apply(emissions, transitions, start, end, lengths)  # pyright: ignore[reportReturnType]


def log_partition_by_logs(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor | None = None
) -> Tensor:
    """The truth behind `log_partition`: the forward algorithm in logarithms, a step at a time, differentiated by autograd."""
    alive, _ = _alive(emissions, lengths)
    alpha = start + emissions[0]
    for t in range(1, len(emissions)):
        after = torch.logsumexp(alpha[:, :, None] + transitions, dim=1) + emissions[t]
        alpha = torch.where(alive[t][:, None], after, alpha)
    return torch.where(alive[0], torch.logsumexp(alpha + end, dim=1), 0.0)


class _LogPartition(torch.autograd.Function):
    """Forward and backward algorithm (Rabiner 1989), each step's values scaled so that they add up to one."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor | None
    ) -> Tensor:
        alive, _ = _alive(emissions, lengths)
        wide = widest(emissions.device)
        x, tops = _scaled(emissions.to(wide), -1)
        moves, move_top = _scaled(transitions.to(wide).flatten(), 0)
        moves = moves.view_as(transitions)
        first, first_top = _scaled(start.to(wide), 0)
        last, last_top = _scaled(end.to(wide), 0)
        kept, sums = torch.empty_like(x), []
        alpha = first * x[0]
        for t in range(len(x)):
            after = alpha if t == 0 else (alpha @ moves).mul_(x[t])
            total = after.sum(-1, keepdim=True)
            after = after / total
            alpha = after if t == 0 or lengths is None else torch.where(alive[t][:, None], after, alpha)
            kept[t] = alpha
            sums.append(total[:, 0])
        logs = torch.stack(sums).log_().add_(tops[..., 0])
        logs[1:] += move_top
        found = torch.where(alive, logs, 0.0).sum(0) + (alpha @ last).log_() + first_top + last_top
        ctx.save_for_backward(emissions, transitions, start, end, lengths, kept, x, moves, last)
        return torch.where(alive[0], found, 0.0).to(emissions.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        emissions, transitions, start, end, lengths, alphas, x, moves, last = ctx.saved_tensors
        if torch.is_grad_enabled():
            inputs = dict(zip((*_NAMES, "lengths"), (emissions, transitions, start, end, lengths), strict=True))
            derived = derived_gradient(lambda **given: (log_partition_by_logs(**given),), _NAMES, inputs, [grad])
            return (*(derived[name] for name in _NAMES), None)
        alive, _ = _alive(emissions, lengths)
        steps = len(x)
        beta = last.expand_as(alphas[0])
        betas, weights = torch.empty_like(x), torch.empty_like(x[1:])
        betas[-1] = beta
        for t in range(steps - 1, 0, -1):
            seen = x[t] * beta
            before = seen @ moves.T
            total = before.sum(-1, keepdim=True)
            # both tags of a move at once: alpha_before · moves · weights, which adds up to one
            weights[t - 1] = seen / (alphas[t - 1] * before).sum(-1, keepdim=True)
            beta = before / total if lengths is None else torch.where(alive[t][:, None], before / total, beta)
            betas[t - 1] = beta
        marginals = alphas * betas
        marginals /= marginals.sum(-1, keepdim=True)
        by_row = torch.where(alive[0], grad.to(marginals.dtype), 0.0)[:, None]
        d_end = (marginals[-1] * by_row).sum(0)
        marginals *= torch.where(alive[..., None], by_row, 0.0)
        weights *= torch.where(alive[1:, :, None], by_row, 0.0)
        d_moves = moves * (alphas[:-1].flatten(0, 1).T @ weights.flatten(0, 1))
        found = (marginals, d_moves, marginals[0].sum(0), d_end)
        return (*(value.to(emissions.dtype) for value in found), None)


@torch.no_grad()
def viterbi(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The likeliest path of each row and its score: tags[T, B] int64, zero past a row's end, and scores[B] (Viterbi 1967).

    Scores may be -inf, which forbids a tag or a move. Of equal paths the one with the lower tags at the end is taken.
    """
    _check(emissions, transitions, start, end, lengths)
    steps, batch, _ = emissions.shape
    tags = torch.zeros(steps, batch, dtype=torch.int64, device=emissions.device)
    if steps == 0 or batch == 0:
        return tags, emissions.new_zeros(batch)
    emissions = without_padding(emissions, lengths)
    alive, ends = _alive(emissions, lengths)
    best = start + emissions[0]
    came: list[Tensor] = []
    for t in range(1, steps):
        values, places = (best[:, :, None] + transitions).max(dim=1)
        best = torch.where(alive[t][:, None], values + emissions[t], best)
        came.append(places)
    scores, last = (best + end).max(dim=1)
    for t in range(steps - 1, -1, -1):
        if t < steps - 1:
            before = came[t].gather(1, last[:, None])[:, 0]
            last = torch.where(t + 1 < ends, before, last)
        tags[t] = torch.where(alive[t], last, 0)
    return tags, torch.where(alive[0], scores, 0.0)


@torch.no_grad()
def filtered(
    emissions: Tensor,
    transitions: Tensor,
    start: Tensor,
    belief: Tensor,
    lengths: Tensor | None = None,
    resets: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """What is believed of each step's tag from that step and those before it: beliefs[T, B, K], and the last belief[B, K].

    belief[B, K] is what was believed of the tag before the first step; zeros where nothing was read. The greatest is one:
    divided by their sum, they are probabilities. As with a state, a row of length 0 keeps its own, and cuts change nothing.
    """
    _check(emissions, transitions, start, start, lengths)
    wide = widest(emissions.device)
    x, _ = _scaled(without_padding(emissions, lengths).to(wide), -1)
    moves, _ = _scaled(transitions.to(wide).flatten(), 0)
    moves = moves.view_as(transitions).T.contiguous()
    first, _ = _scaled(start.to(wide), 0)
    alive, _ = _alive(emissions, lengths)
    least = torch.finfo(emissions.dtype).tiny
    found = torch.empty_like(emissions)
    for t in range(len(x)):
        new = belief.amax(-1, keepdim=True) == 0
        if resets is not None:
            new = new | resets[t][:, None]
        # the product adds in one order for any batch, and only the greatest is divided by: both do not depend on the rows
        now = torch.where(new, first, linear(belief.to(wide), moves)) * x[t]
        now = (now / now.amax(-1, keepdim=True).clamp(min=torch.finfo(wide).tiny)).clamp(min=least)
        belief = torch.where(alive[t][:, None], now.to(belief.dtype), belief)
        found[t] = belief
    return without_padding(found, lengths), belief.clone()


def _scaled(scores: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """exp(scores - top) and top, the greatest of them along `dim`."""
    top = scores.amax(dim, keepdim=True)
    return (scores - top).exp_(), top


def _spread(emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor) -> float:
    """How far scores lie apart at most: no probability of a step is smaller than exp(-this) times the greatest."""
    low, high = emissions.detach().aminmax(dim=-1)
    apart = [(high - low).amax()]
    for scores in (transitions, start, end):
        low, high = scores.detach().aminmax()
        apart.append(high - low)
    found = float(torch.stack(apart).sum())
    return found if math.isfinite(found) else math.inf


def _most(emissions: Tensor) -> float:
    """The spread up to which nothing underflows, by a good margin."""
    return -0.9 * math.log(torch.finfo(widest(emissions.device)).tiny)


def _alive(emissions: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
    """Which steps are valid, [T, B], and where each row ends, [B]."""
    steps, batch = emissions.shape[:2]
    ends = torch.full((batch,), steps, device=emissions.device) if lengths is None else lengths
    return torch.arange(steps, device=emissions.device)[:, None] < ends, ends


def _check(
    emissions: Tensor,
    transitions: Tensor,
    start: Tensor,
    end: Tensor,
    lengths: Tensor | None,
    tags: Tensor | None = None,
) -> None:
    if emissions.dim() != 3 or emissions.shape[2] == 0:
        raise DataError("crf: 'emissions' is wrong", got=tuple(emissions.shape), expected="[T, B, K], K one or more")
    steps, batch, count = emissions.shape
    given: Sequence[tuple[str, Tensor | None, tuple[int, ...]]] = (
        ("transitions", transitions, (count, count)),
        ("start", start, (count,)),
        ("end", end, (count,)),
        ("lengths", lengths, (batch,)),
        ("tags", tags, (steps, batch)),
    )
    for name, value, expected in given:
        if value is not None and tuple(value.shape) != expected:
            raise DataError(f"crf: '{name}' has the wrong shape", got=tuple(value.shape), expected=expected)
    if tags is None or tags.device.type != "cpu" or not tags.numel():
        return
    # what pads a row may be anything
    valid = tags[_alive(emissions, lengths)[0]]
    if valid.numel() and (int(valid.min()) < 0 or int(valid.max()) >= count):
        got, expected = f"{int(valid.min())} to {int(valid.max())}", f"0 to {count - 1}"
        raise DataError("crf: the tags are out of range", got=got, expected=expected)
