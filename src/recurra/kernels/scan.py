"""Any step that a person writes, over a whole sequence."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from recurra.errors import DataError
from recurra.kernels import native, ops, reference
from recurra.kernels.ops_scan import scan as run_program
from recurra.kernels.programs import Given, Sizes, Step, Traced, difference, evaluate, trace, undisturbed
from recurra.kernels.transforms import in_own_dtype, transformed


@lru_cache(maxsize=64)
def traced_step(step: Step, sizes: Sizes) -> Traced | str:
    """The program of a step with these sizes, or the reason why it has none; remembered."""
    with undisturbed():
        traced = trace(step, sizes)
        return traced if isinstance(traced, str) else difference(step, sizes, traced) or traced


def scan(
    step: Step,
    inputs: Tensor | tuple[Tensor, ...],
    states: tuple[Tensor, ...],
    parameters: Mapping[str, Tensor],
    *,
    fixed: Mapping[str, Tensor] | None = None,
    lengths: Tensor | None = None,
    resets: Tensor | None = None,
    reverse: bool = False,
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Any step over a sequence, as a program where it can be one.

    Arguments:
    - step: a plain function (inputs of one step, state, parameters) -> (next state, what to hand out) of torch operations on
      rows [B, width]; it is called with shapes only, any number of times, so it must not depend on anything else.
    - inputs: [T, B, I], or a tuple of such; the step gets [B, I], or a tuple.
    - states: [B, .] each. parameters, by name: any shape. fixed, by name: [B, .], the same at every step; the step finds
      both in one mapping.

    Returns what was handed out at each step, [T, B, .] each, and the last states. Lengths, resets and reverse are the
    kernels'. A step that is no program runs as it stands, with one `BackendWarning` that says why. Either way it runs in
    the dtype of its inputs, under autocast too. Raises `DataError` for inputs, states, fixed rows, lengths and resets that
    do not go together.
    """
    fixed, alone = dict(fixed or {}), isinstance(inputs, Tensor)
    rows = (inputs,) if isinstance(inputs, Tensor) else inputs
    _check(rows, states, fixed, parameters, lengths, resets)
    every = [*rows, *states, *fixed.values(), *parameters.values()]
    if not torch.compiler.is_compiling() and not transformed(*every):
        whole = [name for name, value in parameters.items() if not value.is_floating_point()]
        traced = (
            f"'{whole[0]}' is not of floating point"
            if whole
            else traced_step(step, sizes_of(rows, states, fixed, parameters, alone))
        )
        if isinstance(traced, Traced):
            return scan_traced(traced, rows, states, parameters, fixed, lengths, resets, reverse)
        native.warn_once(f"your step runs as it stands, because {traced}")
    given = {**parameters, **fixed}
    parts = [value.shape[-1] for value in rows]

    def one(x_t: Tensor, state: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        return step(x_t if alone else x_t.split(parts, dim=-1), state, given)

    x = rows[0] if alone else torch.cat(rows, dim=-1)
    widths: tuple[int, ...] = ()
    if len(x) == 0:
        # what a step hands out is known from a step alone
        widths = tuple(value.shape[-1] for value in one(x.new_zeros(x.shape[1:]), states)[1])
    with in_own_dtype(x.device):
        return reference.run(one, x, states, lengths, resets, reverse, widths)


def _check(
    inputs: tuple[Tensor, ...],
    states: tuple[Tensor, ...],
    fixed: Mapping[str, Tensor],
    parameters: Mapping[str, Any],
    lengths: Tensor | None,
    resets: Tensor | None,
) -> None:
    """Refuse what is no tensor, or does not go with the first of the inputs in dtype or rows."""
    first = inputs[0] if inputs else None
    if not isinstance(first, Tensor) or first.dim() != 3 or not first.is_floating_point():
        got = _told(first)
        raise DataError("scan: the inputs are wrong", got=got, expected="tensors [T, B, I] of floating point")
    steps, batch = first.shape[:2]
    numbers = [(f"input {at}", value, (steps, batch)) for at, value in enumerate(inputs)]
    numbers += [(f"state {at}", value, (batch,)) for at, value in enumerate(states)]
    numbers += [(f"'{name}'", value, (batch,)) for name, value in fixed.items()]
    for name, value, extent in numbers:
        fits = isinstance(value, Tensor) and value.dim() == len(extent) + 1 and value.shape[:-1] == extent
        if not fits or value.dtype != first.dtype:
            expected = f"({', '.join(map(str, extent))}, width) {first.dtype}, as the first input has it"
            raise DataError(f"scan: {name} does not fit", got=_told(value), expected=expected)
    for name, value in parameters.items():
        if not isinstance(value, Tensor):
            fix = "A number can stand in the step itself, or be torch.tensor(number)"
            raise DataError(f"scan: parameter '{name}' is no tensor", got=type(value).__name__, fix=fix)
    for name, value, shape, dtype in (
        ("lengths", lengths, (batch,), torch.int64), ("resets", resets, (steps, batch), torch.bool)
    ):  # fmt: skip
        if value is not None and not (isinstance(value, Tensor) and value.shape == shape and value.dtype == dtype):
            raise DataError(f"scan: the {name} are wrong", got=_told(value), expected=f"{tuple(shape)} {dtype}")


def _told(value: Any) -> str:
    return f"{tuple(value.shape)} {value.dtype}" if isinstance(value, Tensor) else type(value).__name__


def sizes_of(
    inputs: tuple[Tensor, ...],
    states: tuple[Tensor, ...],
    fixed: Mapping[str, Tensor],
    parameters: Mapping[str, Tensor],
    alone: bool,
) -> Sizes:
    return Sizes(
        tuple(value.shape[-1] for value in inputs),
        tuple(value.shape[-1] for value in states),
        tuple((name, value.shape[-1]) for name, value in fixed.items()),
        tuple((name, tuple(value.shape)) for name, value in parameters.items()),
        alone,
    )


def scan_traced(
    traced: Traced,
    inputs: tuple[Tensor, ...],
    states: tuple[Tensor, ...],
    parameters: Mapping[str, Tensor],
    fixed: Mapping[str, Tensor],
    lengths: Tensor | None = None,
    resets: Tensor | None = None,
    reverse: bool = False,
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """`scan` of a step whose program is at hand."""
    with in_own_dtype(inputs[0].device):
        weights, shared = traced.arguments(list(parameters.values()), inputs[0].dtype)
        before, rows = traced.hoisted.before, [inputs[at] for at in traced.hoisted.kept]
        if before is not None:
            # what pads a row must not reach the gradient of a weight either
            inputs = tuple(reference.without_padding(value, lengths) for value in inputs)
            made = evaluate(before, inputs, (), (), shared, weights, linear=ops.linear)
            rows += [made[value] for value in before.emitted]
        given = Given(rows or [inputs[0]], list(fixed.values()), list(states), shared, weights)
        emitted, last = run_program(traced.hoisted.text, given, lengths, resets, reverse)
        return tuple(emitted), tuple(last)
