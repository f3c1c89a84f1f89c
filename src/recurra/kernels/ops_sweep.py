"""The operation that runs sweeps, `recurra::sweep`, and its gradient; beside `ops` and `ops_scan` it registers with torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from recurra.kernels import gpu, native
from recurra.kernels.chunkwise import by_chunks
from recurra.kernels.derived import derived_gradient
from recurra.kernels.ops import library, needed
from recurra.kernels.sweeps import SWEEPS, Parameters, by_reference
from recurra.kernels.transforms import batched_by_autograd, differentiated, in_own_dtype, one_by_one, transformed

_GIVEN = "Tensor? tokens, Tensor? lengths, Tensor? resets"
_SWEEP = f"str cell, Tensor x, Tensor[] states, Tensor[] weights, bool[] present, {_GIVEN}, bool reverse"
library.define(f"sweep({_SWEEP}, bool keep) -> Tensor[]")
library.define(
    f"sweep_backward({_SWEEP}, Tensor outputs, Tensor kept, Tensor marks, Tensor? grad_outputs, bool[] there, "
    "Tensor[] grads, bool need_x) -> Tensor[]"
)


def _extent(x: Tensor, tokens: Tensor | None) -> tuple[Any, Any]:
    shape = (x if tokens is None else tokens).shape
    return shape[0], shape[1]


def _shape(cell: str, x: Tensor, states: Any, weights: Any, present: Any, tokens: Any, *rest: Any) -> list[Tensor]:
    steps, batch = _extent(x, tokens)
    hidden, sweep = states[0].shape[1], SWEEPS[cell]
    keeps = rest[-1] and (tokens is None or sweep.recurrent)
    kept = (steps, batch, sweep.sums(states)) if keeps else (0,)
    last = [state.new_empty(batch, state.shape[1]) for state in states]
    marks = sweep.marks(steps, states) if rest[-1] else (0,)
    return [x.new_empty(steps, batch, sweep.emits * hidden), *last, x.new_empty(kept), x.new_empty(marks)]


def _backward_shape(cell: str, x: Tensor, states: Any, weights: Any, *rest: Any) -> list[Tensor]:
    x_grad = torch.empty_like(x) if rest[-1] else x.new_empty(0)
    return [x_grad, *(torch.empty_like(value) for value in (*states, *weights))]


def _by_torch(cell: str, x: Tensor, states: Any, weights: Any, present: Any, *rest: Any) -> list[Tensor]:
    return by_reference(cell, x, states, Parameters.of(weights, present), *rest)


def _views(tensors: Sequence[Tensor], present: Sequence[bool]) -> list[Any]:
    """The parameters as the native side takes them."""
    return [native.memory(value) for value in Parameters.of(tensors, present).all]


def _by_native(
    cell: str, x: Tensor, states: list[Tensor], weights: list[Tensor], present: list[bool], tokens: Tensor | None,
    lengths: Tensor | None, resets: Tensor | None, reverse: bool, keep: bool,
) -> list[Tensor]:  # fmt: skip
    if not native.serves(cell, x.dtype):
        return _by_torch(cell, x, states, weights, present, tokens, lengths, resets, reverse, keep)
    if x.dtype == torch.bfloat16:
        wide = [value.float() for value in (x, *states, *weights)]
        given = wide[0], wide[1 : 1 + len(states)], wide[1 + len(states) :]
        found = _by_native(cell, *given, present, tokens, lengths, resets, reverse, keep)
        return [value.bfloat16() for value in found]
    results = _shape(cell, x, states, weights, present, tokens, lengths, resets, reverse, keep)
    outputs, *last, kept, marks = results
    memory = native.memory
    native.module().sweep(
        SWEEPS[cell].number, reverse, memory(x), memory(tokens), list(map(memory, states)), _views(weights, present),
        memory(lengths), memory(resets), memory(outputs), list(map(memory, last)),
        memory(kept) if kept.dim() > 1 else None, memory(marks) if marks.dim() > 1 else None,
        torch.get_num_threads(),
    )  # fmt: skip
    return results


def _backward_by_native(
    cell: str, x: Tensor, states: list[Tensor], weights: list[Tensor], present: list[bool], tokens: Tensor | None,
    lengths: Tensor | None, resets: Tensor | None, reverse: bool, outputs: Tensor, kept: Tensor, marks: Tensor,
    grad_outputs: Tensor | None, there: list[bool], grads: list[Tensor], need_x: bool,
) -> list[Tensor]:  # fmt: skip
    rest = tokens, lengths, resets, reverse
    if not native.serves(cell, x.dtype):
        return _backward_derived(
            cell, x, states, weights, present, *rest, outputs, kept, marks, grad_outputs, there, grads, need_x
        )
    if x.dtype == torch.bfloat16:
        wide = [value.float() for value in (x, *states, *weights)]
        given = wide[0], wide[1 : 1 + len(states)], wide[1 + len(states) :]
        came, narrow = None if grad_outputs is None else grad_outputs.float(), [grad.float() for grad in grads]
        found = _backward_by_native(
            cell, *given, present, *rest, outputs.float(), kept.float(), marks.float(), came, there, narrow, need_x
        )  # fmt: skip
        return [value.bfloat16() for value in found]
    results = _backward_shape(cell, x, states, weights, need_x)
    grad_x, *others = results
    memory, arrived = native.memory, iter(grads)
    native.module().sweep_backward(
        memory(grad_outputs), [memory(next(arrived)) if came else None for came in there], SWEEPS[cell].number, reverse,
        memory(x), memory(tokens), list(map(memory, states)), _views(weights, present), memory(lengths), memory(resets),
        memory(outputs), memory(kept) if kept.dim() > 1 else None, memory(marks) if marks.dim() > 1 else None,
        memory(grad_x) if need_x else None, list(map(memory, others[: len(states)])),
        _views(others[len(states) :], present), torch.get_num_threads(),
    )  # fmt: skip
    return results


def _derived(
    cell: str, x: Tensor, states: Sequence[Tensor], weights: Sequence[Tensor], present: Sequence[bool],
    rest: tuple[Tensor | None, Tensor | None, Tensor | None, bool], grads: Sequence[Tensor | None],
    by: Callable[..., list[Tensor]] = by_reference,
) -> list[Tensor]:  # fmt: skip
    """The gradients of x, states and weights, by differentiating the reference, or what else runs the sweep."""
    values = [x, *states, *weights]
    names = [str(at) for at in range(len(values))]

    def run(**named: Tensor) -> list[Tensor]:
        first, *left = (named[name] for name in names)
        parameters = Parameters.of(left[len(states) :], present)
        return by(cell, first, left[: len(states)], parameters, *rest, True)

    found = derived_gradient(run, names, dict(zip(names, values, strict=True)), grads)
    return [found[name] for name in names]


def _backward_derived(
    cell: str, x: Tensor, states: Any, weights: Any, present: Any, tokens: Any, lengths: Any, resets: Any,
    reverse: bool, outputs: Tensor, kept: Tensor, marks: Tensor, grad_outputs: Any, there: list[bool], grads: list[Tensor],
    need_x: bool, by: Callable[..., list[Tensor]] = by_reference,
) -> list[Tensor]:  # fmt: skip
    arrived = iter(grads)
    each = [grad_outputs, *(next(arrived) if came else None for came in there), None, None]
    with torch.no_grad():
        found = _derived(cell, x, states, weights, present, (tokens, lengths, resets, reverse), each, by)
    return found if need_x else [x.new_empty(0), *found[1:]]


def _by_gpu(cell: str, x: Tensor, states: Any, weights: Any, present: Any, *rest: Any) -> list[Tensor]:
    with in_own_dtype(x.device):
        return gpu.sweep(cell, x.dtype)(cell, x, states, Parameters.of(weights, present), *rest)


def _backward_by_gpu(
    cell: str, x: Tensor, states: Any, weights: Any, present: Any, tokens: Any, lengths: Any, resets: Any, reverse: bool,
    outputs: Tensor, kept: Tensor, marks: Tensor, grad_outputs: Any, there: list[bool], grads: list[Tensor], need_x: bool,
) -> list[Tensor]:  # fmt: skip
    run, given = gpu.sweep_backward(cell, x.dtype), (tokens, lengths, resets, reverse)
    if run is None:
        kinds = outputs, kept, marks, grad_outputs, there, grads, need_x
        return _backward_derived(cell, x, states, weights, present, *given, *kinds, by=gpu.sweep(cell, x.dtype))
    arrived = iter(grads)
    each = [next(arrived) if came else None for came in there]
    with in_own_dtype(x.device):
        return run(cell, x, states, Parameters.of(weights, present), *given, outputs, kept, grad_outputs, each, need_x)


library.impl("sweep", _by_torch, "CompositeExplicitAutograd")
library.impl("sweep", _by_native, "CPU")
library.impl("sweep_backward", _backward_derived, "CompositeExplicitAutograd")
library.impl("sweep_backward", _backward_by_native, "CPU")
library.impl("sweep", _by_gpu, "CUDA")
library.impl("sweep_backward", _backward_by_gpu, "CUDA")
torch.library.register_fake("recurra::sweep", _shape, lib=library)
torch.library.register_fake("recurra::sweep_backward", _backward_shape, lib=library)


def _context(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    ctx.set_materialize_grads(False)
    cell, x, states, weights, present, tokens, lengths, resets, reverse, _ = inputs
    ctx.choice = native.handed_on(x)
    ctx.plain = cell, len(states), present, reverse
    ctx.save_for_backward(tokens, lengths, resets, output[0], *output[-2:], x, *states, *weights)


def _gradient(ctx: Any, grads: list[Tensor | None]) -> tuple[Any, ...]:
    with native.told(ctx.choice):
        return _gradient_as_chosen(ctx, grads)


def _gradient_as_chosen(ctx: Any, grads: list[Tensor | None]) -> tuple[Any, ...]:
    cell, count, present, reverse = ctx.plain
    tokens, lengths, resets, outputs, kept, marks, x, *values = ctx.saved_tensors
    states, weights, rest = values[:count], values[count:], (tokens, lengths, resets, reverse)
    # what was not asked for may be missing (`recompute.py`), and no kernel goes through what was kept
    missing = kept.dim() == 1 and SWEEPS[cell].recurrent
    through_kept = grads[-2] is not None
    by_transform = differentiated(*grads) or batched_by_autograd(*grads)
    elsewhere = missing or through_kept or by_transform
    if torch.is_grad_enabled() or elsewhere:
        from recurra.kernels.sweep_programs import by_program, runs  # (they use the operations that are made here)

        if not through_kept and not by_transform and runs(cell, x):
            by = by_program
        elif x.is_cuda and not by_transform and gpu.choose_sweep(cell, x.dtype)[0] == "chunks":
            by = by_chunks
        else:
            by = by_reference
        found = _derived(cell, x, states, weights, present, rest, grads, by)
    else:
        there, arrived = [grad is not None for grad in grads[1:-2]], [grad for grad in grads[1:-2] if grad is not None]
        backward = torch.ops.recurra.sweep_backward.default
        need_x = ctx.needs_input_grad[1]
        found = backward(
            cell, x, states, weights, present, *rest, outputs, kept, marks, grads[0], there, arrived, need_x
        )  # fmt: skip
    first, *others = found
    x_grad = first if ctx.needs_input_grad[1] else None
    return None, x_grad, others[:count], others[count:], None, None, None, None, None, None


torch.library.register_autograd("recurra::sweep", _gradient, setup_context=_context, lib=library)
for _name in ("sweep", "sweep_backward"):
    _operation = getattr(torch.ops.recurra, _name).default
    torch.library.register_vmap(f"recurra::{_name}", one_by_one(_operation), lib=library)


def sweep(
    cell: str,
    x: Tensor,
    states: Sequence[Tensor],
    parameters: Parameters,
    *,
    tokens: Tensor | None = None,
    lengths: Tensor | None = None,
    resets: Tensor | None = None,
    reverse: bool = False,
    keep: bool = False,
) -> tuple[Tensor, list[Tensor], Tensor]:
    """A sweep of `sweeps.SWEEPS` over a sequence: (outputs[T, B, .], the last states, the sums[T, B, S] if kept).

    x[T, B, I], or a table [V, I] with tokens[T, B]; states [B, H] each, the first ones of which are the outputs side by side.
    lengths, resets and reverse as in `reference`. With tokens no sums are kept, but for a recurrent cell. Gradients of every
    order.
    """
    weights, present = parameters.tensors, parameters.present
    every = (x, *states, *weights)
    if transformed(*every, tokens, lengths, resets):
        results = by_reference(cell, x, states, parameters, tokens, lengths, resets, reverse, keep)
    else:
        keep = keep or (needed(*every) and SWEEPS[cell].worth_keeping(x.shape[-1]))
        results = torch.ops.recurra.sweep.default(
            cell, x, list(states), weights, present, tokens, lengths, resets, reverse, keep
        )
    return results[0], results[1:-2], results[-2]
