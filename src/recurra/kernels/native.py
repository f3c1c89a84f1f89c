"""The native build as the CPU backend: what it takes, what it refuses and why, and how its results are laid out.

The time loop is native; the weight gradients around it are single large products and go to BLAS. Results are allocated
here and filled there. A call that the native build does not take runs the reference: under the choice "auto" with one
warning for each reason, under "native" with an error.
"""

from __future__ import annotations

import contextvars
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils.dlpack import to_dlpack  # pyright: ignore[reportPrivateImportUsage]

from recurra.errors import UsageError
from recurra.kernels import reference

_native: Any = None
missing: str | None = None
try:
    from recurra import _native as _built  # pyright: ignore[reportAttributeAccessIssue]

    _native = _built
except ImportError as error:
    missing = f"the native build cannot be loaded ({error})"

BACKENDS = ("auto", "native", "reference")
ACTIVATIONS = {"tanh": 0, "relu": 1, "sigmoid": 2, "identity": 3}
_DTYPES = (torch.float32, torch.float64)

_choice: contextvars.ContextVar[str] = contextvars.ContextVar("recurra_backend", default="auto")
_warned: set[str] = set()


class BackendWarning(UserWarning):
    """A slower backend runs than the one that was hoped for; the text says why."""


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Choose the backend on the CPU inside the block: "auto", "native" (or an error) or "reference"."""
    if name not in BACKENDS:
        raise UsageError(f"There is no backend '{name}'", expected=", ".join(BACKENDS))
    token = _choice.set(name)
    try:
        yield
    finally:
        _choice.reset(token)


def unsupported(
    dtype: torch.dtype,
    *,
    norm: Tensor | None = None,
    norm_cell: Tensor | None = None,
    peepholes: Tensor | None = None,
    projection: Tensor | None = None,
    activation: str = "tanh",
    **_: Any,
) -> str | None:
    """Why the native build does not take such a call, or None if it does."""
    if missing is not None:
        return missing
    if dtype not in _DTYPES:
        return f"it has no {str(dtype).removeprefix('torch.')}"
    if activation not in ACTIVATIONS:
        return f"it has no activation '{activation}'"
    options = {"norm": norm, "norm_cell": norm_cell, "peepholes": peepholes, "projection": projection}
    given = [name for name, value in options.items() if value is not None]
    return f"it has no {' and no '.join(given)}" if given else None


def instruction_set() -> str:
    """The vector instructions that the native build uses here."""
    return "none" if _native is None else _native.simd()


def instruction_sets() -> list[str]:
    """All that it was built for and this machine has."""
    return [] if _native is None else list(_native.available_simd())


def _serves(kernel: str, dtype: torch.dtype, inputs: dict[str, Any]) -> bool:
    choice = _choice.get()
    if choice == "reference":
        return False
    reason = unsupported(dtype, **inputs)
    if reason is None:
        return True
    if choice == "native":
        raise UsageError(
            f"The native backend cannot run '{kernel}'", got=reason, fix="Choose the backend 'auto' or 'reference'"
        )
    if reason not in _warned:
        _warned.add(reason)
        warnings.warn(
            f"recurra: the reference runs '{kernel}' instead of the native kernel, because {reason}. "
            "It is right but slow; `recurra doctor` shows every kernel.",
            BackendWarning,
            stacklevel=2,
        )
    return False


def forward(kernel: str, names: Sequence[str]) -> Callable[..., Any]:
    """The CPU implementation of a kernel's forward operation, whose arguments have these names."""
    run, slow = _FORWARD[kernel], getattr(reference, kernel)

    def implementation(*args: Any) -> tuple[Tensor, ...]:
        inputs = dict(zip(names, args, strict=True))
        if not _serves(kernel, args[0].dtype, inputs):
            return slow(*args)
        return run(**inputs)

    return implementation


def backward(
    kernel: str, names: Sequence[str], grad_names: Sequence[str], gates: int, derived: Callable[..., Any]
) -> Callable[..., Any]:
    """The CPU implementation of a kernel's backward operation: gradients, the forward's arguments, what it kept.

    `gates` is the place of the gradient of the gates, which only `derived`, the operation made from the reference, takes.
    """
    run, count = _BACKWARD[kernel], len(grad_names)

    def implementation(*args: Any) -> tuple[Tensor, ...]:
        grads, rest = args[:count], args[count:]
        inputs, kept = dict(zip(names, rest, strict=False)), rest[len(names) :]
        if grads[gates] is not None or not _serves(kernel, inputs["x"].dtype, inputs):
            return derived(*args)
        return run(grads, inputs, kept)

    return implementation


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x[..., K] W[M, K]^T + b[M], each output one chain of fused multiply-adds over K in ascending order."""
    if not _serves("linear", x.dtype, {}):
        return reference.linear(x, weight, bias)
    rows = x.reshape(-1, x.shape[-1])
    out = x.new_empty(rows.shape[0], weight.shape[0])
    _native.linear(_view(rows), _view(weight), _view(bias), _view(out), torch.get_num_threads())
    return out.view(*x.shape[:-1], weight.shape[0])


def _view(tensor: Tensor | None) -> Any:
    """A capsule of the memory (contiguous), which the native side reads without a copy."""
    return None if tensor is None else to_dlpack(tensor.detach().contiguous())


def _elman_forward(x, h, weight, lengths, resets, mask, norm, activation, reverse, keep):
    outputs, h_last = x.new_empty(x.shape), h.new_empty(h.shape)
    gates = x.new_empty(x.shape if keep else 0)
    _native.elman_forward(
        _view(x), _view(h), _view(weight), _view(lengths), _view(resets), _view(mask), ACTIVATIONS[activation], reverse,
        _view(outputs), _view(h_last), _view(gates) if keep else None, torch.get_num_threads(),
    )  # fmt: skip
    return outputs, h_last, gates


def _gru_forward(x, h, weight, bias, lengths, resets, mask, norm, reset_after, reverse, keep):
    outputs, h_last = x.new_empty(*x.shape[:2], h.shape[1]), h.new_empty(h.shape)
    gates = x.new_empty((*x.shape[:2], 4 * h.shape[1]) if keep else 0)
    _native.gru_forward(
        _view(x), _view(h), _view(weight), _view(bias), _view(lengths), _view(resets), _view(mask), reset_after, reverse,
        _view(outputs), _view(h_last), _view(gates) if keep else None, torch.get_num_threads(),
    )  # fmt: skip
    return outputs, h_last, gates


def _lstm_forward(x, h, c, weight, lengths, resets, mask, norm, norm_cell, peepholes, projection, reverse, keep):
    steps, batch = x.shape[:2]
    outputs, h_last, c_last = x.new_empty(steps, batch, h.shape[1]), h.new_empty(h.shape), c.new_empty(c.shape)
    gates = x.new_empty(x.shape if keep else 0)
    cells = x.new_empty((steps, batch, c.shape[1]) if keep else 0)
    _native.lstm_forward(
        _view(x), _view(h), _view(c), _view(weight), _view(lengths), _view(resets), _view(mask), reverse,
        _view(outputs), _view(h_last), _view(c_last), _view(gates) if keep else None, _view(cells) if keep else None,
        torch.get_num_threads(),
    )  # fmt: skip
    return outputs, h_last, c_last, gates, cells


def _elman_backward(grads: Any, inputs: dict[str, Any], kept: Any) -> tuple[Tensor, ...]:
    x, h, weight = inputs["x"], inputs["h"], inputs["weight"]
    outputs, gates = kept
    grad_x, grad_h = x.new_empty(x.shape), h.new_empty(h.shape)
    _native.elman_backward(
        _view(grads[0]), _view(grads[1]), _view(weight), *_rows(inputs), ACTIVATIONS[inputs["activation"]],
        inputs["reverse"], _view(outputs), _view(gates), _view(grad_x), _view(grad_h), torch.get_num_threads(),
    )  # fmt: skip
    grad_weight = _weight_gradient(grad_x, _previous(outputs, inputs), inputs)
    return grad_x, grad_h, grad_weight, x.new_empty(0)


def _gru_backward(grads: Any, inputs: dict[str, Any], kept: Any) -> tuple[Tensor, ...]:
    x, h, weight, bias = inputs["x"], inputs["h"], inputs["weight"], inputs["bias"]
    outputs, gates = kept
    hidden = h.shape[1]
    grad_x, grad_q, grad_h = x.new_empty(x.shape), x.new_empty(outputs.shape), h.new_empty(h.shape)
    _native.gru_backward(
        _view(grads[0]), _view(grads[1]), _view(weight), _view(h), *_rows(inputs), inputs["reset_after"],
        inputs["reverse"], _view(outputs), _view(gates), _view(grad_x), _view(grad_q), _view(grad_h),
        torch.get_num_threads(),
    )  # fmt: skip
    previous = _previous(outputs, inputs)
    before_n = previous if inputs["reset_after"] else [part * r for part, r in _beside(previous, gates[..., :hidden])]
    grad_weight = torch.cat(
        [
            _weight_gradient(grad_x[..., : 2 * hidden], previous, inputs),
            _weight_gradient(grad_q, before_n, inputs),
        ]
    )
    grad_bias = x.new_empty(0) if bias is None else grad_q.sum(dim=(0, 1))
    return grad_x, grad_h, grad_weight, grad_bias, x.new_empty(0)


def _lstm_backward(grads: Any, inputs: dict[str, Any], kept: Any) -> tuple[Tensor, ...]:
    x, h, c, weight = inputs["x"], inputs["h"], inputs["c"], inputs["weight"]
    outputs, gates, cells = kept
    grad_x, grad_h, grad_c = x.new_empty(x.shape), h.new_empty(h.shape), c.new_empty(c.shape)
    _native.lstm_backward(
        _view(grads[0]), _view(grads[1]), _view(grads[2]), _view(grads[4]), _view(weight), _view(c), *_rows(inputs),
        inputs["reverse"], _view(gates), _view(cells), _view(grad_x), _view(grad_h), _view(grad_c),
        torch.get_num_threads(),
    )  # fmt: skip
    empty = x.new_empty(0)
    grad_weight = _weight_gradient(grad_x, _previous(outputs, inputs), inputs)
    return grad_x, grad_h, grad_c, grad_weight, empty, empty, empty, empty


def _rows(inputs: dict[str, Any]) -> tuple[Any, ...]:
    """What says which rows take part, as the native side wants it."""
    return _view(inputs["lengths"]), _view(inputs["resets"]), _view(inputs["mask"])


def _previous(outputs: Tensor, inputs: dict[str, Any]) -> list[Tensor]:
    """The state before each step, in one or two pieces along time so that nothing is copied where it need not be."""
    h, resets = inputs["h"], inputs["resets"]
    steps, batch = outputs.shape[:2]
    if steps == 0:
        return []
    if inputs["lengths"] is not None and inputs["reverse"]:
        # a row starts at its own last step, so the given state belongs there and not after the padding
        last = torch.clamp(inputs["lengths"] - 1, min=0)
        shifted = torch.cat([outputs[1:], h[None]])
        shifted[last, torch.arange(batch)] = h
        pieces = [shifted]
    elif inputs["reverse"]:
        pieces = [outputs[1:], h[None]]
    else:
        pieces = [h[None], outputs[:-1]]
    if resets is None:
        return pieces
    return [torch.cat(pieces).masked_fill(resets[..., None], 0.0)]


def _weight_gradient(grad: Tensor, previous: list[Tensor], inputs: dict[str, Any]) -> Tensor:
    """The sum over steps and rows of grad[T, B, G] times the state before each step: one large product a piece."""
    width, hidden, mask = grad.shape[-1], inputs["h"].shape[1], inputs["mask"]
    total: Tensor | None = None
    for part, piece in _beside(previous, grad):
        state = part if mask is None else part * mask
        product = piece.reshape(-1, width).T @ state.reshape(-1, state.shape[-1])
        total = product if total is None else total + product
    return grad.new_zeros(width, hidden) if total is None else total


def _beside(previous: list[Tensor], other: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Each piece of `previous` with the same steps of `other`."""
    return list(zip(previous, other.split([part.shape[0] for part in previous]), strict=True))


_FORWARD = {"elman": _elman_forward, "gru": _gru_forward, "lstm": _lstm_forward}
_BACKWARD = {"elman": _elman_backward, "gru": _gru_backward, "lstm": _lstm_backward}
KERNELS = frozenset(_FORWARD)
"""The kernels that have a native version."""
