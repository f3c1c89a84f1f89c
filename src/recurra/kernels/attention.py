"""Attention over a source: at each step a mean of its places, weighted by how well they answer a query.

Plain torch on any device, in any dtype, differentiated by autograd. It knows arrays, and nothing of encoders, decoders or
who made the query. Equations: docs/equations.md.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recurra.kernels.native import usable
from recurra.kernels.ops import recording

NUMBERS = 1 << 22
"""Numbers of a product that are held at once where the order of additions is fixed."""


def attention(query: Tensor, source: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """What a source answers to each query (Luong et al. 2015, "dot"): the mean of its places, weighted by softmax.

    query[T, B, D], source[B, S, D], lengths[B] int64, places of each source that count -> context[T, B, D] and
    weights[T, B, S], a sum of 1 over each source. What lies past the end of a source has a weight of exactly zero, and
    may be anything finite; a source without places gives a context of zeros.

    While a gradient is recorded both are batched products. Otherwise, on the CPU's native backend, each sum is added up in
    one order, whatever the batch, the number of steps and the padding, so that the laws of state hold bit for bit.
    """
    valid = torch.arange(source.shape[1], device=source.device) < lengths[:, None]
    if source.shape[1] == 0:
        # still a function of both, so that the gradient of either is zero and not missing
        return query * 0.0 * source.sum(), query.new_zeros(*query.shape[:2], 0)
    if recording(query, source) or not usable():
        keys = source.transpose(1, 2)
        weights = _softmax(torch.bmm(query.transpose(0, 1), keys), valid[:, None])
        return torch.bmm(weights, source).transpose(0, 1), weights.transpose(0, 1)
    steps = max(1, NUMBERS // max(1, source.numel()))
    parts = [_in_one_order(part, source, valid) for part in query.split(steps)]
    contexts, weights = zip(*parts, strict=True)
    return torch.cat(contexts), torch.cat(weights)


def _softmax(scores: Tensor, valid: Tensor) -> Tensor:
    """exp(scores) / their sum over the last axis, where valid; zeros where nothing is."""
    scores = scores.masked_fill(~valid, -torch.inf)
    # of nothing the greatest is -inf, and its difference no number
    greatest = scores.amax(dim=-1, keepdim=True).clamp(min=torch.finfo(scores.dtype).min)
    raised = (scores - greatest).exp()
    # a running sum adds one place after another: padding adds zeros, and no other row or step changes the order
    total = raised.cumsum(dim=-1)[..., -1:]
    return raised / torch.where(total > 0, total, torch.ones_like(total))


def _in_one_order(query: Tensor, source: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    scores = (query[:, :, None] * source).sum(dim=-1)
    weights = _softmax(scores, valid)
    return (weights[..., None] * source).sum(dim=2), weights
