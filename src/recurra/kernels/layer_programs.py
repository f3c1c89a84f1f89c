"""Layers as programs of their step: with an option that no kernel has, and where a gradient is differentiated again."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from torch import Tensor

from recurra.kernels import ops, reference, variants
from recurra.kernels.derived import derived_gradient
from recurra.kernels.ops_scan import by_kernels
from recurra.kernels.ops_scan import scan as run_program
from recurra.kernels.programs import Given, Sizes, trace, undisturbed
from recurra.kernels.steps import STEPS
from recurra.kernels.transforms import batched_by_autograd, constant, in_own_dtype, unwatched
from recurra.kernels.variants import Variant


def gradient(
    kernel: str, wanted: Sequence[str], inputs: dict[str, Any], grads: Sequence[Tensor | None], gates: int
) -> dict[str, Tensor]:
    """The gradient of a kernel's operation by its `wanted` arguments, recorded where gradients are: of every order.

    That of its step's program, which is a program again, where kernels run those; else that of the reference. `gates`:
    how many of the last results are gates.
    """
    by_program = by_kernels(inputs["h"]) and unwatched() and not batched_by_autograd(*grads)
    if not by_program:
        return derived_gradient(getattr(reference, kernel), wanted, {**inputs, "keep": True}, grads)
    keep = any(grad is not None for grad in grads[len(grads) - gates :])

    def run(**given: Any) -> tuple[Tensor, ...]:
        return plain(kernel, given)

    return derived_gradient(run, wanted, {**inputs, "keep": keep}, grads)


def plain(kernel: str, inputs: dict[str, Any]) -> tuple[Tensor, ...]:
    """What the operation of this name gives, arguments by name, run as a program."""
    get = inputs.get
    weight, mask = inputs["weight"], get("mask")
    if kernel == "elman":
        variant = variants.elman(weight, mask, inputs["activation"])
    elif kernel == "gru":
        variant = variants.gru(weight, get("bias"), mask, inputs["reset_after"])
    else:
        variant = variants.lstm(weight, mask, get("peepholes"), get("projection"))
    x = project(inputs["x"], get("weight_in"), get("bias_in"), get("tokens"), get("lengths"))
    states = tuple(inputs[name] for name in ("h", "c") if name in inputs)
    return run(variant, x, states, get("lengths"), get("resets"), inputs["reverse"], inputs["keep"])


def project(
    x: Tensor, weight_in: Tensor | None, bias_in: Tensor | None, tokens: Tensor | None, lengths: Tensor | None
) -> Tensor:
    """What the inputs add to the sums of every step, [T, B, G*H]."""
    with in_own_dtype(x.device):
        return reference.project(x, weight_in, bias_in, tokens, lengths, linear=ops.linear)


def run(
    variant: Variant,
    x: Tensor,
    states: tuple[Tensor, ...],
    lengths: Tensor | None,
    resets: Tensor | None,
    reverse: bool,
    keep: bool,
) -> tuple[Tensor, ...]:
    """The step of a variant over a sequence of sums: outputs, the last states, gates (without `keep` they are empty)."""
    kernel, parameters, fixed = variant.kernel, variant.parameters, variant.fixed
    if kernel == "gru":
        hidden = width = _known(parameters["weight_n"].shape[0])
        sums = 3 * hidden
    else:
        sums, width = map(_known, parameters["weight"].shape)
        hidden = width if kernel == "elman" else sums // (3 if variant.options[0] else 4)
    widths = (width, hidden)[: len(states)]
    zones = tuple(_known(zone.shape[-1]) for zone in variant.zones)
    shapes = tuple((name, tuple(map(_known, value.shape))) for name, value in parameters.items())
    rows = tuple((name, width) for name in fixed)
    text = _text(kernel, variant.options, keep, (sums, *zones), widths, rows, shapes)
    values = list(parameters.values())
    matrices, vectors = ([value for value in values if value.dim() == axes] for axes in (2, 1))
    given = Given([x, *variant.zones], list(fixed.values()), list(states), vectors, matrices)
    with in_own_dtype(x.device):
        (outputs, *gates), last = run_program(text, given, lengths, resets, reverse)
    # (there are as many kinds of gates as states)
    return outputs, *last, *(gates if keep else [x.new_empty(0) for _ in last])


def _known(size: int) -> int:
    # a program is for one width: a compiler that left a size free must settle it, which it does for a range
    return len(range(size))


@constant
def _text(*key: Any) -> str:
    # (a compiler sees through a cache that it meets, so it must not meet this one)
    return _remembered(*key)


@lru_cache(maxsize=256)
def _remembered(
    kernel: str,
    options: tuple[Any, ...],
    keep: bool,
    inputs: tuple[int, ...],
    states: tuple[int, ...],
    fixed: tuple[tuple[str, int], ...],
    parameters: tuple[tuple[str, tuple[int, ...]], ...],
) -> str:
    """The program of a step of `steps` with these options and sizes."""
    sizes = Sizes(inputs, states, fixed, parameters, alone=False, emits=None if keep else 1)
    with undisturbed():
        traced = trace(STEPS[kernel](*options), sizes)
    matrices = [at for at, (_, shape) in enumerate(parameters) if len(shape) == 2]
    vectors = [at for at, (_, shape) in enumerate(parameters) if len(shape) == 1]
    if isinstance(traced, str) or traced.hoisted.before is not None or traced.order != (*matrices, *vectors):
        raise AssertionError(f"the step of '{kernel}' is no plain program: {traced}")
    return traced.hoisted.text
