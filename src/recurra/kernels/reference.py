"""The truth: every kernel as plain torch, a step at a time. Runs anywhere, in any dtype, and differentiates itself.

A fast version is right when it gives what stands here, in outputs, states and all gradients. Shapes: x[T, B, I] are the
inputs; states are [B, H]; weight[G*H, H] acts on the state. All functions share

- weight_in[G*H, I]: acts on the inputs; without it they are what it would have given, [T, B, G*H];
- bias_in[G*H]: added to that;
- tokens[T, B]: with them x[V, I] is a table, and step t of row b reads its line tokens[t, b];
- lengths[B]: row b takes part in the first lengths[b] steps; after them its outputs are zero and its state stays;
- resets[T, B]: true starts row b from zeros before step t, and no gradient crosses;
- mask[B, H]: multiplies the state inside its matrix product (dropout fixed over time, Gal and Ghahramani 2016);
- reverse: the steps are taken from the last to the first;
- keep: whether the second kind of result, the gates, is built; without it that tensor is empty;

and, by choice, options that `steps` describes: norm[G*H], gains of the layer normalisation of the recurrent product (Ba,
Kiros and Hinton 2016, equations 20 to 22), zoneout, activations.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from recurra.kernels import variants
from recurra.kernels.transforms import in_own_dtype
from recurra.kernels.variants import Variant, without_forget

Step = Callable[[Tensor, tuple[Tensor, ...]], tuple[tuple[Tensor, ...], tuple[Tensor, ...]]]
_Layer = TypeVar("_Layer", bound=Callable[..., tuple[Tensor, ...]])


def _as_given(layer: _Layer) -> _Layer:
    """The layer in the dtype of its tensors, under autocast too."""

    @wraps(layer)
    def run(x: Tensor, *args: Any, **options: Any) -> tuple[Tensor, ...]:
        with in_own_dtype(x.device):
            return layer(x, *args, **options)

    return run  # pyright: ignore[reportReturnType]


@_as_given
def elman(
    x: Tensor,
    h: Tensor,
    weight: Tensor,
    weight_in: Tensor | None,
    bias_in: Tensor | None,
    tokens: Tensor | None,
    lengths: Tensor | None,
    resets: Tensor | None,
    mask: Tensor | None,
    activation: str,
    reverse: bool,
    keep: bool,
    **options: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    """`ElmanStep` over a sequence. Returns (outputs[T,B,H], h_last[B,H], gates[T,B,H] = z)."""
    x = project(x, weight_in, bias_in, tokens, lengths)
    variant = variants.elman(weight, mask, activation, **options)
    widths = (h.shape[1], h.shape[1])
    (outputs, gates), (h_last,) = _run_variant(variant, x, (h,), lengths, resets, reverse, widths)
    return outputs, h_last, gates if keep else x.new_empty(0)


@_as_given
def gru(
    x: Tensor,
    h: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    weight_in: Tensor | None,
    bias_in: Tensor | None,
    tokens: Tensor | None,
    lengths: Tensor | None,
    resets: Tensor | None,
    mask: Tensor | None,
    reset_after: bool,
    reverse: bool,
    keep: bool,
    **options: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    """`GRUStep` over a sequence. Returns (outputs[T,B,H], h_last[B,H], gates[T,B,4H] = r, z, n, q)."""
    x = project(x, weight_in, bias_in, tokens, lengths)
    variant = variants.gru(weight, bias, mask, reset_after, **options)
    widths = (h.shape[1], 4 * h.shape[1])
    (outputs, gates), (h_last,) = _run_variant(variant, x, (h,), lengths, resets, reverse, widths)
    return outputs, h_last, gates if keep else x.new_empty(0)


@_as_given
def lstm(
    x: Tensor,
    h: Tensor,
    c: Tensor,
    weight: Tensor,
    weight_in: Tensor | None,
    bias_in: Tensor | None,
    tokens: Tensor | None,
    lengths: Tensor | None,
    resets: Tensor | None,
    mask: Tensor | None,
    peepholes: Tensor | None,
    projection: Tensor | None,
    reverse: bool,
    keep: bool,
    **options: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """`LSTMStep` over a sequence, with peepholes[3,H] and projection[P,H].

    Returns (outputs[T,B,P or H], h_last, c_last[B,H], gates[T,B,4H] = i, f, g, o, cells[T,B,H] = c').
    """
    x = project(x, weight_in, bias_in, tokens, lengths)
    if options.get("coupled"):
        x = without_forget(x, dim=-1)
    variant = variants.lstm(weight, mask, peepholes, projection, **options)
    widths = (h.shape[1], 4 * c.shape[1], c.shape[1])
    (outputs, gates, cells), (h_last, c_last) = _run_variant(variant, x, (h, c), lengths, resets, reverse, widths)
    if not keep:
        gates, cells = x.new_empty(0), x.new_empty(0)
    return outputs, h_last, c_last, gates, cells


def _run_variant(
    variant: Variant,
    x: Tensor,
    state: tuple[Tensor, ...],
    lengths: Tensor | None,
    resets: Tensor | None,
    reverse: bool,
    widths: tuple[int, ...],
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    given = variant.given
    parts = [x.shape[-1], *(zone.shape[-1] for zone in variant.zones)]
    if variant.zones:
        x = torch.cat([x, *variant.zones], dim=-1)

    def step(x_t: Tensor, before: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        return variant.step(x_t.split(parts, dim=-1), before, given)

    return run(step, x, state, lengths, resets, reverse, widths)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x[..., K] weight[M, K]^T + bias[M]."""
    return F.linear(x, weight, bias)


def cross_entropy(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, mask: Tensor | None) -> Tensor:
    """-Σ log p(target), p = softmax(W (mask hidden) + b), in nats: the sum over all steps and rows.

    hidden[T, B, H], weight[V, H], bias[V], targets[T, B] whole numbers from 0 to V-1, mask[B, H].
    """
    logits = F.linear(hidden if mask is None else hidden * mask, weight, bias)
    return -logits.log_softmax(dim=-1).gather(-1, targets[..., None]).sum()


def without_padding(x: Tensor, lengths: Tensor | None) -> Tensor:
    """x[T, B, ...] with zeros after the end of each row. A choice, not a product: what pads may be NaN."""
    if lengths is None:
        return x
    valid = torch.arange(x.shape[0], device=x.device)[:, None] < lengths
    return torch.where(valid[..., None], x, torch.zeros_like(x))


def project(
    x: Tensor,
    weight_in: Tensor | None,
    bias_in: Tensor | None,
    tokens: Tensor | None,
    lengths: Tensor | None,
    linear: Callable[..., Tensor] = F.linear,
) -> Tensor:
    """What the inputs add to the sums of every step, [T, B, G*H]."""
    if tokens is None:
        # what pads a row must not reach the gradient of the weight either
        x = without_padding(x, lengths)
    if weight_in is not None:
        x = linear(x, weight_in, bias_in)
    elif bias_in is not None:
        x = x + bias_in
    return x if tokens is None else F.embedding(tokens, x)


def run(
    step: Step,
    x: Tensor,
    state: tuple[Tensor, ...],
    lengths: Tensor | None,
    resets: Tensor | None,
    reverse: bool,
    widths: tuple[int, ...],
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """The time loop. `step` gives (next state, what to emit); returns (what was emitted at each step, last state)."""
    steps, batch = x.shape[:2]
    emitted: list[tuple[Tensor, ...]] = []
    for t in reversed(range(steps)) if reverse else range(steps):
        given = state
        if resets is not None:
            # where, not a product: a NaN in the state must not survive its reset
            given = tuple(torch.where(resets[t, :, None], torch.zeros_like(s), s) for s in given)
        x_t = x[t]
        if lengths is None:
            state, values = step(x_t, given)
        else:
            alive = (t < lengths)[:, None]
            # what pads a row must reach neither a value nor a gradient, NaN included
            new, values = step(torch.where(alive, x_t, torch.zeros_like(x_t)), given)
            state = tuple(torch.where(alive, after, before) for after, before in zip(new, state, strict=True))
            values = tuple(torch.where(alive, value, torch.zeros_like(value)) for value in values)
        emitted.append(values)
    if reverse:
        emitted.reverse()
    if steps == 0:
        return tuple(x.new_empty(0, batch, width) for width in widths), tuple(s.clone() for s in state)
    return tuple(torch.stack(parts) for parts in zip(*emitted, strict=True)), state
