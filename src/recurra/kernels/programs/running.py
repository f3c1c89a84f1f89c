"""Programs over whole sequences: by torch, which is the truth, and by the native loop, forward and backward."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from recurra.kernels import native, reference
from recurra.kernels.derived import derived_gradient
from recurra.kernels.programs.gradient import gradient, recorded
from recurra.kernels.programs.program import Program, evaluate, parse
from recurra.kernels.transforms import constant

Tensors = Sequence[Tensor]


@dataclass(frozen=True)
class Given:
    """What a program is given: inputs[T, B, .], fixed[B, .], states[B, .], shared[.], weights[M, K]."""

    inputs: Tensors
    fixed: Tensors
    states: Tensors
    shared: Tensors
    weights: Tensors

    @property
    def groups(self) -> tuple[Tensors, ...]:
        return (self.inputs, self.fixed, self.states, self.shared, self.weights)

    def map(self, function: Any) -> Given:
        return Given(*([function(value) for value in group] for group in self.groups))

    @property
    def extent(self) -> tuple[int, int]:
        """Steps and batch."""
        return self.inputs[0].shape[0], self.inputs[0].shape[1]


@dataclass(frozen=True)
class Layout:
    """The widths of what a program emits, and of what it hands out beside that for its gradient."""

    emitted: tuple[int, ...]
    saved: tuple[int, ...]


@lru_cache(maxsize=256)
def layout(text: str) -> Layout:
    """How a program's results are laid out."""
    program, more = parse(text), parse(recorded(text))
    widths = [more.width(value) for value in more.emitted]
    count = len(program.emitted)
    return Layout(tuple(widths[:count]), tuple(widths[count:]))


@constant
def emitted_count(text: str) -> int:
    """How many values a program emits at each step."""
    return len(layout(text).emitted)


def by_torch(
    text: str, given: Given, lengths: Tensor | None, resets: Tensor | None, reverse: bool, keep: bool
) -> list[Tensor]:
    """What is emitted at each step (and, to `keep`, what the gradient needs), then the last states."""
    program = parse(recorded(text) if keep else text)
    widths, inputs = list(program.inputs), list(given.inputs)
    own = resets is not None and (program.reset_after or program.resettable >= 0)
    if resets is not None and own:  # the time loop of the reference has no such resets: the step is told of them
        inputs.append(resets[..., None].to(inputs[0].dtype))
        widths.append(1)

    def step(x_t: Tensor, state: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        rows = x_t.split(widths, dim=-1)
        if own and not program.reset_after:
            state = _without(rows[-1], state, program.resettable)
        values = evaluate(program, rows[: len(program.inputs)], given.fixed, state, given.shared, given.weights)

        def row(value: int) -> Tensor:
            return values[value].expand(x_t.shape[0], -1)

        after = tuple(row(value) for value in program.after)
        if own and program.reset_after:
            after = _without(rows[-1], after, program.resettable)
        return after, tuple(row(value) for value in program.emitted)

    x = inputs[0] if len(widths) == 1 else torch.cat(inputs, dim=-1)
    # what pads a row must not reach a gradient either
    x = reference.without_padding(x, lengths)
    emits = tuple(program.width(value) for value in program.emitted)
    emitted, last = reference.run(step, x, tuple(given.states), lengths, None if own else resets, reverse, emits)
    return [*emitted, *last]


def _without(resets: Tensor, states: tuple[Tensor, ...], count: int) -> tuple[Tensor, ...]:
    """The states, zero in the rows of resets[B, 1]; the first `count` alone, or all if that is negative."""
    return tuple(
        torch.where(resets != 0, torch.zeros_like(state), state) if count < 0 or at < count else state
        for at, state in enumerate(states)
    )


@lru_cache(maxsize=256)
def _built(text: str) -> Any:
    """The native side's own copy of a program."""
    program = parse(text)
    lines = [
        (
            one.operation,
            [(-1, value) if isinstance(value, float) else (value, 0.0) for value in one.operands],
            one.width,
            one.attribute,
        )
        for one in program.instructions
    ]
    given = [list(widths) for widths in (program.inputs, program.fixed, program.states, program.shared)]
    return native.module().Program(
        given, list(program.weights), lines, list(program.emitted), list(program.after), program.resettable
    )


# native objects must be gone before the interpreter is
atexit.register(_built.cache_clear)


def _run(
    program: Program,
    text: str,
    given: Given,
    lengths: Tensor | None,
    resets: Tensor | None,
    reverse: bool,
) -> tuple[list[Tensor], list[Tensor]]:
    like, (steps, batch) = given.inputs[0], given.extent
    # no step of a finished row is written
    make = like.new_empty if lengths is None else like.new_zeros
    emitted = [make(steps, batch, program.width(value)) for value in program.emitted]
    after = [like.new_empty(batch, width) for width in program.states]
    built = _built(text)
    run = built.run32 if like.dtype == torch.float32 else built.run64
    views = [[native.memory(value) for value in group] for group in given.groups]
    run(
        steps, batch, *views, native.memory(lengths), native.memory(resets), [native.memory(value) for value in emitted],
        [native.memory(value) for value in after], reverse, program.reset_after, torch.get_num_threads(),
    )  # fmt: skip
    return emitted, after


def by_native(
    text: str, given: Given, lengths: Tensor | None, resets: Tensor | None, reverse: bool, keep: bool
) -> list[Tensor]:
    """`by_torch`, by the native loop where it serves."""
    dtype = given.inputs[0].dtype
    if not native.serves("scan", dtype):
        return by_torch(text, given, lengths, resets, reverse, keep)
    if dtype == torch.bfloat16:
        wide = by_native(text, given.map(Tensor.float), lengths, resets, reverse, keep)
        return [value.bfloat16() for value in wide]
    text = recorded(text) if keep else text
    emitted, after = _run(parse(text), text, given, lengths, resets, reverse)
    return [*emitted, *after]


def backward_by_native(
    text: str,
    grads: Sequence[Tensor | None],
    grads_after: Tensors,
    given: Given,
    saved: Tensors,
    lengths: Tensor | None,
    resets: Tensor | None,
    reverse: bool,
) -> Given:
    """The gradients of all that was given, from those of what was emitted (None where there is none) and the last states.

    `saved`: what the forward pass kept, the state that each step was given and the products.
    """
    dtype = given.inputs[0].dtype
    if not native.serves("scan", dtype):
        return backward_by_torch(text, [*grads, *grads_after], given, lengths, resets, reverse)
    if dtype == torch.bfloat16:
        wide = [None if grad is None else grad.float() for grad in grads]
        after, kept = ([value.float() for value in values] for values in (grads_after, saved))
        found = backward_by_native(text, wide, after, given.map(Tensor.float), kept, lengths, resets, reverse)
        return found.map(Tensor.bfloat16)
    return backward_with(_run, text, grads, grads_after, given, saved, lengths, resets, reverse)


def backward_with(
    run: Callable[..., tuple[list[Tensor], list[Tensor]]],
    text: str,
    grads: Sequence[Tensor | None],
    grads_after: Tensors,
    given: Given,
    saved: Tensors,
    lengths: Tensor | None,
    resets: Tensor | None,
    reverse: bool,
) -> Given:
    """`backward_by_native` of float32 or float64, by what runs programs: with the arguments and results of `_run`."""
    found = gradient(text, tuple(grad is not None for grad in grads))
    program = parse(found.text)
    batch = given.extent[1]
    like = given.inputs[0]
    arrived = [grad for grad in grads if grad is not None]
    sums = [like.new_zeros(batch, value.shape[-1]) for value in (*given.fixed, *given.shared)]
    back = Given([*given.inputs, *saved, *arrived], given.fixed, [*grads_after, *sums], given.shared, given.weights)
    emitted, after = run(program, found.text, back, lengths, resets, not reverse)
    weights = [torch.zeros_like(weight) for weight in given.weights]
    first = len(given.inputs) + len(given.fixed)
    for part in found.parts:
        of_product = emitted[part.of_product]
        if part.multiplied is not None:
            rows = emitted[part.multiplied]
        elif part.given is not None and part.given >= first:
            rows = saved[part.given - first]
        else:
            rows = [*given.inputs, *given.fixed][part.given or 0]
            rows = rows if rows.dim() == 3 else rows.expand(*of_product.shape[:2], -1)
            # what pads a row may be anything, and its gradient of zero is not enough
            rows = reference.without_padding(rows, lengths)
        one, other = (rows, of_product) if part.transposed else (of_product, rows)
        weights[part.weight].addmm_(one.flatten(0, 1).T, other.flatten(0, 1))
    states, fixed, shared = (
        after[: len(given.states)],
        after[len(given.states) : len(given.states) + len(given.fixed)],
        [rows.sum(dim=0) for rows in after[len(given.states) + len(given.fixed) :]],
    )
    return Given(emitted[: len(given.inputs)], fixed, states, shared, weights)


def backward_by_torch(
    text: str,
    grads: Sequence[Tensor | None],
    given: Given,
    lengths: Tensor | None,
    resets: Tensor | None,
    reverse: bool,
) -> Given:
    """The same by differentiating `by_torch`."""
    values = {str(at): value for at, value in enumerate(value for group in given.groups for value in group)}

    def run(**named: Tensor) -> list[Tensor]:
        left = iter(named.values())
        return by_torch(text, given.map(lambda _: next(left)), lengths, resets, reverse, False)

    with torch.no_grad():
        found = iter(derived_gradient(run, list(values), values, grads).values())
    return given.map(lambda _: next(found))
