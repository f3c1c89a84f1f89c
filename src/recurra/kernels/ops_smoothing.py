"""The operation that smooths series, `recurra::smoothing`, and its gradient; beside `ops` it registers with torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from recurra.kernels import native
from recurra.kernels.derived import derived_gradient
from recurra.kernels.native import memory
from recurra.kernels.ops import library
from recurra.kernels.smoothing import by_reference
from recurra.kernels.transforms import batched_by_autograd, differentiated, one_by_one, transformed

_GIVEN = "Tensor y, Tensor level, Tensor[] rings, Tensor share, Tensor[] turns, Tensor? lengths"
library.define(f"smoothing({_GIVEN}) -> Tensor[]")
library.define(f"smoothing_backward({_GIVEN}, Tensor[] results, bool[] there, Tensor[] grads) -> Tensor[]")


def _shape(y: Tensor, level: Any, rings: Any, *_: Any) -> list[Tensor]:
    steps, batch = y.shape
    return [y.new_empty(steps, batch), *(y.new_empty(ring.shape[1] + steps, batch) for ring in rings)]


def _backward_shape(y: Tensor, level: Any, rings: Any, share: Any, turns: Any, *_: Any) -> list[Tensor]:
    return [value.new_empty(value.shape) for value in (y, level, *rings, share, *turns)]


def _by_native(
    y: Tensor, level: Tensor, rings: list[Tensor], share: Tensor, turns: list[Tensor], lengths: Tensor | None
) -> list[Tensor]:
    if not native.serves("smoothing", y.dtype):
        return by_reference(y, level, rings, share, turns, lengths)
    if y.dtype == torch.bfloat16:
        found = _by_native(y.float(), level.float(), _wide(rings), share.float(), _wide(turns), lengths)
        return [value.bfloat16() for value in found]
    results = _shape(y, level, rings)
    native.module().smoothing(
        memory(y), memory(level), list(map(memory, rings)), memory(share), list(map(memory, turns)), memory(lengths),
        memory(results[0]), list(map(memory, results[1:])),
    )  # fmt: skip
    return results


def _backward_by_native(
    y: Tensor, level: Tensor, rings: list[Tensor], share: Tensor, turns: list[Tensor], lengths: Tensor | None,
    results: list[Tensor], there: list[bool], grads: list[Tensor],
) -> list[Tensor]:  # fmt: skip
    if not native.serves("smoothing", y.dtype):
        return _backward_derived(y, level, rings, share, turns, lengths, results, there, grads)
    if y.dtype == torch.bfloat16:
        wide = y.float(), level.float(), _wide(rings), share.float(), _wide(turns), lengths
        found = _backward_by_native(*wide, _wide(results), there, _wide(grads))
        return [value.bfloat16() for value in found]
    found = _backward_shape(y, level, rings, share, turns)
    count = len(rings)
    by_levels, *by_seasons = (memory(grad) for grad in _spread(there, grads))
    by_y, by_level, *by_rings = map(memory, found[: 2 + count])
    by_share, *by_turns = map(memory, found[2 + count :])
    native.module().smoothing_backward(
        by_levels, by_seasons, memory(y), memory(level), list(map(memory, rings)), memory(share),
        list(map(memory, turns)), memory(lengths), memory(results[0]), list(map(memory, results[1:])), by_y, by_level,
        by_rings, by_share, by_turns,
    )  # fmt: skip
    return found


def _wide(values: Sequence[Tensor]) -> list[Tensor]:
    return [value.float() for value in values]


def _spread(there: Sequence[bool], grads: Sequence[Tensor]) -> list[Tensor | None]:
    arrived = iter(grads)
    return [next(arrived) if came else None for came in there]


def _backward_derived(
    y: Tensor, level: Tensor, rings: Any, share: Tensor, turns: Any, lengths: Any, results: Any, there: Any, grads: Any
) -> list[Tensor]:
    with torch.no_grad():
        return _derived(y, level, rings, share, turns, lengths, _spread(there, grads))


def _derived(
    y: Tensor, level: Tensor, rings: Any, share: Tensor, turns: Any, lengths: Any, grads: Sequence[Tensor | None]
) -> list[Tensor]:
    """The gradients of all that was given, in order, by differentiating the reference."""
    values = [y, level, *rings, share, *turns]
    names = [str(at) for at in range(len(values))]
    count = len(rings)

    def run(**named: Tensor) -> list[Tensor]:
        first, second, *rest = (named[name] for name in names)
        return by_reference(first, second, rest[:count], rest[count], rest[count + 1 :], lengths)

    found = derived_gradient(run, names, dict(zip(names, values, strict=True)), grads)
    return [found[name] for name in names]


library.impl("smoothing", by_reference, "CompositeExplicitAutograd")
library.impl("smoothing", _by_native, "CPU")
library.impl("smoothing_backward", _backward_derived, "CompositeExplicitAutograd")
library.impl("smoothing_backward", _backward_by_native, "CPU")
torch.library.register_fake("recurra::smoothing", _shape, lib=library)
torch.library.register_fake("recurra::smoothing_backward", _backward_shape, lib=library)


def _context(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    ctx.set_materialize_grads(False)
    y, level, rings, share, turns, lengths = inputs
    ctx.count = len(rings)
    ctx.save_for_backward(lengths, y, level, *rings, share, *turns, *output)


def _gradient(ctx: Any, grads: list[Tensor | None]) -> tuple[Any, ...]:
    count = ctx.count
    lengths, y, level, *values = ctx.saved_tensors
    rings, share, turns, results = (
        values[:count],
        values[count],
        values[count + 1 : 2 * count + 1],
        values[2 * count + 1 :],
    )
    if torch.is_grad_enabled() or differentiated(*grads) or batched_by_autograd(*grads):
        found = _derived(y, level, rings, share, turns, lengths, grads)
    else:
        there, arrived = [grad is not None for grad in grads], [grad for grad in grads if grad is not None]
        backward = torch.ops.recurra.smoothing_backward.default
        found = backward(y, level, rings, share, turns, lengths, results, there, arrived)
    return found[0], found[1], found[2 : 2 + count], found[2 + count], found[3 + count :], None


torch.library.register_autograd("recurra::smoothing", _gradient, setup_context=_context, lib=library)
for _name in ("smoothing", "smoothing_backward"):
    _operation = getattr(torch.ops.recurra, _name).default
    torch.library.register_vmap(f"recurra::{_name}", one_by_one(_operation), lib=library)


def smoothing(
    y: Tensor,
    level: Tensor,
    rings: Sequence[Tensor],
    share: Tensor,
    turns: Sequence[Tensor],
    lengths: Tensor | None = None,
) -> tuple[Tensor, list[Tensor], Tensor, list[Tensor]]:
    """Exponential smoothing of series: (levels[T, B], seasons [m_k + T, B] each, the last level[B], the last rings).

    y[T, B]; level[B] and rings [B, m_k] are the state, a ring's first place the next to be read; share[T, B] and turns
    [T, B] each say how far a step moves the level and each season (`smoothing.py` has the equations); lengths[B]. A ring's
    seasons are its own places and then one a step: what it held after step t are the m_k from t + 1 on. After the end of a
    row levels and seasons are zero, and anything may be given. Gradients of every order.
    """
    every = (y, level, *rings, share, *turns)
    if transformed(*every, lengths):
        levels, *seasons = by_reference(y, level, rings, share, turns, lengths)
    else:
        levels, *seasons = torch.ops.recurra.smoothing.default(y, level, list(rings), share, list(turns), lengths)
    steps = len(y)
    if lengths is None:
        last = level.clone() if not steps else levels[-1].clone()
        return levels, seasons, last, [season[steps:].T.contiguous() for season in seasons]
    every_level = torch.cat([level[None], levels])
    after = [
        season.T.gather(1, lengths[:, None] + torch.arange(ring.shape[1], device=y.device))
        for season, ring in zip(seasons, rings, strict=True)
    ]
    return levels, seasons, every_level.gather(0, lengths[None])[0], after
