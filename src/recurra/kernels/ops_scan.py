"""The operation that runs programs, `recurra::scan`, and its gradient. With `ops` the only users of `torch.library`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from recurra.kernels import gpu, native, programs
from recurra.kernels.derived import derived_gradient
from recurra.kernels.narrow import wide
from recurra.kernels.ops import library, needed
from recurra.kernels.transforms import batched_by_autograd, differentiated, one_by_one, transformed

_GROUPS = ("inputs", "fixed", "states", "shared", "weights")
_SCAN = (
    f"str program, {', '.join(f'Tensor[] {group}' for group in _GROUPS)}, Tensor? lengths, Tensor? resets, bool reverse"
)
library.define(f"scan({_SCAN}, bool keep) -> Tensor[]")
library.define(
    f"scan_backward({_SCAN}, Tensor[] saved, bool[] there, Tensor[] grads, Tensor[] grads_after) -> Tensor[]"
)


def _scan_with(run: Callable[..., list[Tensor]]) -> Callable[..., list[Tensor]]:
    def implementation(program: str, *args: Any) -> list[Tensor]:
        given, (lengths, resets, reverse, keep) = programs.Given(*args[:5]), args[5:]
        results = run(program, given, lengths, resets, reverse, keep)
        if not keep:
            # what was not saved has its place all the same, so that the results are as many either way
            plan = programs.layout(program)
            nothing = [given.inputs[0].new_empty(0) for _ in plan.saved]
            results[len(plan.emitted) : len(plan.emitted)] = nothing
        return results

    return implementation


def _scan_shape(program: str, *args: Any) -> list[Tensor]:
    given, keep, plan = programs.Given(*args[:5]), args[8], programs.layout(program)
    steps, batch = given.extent
    like = given.inputs[0]
    emitted = [like.new_empty(steps, batch, width) for width in plan.emitted]
    saved = [like.new_empty(*((steps, batch, width) if keep else (0,))) for width in plan.saved]
    return [*emitted, *saved, *(value.new_empty(batch, value.shape[1]) for value in given.states)]


def _scan_backward_with(run: Callable[..., programs.Given]) -> Callable[..., list[Tensor]]:
    def implementation(program: str, *args: Any) -> list[Tensor]:
        given, (lengths, resets, reverse, saved, there, grads, grads_after) = programs.Given(*args[:5]), args[5:]
        arrived = iter(grads)
        each = [next(arrived) if present else None for present in there]
        found = run(program, each, grads_after, given, saved, lengths, resets, reverse)
        return [gradient for group in found.groups for gradient in group]

    return implementation


def _scan_backward_derived(program: str, *args: Any) -> list[Tensor]:
    given, (lengths, resets, reverse, _, there, grads, grads_after) = programs.Given(*args[:5]), args[5:]
    arrived = iter(grads)
    each = [next(arrived) if present else None for present in there]
    with torch.no_grad():
        return _scan_derived(program, given, lengths, resets, reverse, [*each, *grads_after])


def _scan_derived(program: str, given: Any, lengths: Any, resets: Any, reverse: bool, grads: Any) -> list[Tensor]:
    """The gradients of all that was given, in order, by differentiating what torch runs."""
    sizes = [len(group) for group in given.groups]
    values = [value for group in given.groups for value in group]
    names = [str(at) for at in range(len(values))]

    def run(**named: Tensor) -> list[Tensor]:
        left = iter(named[name] for name in names)
        again = programs.Given(*([next(left) for _ in range(size)] for size in sizes))
        return programs.by_torch(program, again, lengths, resets, reverse, False)

    found = derived_gradient(run, names, dict(zip(names, values, strict=True)), grads)
    return [found[name] for name in names]


def _scan_backward_shape(program: str, *args: Any) -> list[Tensor]:
    return [torch.empty_like(value) for group in args[:5] for value in group]


library.impl("scan", _scan_with(programs.by_torch), "CompositeExplicitAutograd")
library.impl("scan", _scan_with(programs.by_native), "CPU")
library.impl("scan_backward", _scan_backward_derived, "CompositeExplicitAutograd")
library.impl("scan_backward", _scan_backward_with(programs.backward_by_native), "CPU")
library.impl("scan", _scan_with(gpu.run_program), "CUDA")
library.impl("scan_backward", _scan_backward_with(gpu.run_gradient), "CUDA")
torch.library.register_fake("recurra::scan", _scan_shape, lib=library)
torch.library.register_fake("recurra::scan_backward", _scan_backward_shape, lib=library)


def _scan_context(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    ctx.set_materialize_grads(False)
    program, *groups, lengths, resets, reverse, _ = inputs
    ctx.choice = native.handed_on(groups[0][0])
    ctx.plain = program, reverse, [len(group) for group in groups]
    saved = output[programs.emitted_count(program) : len(output) - len(groups[2])]
    ctx.save_for_backward(lengths, resets, *(value for group in groups for value in group), *saved)


def _scan_gradient(ctx: Any, grads: list[Tensor | None]) -> tuple[Any, ...]:
    with native.told(ctx.choice):
        return _scan_gradient_as_chosen(ctx, grads)


def _scan_gradient_as_chosen(ctx: Any, grads: list[Tensor | None]) -> tuple[Any, ...]:
    program, reverse, sizes = ctx.plain
    lengths, resets, *values = ctx.saved_tensors
    left = iter(values)
    groups = [[next(left) for _ in range(size)] for size in sizes]
    given, saved = programs.Given(*groups), list(left)
    count, kept = programs.emitted_count(program), len(saved)
    emitted, after = grads[:count], grads[count + kept :]
    if any(grad is not None for grad in grads[count : count + kept]):
        # a gradient of the gradient, which read what was saved: all of it counts as emitted
        program, emitted = programs.recorded(program), grads[: count + kept]
    # what was not asked for may be there all the same (`recompute.py`)
    missing = saved[0].dim() == 1
    if missing or differentiated(*grads) or batched_by_autograd(*grads) or not _again(given):
        found = _scan_derived(program, given, lengths, resets, reverse, [*emitted, *after])
    elif torch.is_grad_enabled():
        after = [torch.zeros_like(s) if grad is None else grad for grad, s in zip(after, given.states, strict=True)]
        found = _scan_recorded(program, emitted, after, given, saved, lengths, resets, reverse)
    else:
        after = [torch.zeros_like(s) if grad is None else grad for grad, s in zip(after, given.states, strict=True)]
        there, arrived = [grad is not None for grad in emitted], [grad for grad in emitted if grad is not None]
        backward = torch.ops.recurra.scan_backward.default
        found = backward(program, *groups, lengths, resets, reverse, saved, there, arrived, after)
    every = iter(found)
    return (None, *([next(every) for _ in range(size)] for size in sizes), None, None, None, None)


def _again(given: programs.Given) -> bool:
    """Whether a gradient that is recorded may be a program of its own: where programs run by kernels, or none is recorded."""
    return not torch.is_grad_enabled() or by_kernels(given.inputs[0])


def by_kernels(like: Tensor) -> bool:
    """Whether programs of numbers like these run by a kernel, and not step by step in torch."""
    if like.is_cuda:
        return gpu.by_program(like.dtype, True)
    return like.device.type == "cpu" and native.usable() and native.unsupported(like.dtype) is None


def _scan_recorded(program: str, grads: Any, grads_after: Any, given: programs.Given, saved: Any, *rest: Any) -> Any:
    """The gradients of all that was given, in order, by the gradient's program, whose own gradient is recorded in turn.

    What was saved are results of the forward operation, so what reaches them goes on to its backward. Numbers of 16 bits
    are computed in float32 in between.
    """

    def run(_: Any, text: str, back: programs.Given, *rest: Any) -> tuple[list[Tensor], list[Tensor]]:
        return scan(text, back, *rest)

    arrived, after, kept = ([wide(value) for value in values] for values in (grads, grads_after, saved))
    found = programs.backward_with(run, program, arrived, after, given.map(wide), kept, *rest)
    return [value.to(given.inputs[0].dtype) for group in found.groups for value in group]


torch.library.register_autograd("recurra::scan", _scan_gradient, setup_context=_scan_context, lib=library)
for _name in ("scan", "scan_backward"):
    _operation = getattr(torch.ops.recurra, _name).default
    torch.library.register_vmap(f"recurra::{_name}", one_by_one(_operation), lib=library)


def scan(
    program: str, given: programs.Given, lengths: Tensor | None, resets: Tensor | None, reverse: bool
) -> tuple[list[Tensor], list[Tensor]]:
    """A program over a sequence: (what it emits at each step, [T, B, .] each; the last states)."""
    every = [value for group in given.groups for value in group]
    count = programs.emitted_count(program)
    if transformed(*every, lengths, resets):
        results = programs.by_torch(program, given, lengths, resets, reverse, False)
    else:
        groups = map(list, given.groups)
        results = torch.ops.recurra.scan.default(program, *groups, lengths, resets, reverse, needed(*every))
    return results[:count], results[len(results) - len(given.states) :]
