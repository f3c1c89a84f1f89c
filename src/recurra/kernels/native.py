"""The native build as the CPU backend: what it takes, what it refuses and why, and how its results are laid out.

Results are allocated here and filled there. A call that the native build does not take runs the reference: under the
choice "auto" with one warning for each reason, under "native" with an error. Numbers in bfloat16 are kept in it and
computed in float32.
"""

from __future__ import annotations

import contextvars
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils import dlpack

from recurra.errors import UsageError
from recurra.kernels import reference

capsule: Callable[[Tensor], Any] = dlpack.to_dlpack  # pyright: ignore[reportPrivateImportUsage]
"""The memory of a contiguous tensor, as the native side takes it: without a copy."""

ABI = 2
"""The arguments of the native functions, counted: raised here and in native/bindings.cpp when those of one change."""


def unfit(built: Any) -> str | None:
    """Why a native module cannot be called from this package, or None if it can: it may be left from an older build."""
    if built.abi == ABI:
        return None
    return (
        f"the native build has the functions of version {built.abi}, this package calls those of version {ABI}: "
        "install the package again"
    )


_native: Any = None
missing: str | None = None
try:
    from recurra import _native as _built  # pyright: ignore[reportAttributeAccessIssue]
except ImportError as error:
    missing = f"the native build cannot be loaded ({error})"
else:
    missing = unfit(_built)
    if missing is None:
        _native = _built

BACKENDS = ("auto", "native", "reference")
ACTIVATIONS = {"tanh": 0, "relu": 1, "sigmoid": 2, "identity": 3}
GATES = {"elman": 1, "gru": 3, "lstm": 4}
KERNELS = frozenset(GATES)
"""The kernels that have a native version."""

_DTYPES = (torch.float32, torch.float64, torch.bfloat16)

_choice: contextvars.ContextVar[str] = contextvars.ContextVar("recurra_backend", default="auto")
_warned: set[str] = set()


class BackendWarning(UserWarning):
    """A slower backend runs than the one that was hoped for; the text says why."""


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Choose the backend inside the block: "auto", on the CPU "native" (or an error), or anywhere "reference"."""
    if name not in BACKENDS:
        raise UsageError(f"There is no backend '{name}'", expected=", ".join(BACKENDS))
    token = _choice.set(name)
    try:
        yield
    finally:
        _choice.reset(token)


def chosen() -> str:
    """The backend that was chosen for this place in the program."""
    return _choice.get()


def handed_on(like: Tensor) -> str | None:
    """The choice that the gradient of a call on this tensor must be told of, or None where it can see one itself.

    Backward on a GPU runs in a thread of torch's, which no choice made in this one reaches.
    """
    return _choice.get() if like.is_cuda else None


def told(choice: str | None) -> AbstractContextManager[None]:
    """Within, what `handed_on` gave is the choice."""
    return nullcontext() if choice is None or choice == _choice.get() else backend(choice)


def unsupported(
    dtype: torch.dtype,
    *,
    activation: str = "tanh",
    **_: Any,
) -> str | None:
    """Why the native build does not take such a call, or None if it does."""
    if missing is not None:
        return missing
    if dtype not in _DTYPES:
        return f"it has no {str(dtype).removeprefix('torch.')}"
    return None if activation in ACTIVATIONS else f"it has no activation '{activation}'"


def usable() -> bool:
    """Whether the native build is there, and no other backend was asked for."""
    return missing is None and _choice.get() != "reference"


def module() -> Any:
    """The native module itself."""
    return _native


def likeliest(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(classes[B, count], probabilities[B, count] in float64) of logits[B, V], likeliest first: softmax in double."""
    if not usable() or logits.dtype not in (torch.float32, torch.float64) or logits.device.type != "cpu":
        probabilities, classes = logits.cpu().double().softmax(dim=-1).topk(count, dim=-1)
        return classes, probabilities
    classes = torch.empty((logits.shape[0], count), dtype=torch.int64)
    probabilities = torch.empty((logits.shape[0], count), dtype=torch.float64)
    _native.likeliest(memory(logits), count, memory(classes), memory(probabilities))
    return classes, probabilities


def instruction_set() -> str:
    """The vector instructions that the native build uses here."""
    return "none" if _native is None else _native.simd()


def instruction_sets() -> list[str]:
    """All that it was built for and this machine has."""
    return [] if _native is None else list(_native.available_simd())


def serves(kernel: str, dtype: torch.dtype, inputs: dict[str, Any] | None = None) -> bool:
    """Whether the native build runs this call; warns or raises, as the chosen backend says, where it does not."""
    choice = _choice.get()
    if choice == "reference":
        return False
    reason = unsupported(dtype, **(inputs or {}))
    if reason is None:
        return True
    if choice == "native":
        raise UsageError(
            f"The native backend cannot run '{kernel}'", got=reason, fix="Choose the backend 'auto' or 'reference'"
        )
    warn_once(f"the reference runs '{kernel}' instead of the native kernel, because {reason}")
    return False


def warn_once(what: str, so: str = "It is right but slow") -> None:
    """Say, the first time, that something runs otherwise than it was hoped for, and what comes of it."""
    if what not in _warned:
        _warned.add(what)
        text = f"recurra: {what}. {so}; `recurra doctor` shows every kernel."
        warnings.warn(text, BackendWarning, stacklevel=3)


def forward(kernel: str, names: Sequence[str]) -> Callable[..., Any]:
    """The CPU implementation of a kernel's forward operation, whose arguments have these names."""
    slow = getattr(reference, kernel)

    def implementation(*args: Any) -> tuple[Tensor, ...]:
        inputs = dict(zip(names, args, strict=True))
        if not serves(kernel, args[0].dtype, inputs):
            return slow(*args)
        if args[0].dtype == torch.bfloat16:
            return _narrow(_forward(kernel, _wide(inputs)))
        return _forward(kernel, inputs)

    return implementation


def backward(
    kernel: str, names: Sequence[str], grad_names: Sequence[str], gates: int, derived: Callable[..., Any]
) -> Callable[..., Any]:
    """The CPU implementation of a kernel's backward operation: gradients, the forward's arguments, what it kept.

    `gates` is the place of the gradient of the gates, which only `derived`, the operation made from the reference, takes.
    """
    count = len(grad_names)

    def implementation(*args: Any) -> tuple[Tensor, ...]:
        grads, inputs = dict(zip(grad_names, args, strict=False)), dict(zip(names, args[count:], strict=False))
        if args[gates] is not None or not serves(kernel, inputs["x"].dtype, inputs):
            return derived(*args)
        *rest, need_x = args[count + len(names) :]
        kept: dict[str, Any] = dict(zip(["outputs", "gates", "cells"], rest, strict=False))
        if inputs["x"].dtype == torch.bfloat16:
            return _narrow(_backward(kernel, _wide(grads), _wide(inputs), _wide(kept), need_x))
        return _backward(kernel, grads, inputs, kept, need_x)

    return implementation


def _wide(values: dict[str, Any]) -> dict[str, Any]:
    """The same in float32, where it was in bfloat16."""
    return {
        name: value.float() if isinstance(value, Tensor) and value.dtype == torch.bfloat16 else value
        for name, value in values.items()
    }


def _narrow(values: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(value.bfloat16() for value in values)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x[..., K] W[M, K]^T + b[M], each output one chain of fused multiply-adds over K in ascending order."""
    if not serves("linear", x.dtype, {}):
        return reference.linear(x, weight, bias)
    if x.dtype == torch.bfloat16:
        return linear(x.float(), weight.float(), None if bias is None else bias.float()).bfloat16()
    rows = x.reshape(-1, x.shape[-1])
    out = x.new_empty(rows.shape[0], weight.shape[0])
    _native.linear(memory(rows), memory(weight), memory(bias), memory(out), torch.get_num_threads())
    return out.view(*x.shape[:-1], weight.shape[0])


def memory(tensor: Tensor | None) -> Any:
    """A capsule of the memory (contiguous), which the native side reads without a copy."""
    return None if tensor is None else capsule(tensor if tensor.is_contiguous() else tensor.detach().contiguous())


def _cell(kernel: str, inputs: dict[str, Any]) -> tuple[int, int, bool]:
    """Which cell this is to the native side, its activation, and its direction."""
    number = {"elman": 0, "gru": 1 if inputs.get("reset_after") else 2, "lstm": 3}[kernel]
    return number, ACTIVATIONS[inputs.get("activation", "tanh")], inputs["reverse"]


def _forward(kernel: str, inputs: dict[str, Any]) -> tuple[Tensor, ...]:
    x, h, tokens, keep = inputs["x"], inputs["h"], inputs["tokens"], inputs["keep"]
    lstm = kernel == "lstm"
    steps, batch = (x if tokens is None else tokens).shape[:2]
    units = inputs["weight"].shape[0] // GATES[kernel]
    outputs, h_last = x.new_empty(steps, batch, h.shape[1]), x.new_empty(h.shape)
    gates = x.new_empty((steps, batch, (1 if kernel == "elman" else 4) * units) if keep else 0)
    c_last = x.new_empty(batch, units) if lstm else None
    cells = x.new_empty((steps, batch, units) if keep else 0) if lstm else None
    view = {name: memory(value) for name, value in inputs.items() if isinstance(value, Tensor)}.get
    _native.forward(
        *_cell(kernel, inputs), view("x"), view("tokens"), view("weight_in"), view("bias_in"), view("h"), view("c"),
        view("weight"), view("bias"), view("peepholes"), view("projection"), view("lengths"), view("resets"),
        view("mask"), memory(outputs), memory(h_last), memory(c_last), memory(gates) if keep else None,
        memory(cells) if keep else None, torch.get_num_threads(),
    )  # fmt: skip
    return (outputs, h_last, c_last, gates, cells) if lstm else (outputs, h_last, gates)  # pyright: ignore


def _backward(
    kernel: str, grads: dict[str, Any], inputs: dict[str, Any], kept: dict[str, Tensor], need_x: bool
) -> tuple[Tensor, ...]:
    lstm = kernel == "lstm"
    names = ["h", *(["c"] if lstm else []), "weight", *(["bias"] if kernel == "gru" else []), "weight_in", "bias_in"]
    names += ["peepholes", "projection"] if lstm else []
    found = {name: inputs[name].new_empty(inputs[name].shape) for name in names if inputs[name] is not None}
    if need_x:
        found["x"] = inputs["x"].new_empty(inputs["x"].shape)
    view = {name: memory(value) for name, value in inputs.items() if isinstance(value, Tensor)}.get
    into = {name: memory(value) for name, value in found.items()}.get
    came = {name: memory(value) for name, value in grads.items()}.get
    _native.backward(
        came("grad_outputs"), came("grad_h_last"), came("grad_c_last"), came("grad_cells"), *_cell(kernel, inputs),
        view("x"), view("tokens"), view("weight_in"), view("h"), view("c"), view("weight"), view("peepholes"),
        view("projection"), view("lengths"), view("resets"), view("mask"), memory(kept["outputs"]),
        None if kernel == "elman" else memory(kept["gates"]), memory(kept["cells"]) if lstm else None, into("x"),
        into("h"), into("c"), into("weight_in"), into("bias_in"), into("weight"), into("bias"), into("peepholes"),
        into("projection"), torch.get_num_threads(),
    )  # fmt: skip
    empty = inputs["x"].new_empty(0)
    order = ["x", "h", *(["c"] if lstm else []), "weight", *(["bias"] if kernel == "gru" else [])]
    order += ["weight_in", "bias_in", *(["peepholes", "projection"] if lstm else [])]
    return tuple(found.get(name, empty) for name in order)
