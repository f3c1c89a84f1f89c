"""The table of kernels, made into operations of torch: the only place that touches `torch.library`.

The dispatcher of torch is the registry. Each kernel of `KERNELS` becomes an opaque operation `recurra::NAME`, run by the
reference on any device, with the native build laid over it on the CPU and `gpu` on CUDA devices, a shape-only version for
compilation and export, and a gradient. The gradient is a second operation, `recurra::NAME_backward`, whose default is
derived from the reference. When a gradient of the gradient is asked for, the program of the layer's step is differentiated,
or where no kernel runs that the reference, so every order is right. A call that is transformed (`transforms.py`) goes to the
reference as a whole, and each operation has a batching rule for what was recorded before. Other files call the functions at
the end and never `torch.ops`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from recurra.kernels import gpu, loss, native, reference
from recurra.kernels.derived import derived_gradient
from recurra.kernels.recompute import passing
from recurra.kernels.transforms import (
    batched_by_autograd,
    differentiated,
    one_by_one,
    open_to_view,
    transformed,
    unwatched,
    watched,
)

_INPUTS = "Tensor? weight_in, Tensor? bias_in, Tensor? tokens"
_OPTIONS = f"{_INPUTS}, Tensor? lengths, Tensor? resets, Tensor? mask"


@dataclass(frozen=True)
class Kernel:
    """One operation. `saved` is how many of its last results only trace and, with `needs_saved`, backward need."""

    name: str
    arguments: str
    results: str
    saved: int
    needs_saved: bool
    differentiable: tuple[str, ...]
    shapes: Callable[..., tuple[Sequence[Any], ...]]
    """The shapes of the results, from the same arguments."""

    @property
    def names(self) -> list[str]:
        """The names of the arguments, in order."""
        return [part.split()[-1] for part in self.arguments.split(", ")]

    @property
    def tensors(self) -> list[str]:
        """The names of the arguments that are tensors (or None)."""
        return [part.split()[-1] for part in self.arguments.split(", ") if part.startswith("Tensor")]


def _extent(x: Tensor, tokens: Tensor | None) -> tuple[Any, Any]:
    """Steps and batch."""
    shape = (x if tokens is None else tokens).shape
    return shape[0], shape[1]


def _elman_shapes(x, h, weight, weight_in, bias_in, tokens, lengths, resets, mask, activation, reverse, keep):
    steps, batch = _extent(x, tokens)
    hidden = h.shape[1]
    return (steps, batch, hidden), (batch, hidden), (steps, batch, hidden) if keep else (0,)


def _gru_shapes(x, h, weight, bias, weight_in, bias_in, tokens, lengths, resets, mask, reset_after, reverse, keep):
    steps, batch = _extent(x, tokens)
    hidden = h.shape[1]
    return (steps, batch, hidden), (batch, hidden), (steps, batch, 4 * hidden) if keep else (0,)


def _lstm_shapes(
    x, h, c, weight, weight_in, bias_in, tokens, lengths, resets, mask, peepholes, projection, reverse, keep,
):  # fmt: skip
    steps, batch = _extent(x, tokens)
    hidden, width = c.shape[1], h.shape[1]
    gates, cells = ((steps, batch, 4 * hidden), (steps, batch, hidden)) if keep else ((0,), (0,))
    return (steps, batch, width), (batch, width), (batch, hidden), gates, cells


_WEIGHTS = ("weight_in", "bias_in")

KERNELS: dict[str, Kernel] = {
    kernel.name: kernel
    for kernel in (
        Kernel(
            name="elman",
            arguments=f"Tensor x, Tensor h, Tensor weight, {_OPTIONS}, str activation, bool reverse, bool keep",
            results="Tensor outputs, Tensor h_last, Tensor gates",
            saved=1,
            needs_saved=False,
            differentiable=("x", "h", "weight", *_WEIGHTS),
            shapes=_elman_shapes,
        ),
        Kernel(
            name="gru",
            arguments=f"Tensor x, Tensor h, Tensor weight, Tensor? bias, {_OPTIONS}, "
            "bool reset_after, bool reverse, bool keep",
            results="Tensor outputs, Tensor h_last, Tensor gates",
            saved=1,
            needs_saved=True,
            differentiable=("x", "h", "weight", "bias", *_WEIGHTS),
            shapes=_gru_shapes,
        ),
        Kernel(
            name="lstm",
            arguments=f"Tensor x, Tensor h, Tensor c, Tensor weight, {_OPTIONS}, Tensor? peepholes, "
            "Tensor? projection, bool reverse, bool keep",
            results="Tensor outputs, Tensor h_last, Tensor c_last, Tensor gates, Tensor cells",
            saved=2,
            needs_saved=True,
            differentiable=("x", "h", "c", "weight", *_WEIGHTS, "peepholes", "projection"),
            shapes=_lstm_shapes,
        ),
    )
}

library = torch.library.Library("recurra", "DEF")
"""Where all operations are registered."""


def _register(kernel: Kernel) -> None:
    # once here and not at each call: they are worked out from the text of the schema
    name, names, tensors = kernel.name, kernel.names, kernel.tensors
    grad_names = [f"grad_{part.split()[-1]}" for part in kernel.results.split(", ")]
    saved_names = [part.split()[-1] for part in kernel.results.split(", ")]
    kept = [saved_names[0], *saved_names[len(saved_names) - kernel.saved :]]  # outputs, gates, cells

    # ---- forward
    library.define(f"{name}({kernel.arguments}) -> ({kernel.results})")
    forward = getattr(torch.ops.recurra, name).default
    library.impl(name, getattr(reference, name), "CompositeExplicitAutograd")
    if name in native.KERNELS:
        library.impl(name, native.forward(name, names), "CPU")
        library.impl(name, gpu.forward(name, names), "CUDA")

    def forward_shape(*args: Any) -> tuple[Tensor, ...]:
        return tuple(args[0].new_empty(shape) for shape in kernel.shapes(*args))

    torch.library.register_fake(f"recurra::{name}", forward_shape, lib=library)

    # ---- backward: one gradient for each differentiable argument, empty where that argument was None
    optional_grads = ", ".join(f"Tensor? {grad}" for grad in grad_names)
    kept_arguments = ", ".join(f"Tensor {part}" for part in kept)
    results = ", ".join(f"Tensor d_{part}" for part in kernel.differentiable)
    library.define(
        f"{name}_backward({optional_grads}, {kernel.arguments}, {kept_arguments}, bool need_x) -> ({results})"
    )
    backward = getattr(torch.ops.recurra, f"{name}_backward").default

    def derived(*args: Any) -> tuple[Tensor | None, ...]:
        grads, inputs = args[: len(grad_names)], dict(zip(names, args[len(grad_names) :], strict=False))
        with torch.no_grad():
            wanted = kernel.differentiable if args[-1] else kernel.differentiable[1:]
            found = derived_gradient(getattr(reference, name), wanted, {**inputs, "keep": True}, grads)
        return tuple(found.get(part, inputs["x"].new_empty(0)) for part in kernel.differentiable)

    def backward_shape(*args: Any) -> tuple[Tensor, ...]:
        inputs = dict(zip(names, args[len(grad_names) :], strict=False))
        given = {part: inputs[part] for part in kernel.differentiable}
        if not args[-1]:
            given["x"] = None
        return tuple(inputs["x"].new_empty(0 if value is None else value.shape) for value in given.values())

    library.impl(f"{name}_backward", derived, "CompositeExplicitAutograd")
    by_hand: Callable[..., Any] = backward
    if name in native.KERNELS:
        through_gates = len(grad_names) - kernel.saved
        by_hand = native.backward(name, names, grad_names, through_gates, derived)
        library.impl(f"{name}_backward", by_hand, "CPU")
        on_gpu = gpu.backward(name, names, grad_names, through_gates, derived)
        library.impl(f"{name}_backward", on_gpu, "CUDA")
    torch.library.register_fake(f"recurra::{name}_backward", backward_shape, lib=library)

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.set_materialize_grads(False)
        ctx.choice = native.handed_on(inputs[1])
        ctx.plain = {key: value for key, value in zip(names, inputs, strict=True) if key not in tensors}
        given = [value for key, value in zip(names, inputs, strict=True) if key in tensors]
        ctx.save_for_backward(*given, output[0], *output[len(output) - kernel.saved :])

    def gradient(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        with native.told(ctx.choice):
            return gradient_as_chosen(ctx, *grads)

    def gradient_as_chosen(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        given = dict(zip(tensors, saved, strict=False))
        inputs = {key: given[key] if key in given else ctx.plain[key] for key in names}
        needed = {key for key, need in zip(names, ctx.needs_input_grad, strict=True) if need}
        through_gates = grads[len(grads) - kernel.saved] is not None
        # gates that were not asked for may be there all the same (`recompute.py`)
        missing = kernel.needs_saved and not inputs["keep"] and saved[len(tensors) + 1].numel() == 0
        if torch.is_grad_enabled() or through_gates or missing or differentiated(*grads):
            from recurra.kernels import layer_programs  # (it uses the operations that are made here)

            wanted = [key for key in kernel.differentiable if key in needed]
            found = layer_programs.gradient(name, wanted, inputs, grads, kernel.saved)
        else:
            alone = unwatched() and _plain((*grads, given["x"])) and not batched_by_autograd(*grads)
            run = by_hand if alone else backward
            results = run(*grads, *inputs.values(), *saved[len(tensors) :], "x" in needed)
            found = dict(zip(kernel.differentiable, results, strict=True))
        return tuple(found[key] if key in needed and key in found else None for key in names)

    torch.library.register_autograd(f"recurra::{name}", gradient, setup_context=setup_context, lib=library)
    torch.library.register_vmap(f"recurra::{name}", one_by_one(forward), lib=library)
    torch.library.register_vmap(f"recurra::{name}_backward", one_by_one(backward), lib=library)
    _FORWARD[name] = forward
    if name in native.KERNELS:
        _RECORDED[name] = _recorded_by_autograd(native.forward(name, names), setup_context, gradient)


def _recorded_by_autograd(forward: Callable[..., Any], setup_context: Any, gradient: Any) -> type:
    """The operation as a function of autograd: what `torch.library` records, for half its time a call."""

    class Recorded(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *values: Any) -> tuple[Tensor, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
            results = forward(*values)
            setup_context(ctx, values, results)
            return results

        @staticmethod
        def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore
            return gradient(ctx, *grads)

    return Recorded


def _plain(values: Sequence[Any]) -> bool:
    """Whether all tensors are ordinary ones in the processor's memory."""
    return all(
        (type(value) is Tensor or type(value) is Parameter) and value.is_cpu
        for value in values
        if isinstance(value, Tensor)
    )


_FORWARD: dict[str, Any] = {}
_RECORDED: dict[str, Any] = {}
for _kernel in KERNELS.values():
    _register(_kernel)

library.define("linear(Tensor x, Tensor weight, Tensor? bias) -> Tensor")
library.impl("linear", reference.linear, "CompositeExplicitAutograd")
library.impl("linear", native.linear, "CPU")


def _linear_shape(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty((*x.shape[:-1], weight.shape[0]))


torch.library.register_fake("recurra::linear", _linear_shape, lib=library)
torch.library.register_vmap("recurra::linear", one_by_one(torch.ops.recurra.linear.default), lib=library)

# ---- the loss: its results are the sum and, computed in the same pass, the gradients of what needs one
_LOSS_INPUTS: tuple[str, ...] = ("hidden", "weight", "bias", "targets", "mask")
library.define(
    "cross_entropy(Tensor hidden, Tensor weight, Tensor? bias, Tensor targets, Tensor? mask, bool need_hidden, "
    "bool need_weight, bool need_bias) -> (Tensor total, Tensor d_hidden, Tensor d_weight, Tensor d_bias)"
)
library.impl("cross_entropy", loss.cross_entropy, "CompositeExplicitAutograd")
torch.library.register_fake("recurra::cross_entropy", loss.without_values, lib=library)


def _loss_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(*inputs[:5], *output[1:])
    ctx.computed = inputs[5:]


def _loss_gradient(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    saved = ctx.saved_tensors
    needed = ctx.needs_input_grad[:3]
    if torch.is_grad_enabled() or any(need and not there for need, there in zip(needed, ctx.computed, strict=True)):
        inputs = dict(zip(_LOSS_INPUTS, saved, strict=False))
        wanted = [name for name, need in zip(_LOSS_INPUTS, needed, strict=False) if need]
        derived = derived_gradient(_plain_loss, wanted, inputs, [grad])
        found = [derived.get(name) for name in _LOSS_INPUTS[:3]]
    elif _is_one(grad):
        found = saved[5:]
    else:
        found = [value * grad for value in saved[5:]]
    return (*(value if need else None for need, value in zip(needed, found, strict=True)), *[None] * 5)


def _plain_loss(**inputs: Any) -> tuple[Tensor]:
    return (reference.cross_entropy(**inputs),)


def _is_one(grad: Tensor) -> bool:
    """Whether the loss itself is differentiated, so that nothing need be scaled; only where to look costs nothing."""
    return grad.device.type == "cpu" and open_to_view(grad) and grad.detach().item() == 1.0


torch.library.register_autograd("recurra::cross_entropy", _loss_gradient, setup_context=_loss_context, lib=library)
torch.library.register_vmap("recurra::cross_entropy", one_by_one(torch.ops.recurra.cross_entropy.default), lib=library)


def recording(*tensors: Tensor | None) -> bool:
    """Whether a gradient is being recorded for any of these: training, as opposed to inference."""
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)


def needed(*tensors: Tensor | None) -> bool:
    """Whether backward will ask for what a call on these can keep for it."""
    return recording(*tensors) and not passing()


def layer(name: str, *values: Any, gates: bool = True) -> Any:
    """The operation of the table with this name, its arguments in order; its reference where the call is transformed.

    Without `gates` nobody reads the results that the gradient keeps, and they may be left empty.
    """
    if watched() and transformed(*(value for value in values if isinstance(value, Tensor))):
        return getattr(reference, name)(*values)
    if torch.is_grad_enabled() and unwatched() and name in _RECORDED and _plain(values):
        return _RECORDED[name].apply(*values)
    if not gates and values[1].is_cuda and torch.is_grad_enabled() and unwatched():
        by_cudnn = gpu.recorded(name, KERNELS[name].names, values, _FORWARD[name])
        if by_cudnn is not None:
            return by_cudnn
    return _FORWARD[name](*values)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x[..., K] W[M, K]^T + b[M].

    In inference on the CPU every output is one chain of additions in a fixed order (native), so it depends neither on the
    batch nor on how the sequence was cut; while a gradient is recorded it is one product of BLAS.
    """
    if recording(x, weight, bias) or transformed(x, weight, bias):
        return reference.linear(x, weight, bias)
    return torch.ops.recurra.linear.default(x, weight, bias)


def cross_entropy(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, mask: Tensor | None = None
) -> Tensor:
    """The sum of -log p(target) in nats, p = softmax(W (mask hidden) + b): a head and its loss, without all logits at once.

    hidden[T, B, H] or [N, H], weight[V, H], bias[V] or None, targets[T, B] or [N] int64, mask[B, H] as dropout has it (no
    gradient goes to it). Gradients of every order. Raises `DataError` for wrong shapes and for targets outside 0..V-1.
    """
    if hidden.dim() == 2:
        hidden, targets = hidden[None], targets[None]
    if transformed(hidden, weight, bias, targets, mask):
        loss.check(hidden, weight, bias, targets, mask, values=False)
        return reference.cross_entropy(hidden, weight, bias, targets, mask)
    needs = [recording(value) for value in (hidden, weight, bias)]
    return torch.ops.recurra.cross_entropy.default(hidden, weight, bias, targets, mask, *needs)[0]
