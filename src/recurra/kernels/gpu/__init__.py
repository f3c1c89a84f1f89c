"""The backend of CUDA devices: cuDNN where it can serve a call, Triton where that can, else the reference, with the reason.

What is chosen depends on what was asked for alone, never on sizes or on what happened before. Nothing here imports Triton
before a call needs it. These kernels were checked in Triton's interpreter and by its compiler, not yet on a GPU: they run
only where `RECURRA_GPU=1` stands in the environment. See docs/gpu.md.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from recurra.kernels import native, reference
from recurra.kernels.sweeps import by_reference

_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
LINEAR = frozenset({"mingru", "minlstm", "rglru", "lru"})
"""The sweeps that are scans."""
ENABLED = os.environ.get("RECURRA_GPU") == "1"
"""Whether anything but the reference runs on a GPU: what nobody has seen run on one is nobody's default."""
NOT_ASKED = "our kernels for GPUs have not run on one yet; RECURRA_GPU=1 in the environment lets them"
_DIFFERENTIABLE = ("x", "h", "c", "weight", "bias", "weight_in", "bias_in", "peepholes", "projection")


def cudnn_there() -> bool:
    return torch.backends.cudnn.is_available()


def triton_there() -> bool:
    return find_spec("triton") is not None


def not_by_cudnn(kernel: str, inputs: dict[str, Any]) -> str | None:
    """Why cuDNN cannot serve a call with these arguments by name, or None if it can."""
    get, activation = inputs.get, inputs.get("activation", "tanh")
    reasons = [
        (not cudnn_there(), "this torch has no cuDNN"),
        (inputs["h"].dtype not in _DTYPES, f"cuDNN has no {str(inputs['h'].dtype).removeprefix('torch.')}"),
        (get("keep"), "cuDNN gives no gates, which were asked for or are needed for gradients"),
        (get("lengths") is not None, "rows end at different steps"),
        (get("resets") is not None, "states are reset inside of the sequence"),
        (get("mask") is not None, "a dropout mask acts on the state"),
        (get("tokens") is not None, "tokens choose from a table of inputs"),
        (get("weight_in") is None, "the inputs come projected"),
        (not get("reset_after", True), "the reset gate acts before the product"),
        (get("peepholes") is not None, "there are peepholes"),
        (get("projection") is not None, "the output is projected"),
        (activation not in ("tanh", "relu"), f"cuDNN has no activation '{activation}'"),
        (0 in (*inputs["x"].shape, *inputs["h"].shape), "there is nothing to run"),
    ]
    return next((reason for holds, reason in reasons if holds), None)


def not_by_triton(kernel: str, inputs: dict[str, Any]) -> str | None:
    """Why our Triton kernels cannot serve a call with these arguments by name, or None if they can."""
    get, activation = inputs.get, inputs.get("activation", "tanh")
    reasons = [
        (not triton_there(), "Triton is not installed"),
        (inputs["h"].dtype not in _DTYPES, f"they have no {str(inputs['h'].dtype).removeprefix('torch.')}"),
        (not get("reset_after", True), "they have no reset gate before the product"),
        (get("peepholes") is not None, "they have no peepholes"),
        (get("projection") is not None, "they have no projection"),
        (activation not in native.ACTIVATIONS, f"they have no activation '{activation}'"),
    ]
    return next((reason for holds, reason in reasons if holds), None)


def _withheld() -> str | None:
    """Why nothing but the reference is to run, or None."""
    if native.chosen() == "reference":
        return "the backend 'reference' was chosen"
    return None if ENABLED else NOT_ASKED


def choose(kernel: str, inputs: dict[str, Any]) -> tuple[str, str]:
    """What runs such a call on a GPU, "cudnn", "triton" or "reference", and why."""
    withheld = _withheld()
    if withheld is not None:
        return "reference", withheld
    reason = not_by_cudnn(kernel, inputs)
    if reason is None:
        return "cudnn", "a dense call of the plain cell, without gates"
    missing = not_by_triton(kernel, inputs)
    if missing is None:
        return "triton", f"not cuDNN, because {reason}"
    return "reference", f"not cuDNN, because {reason}; not our kernels, because {missing}"


def explain(kernel: str, inputs: dict[str, Any]) -> str:
    """What runs such a call on a GPU and why, in words."""
    road, why = choose(kernel, inputs)
    return f"{'cuDNN' if road == 'cudnn' else road} runs '{kernel}': {why}"


def summary(kernel: str) -> tuple[str, str]:
    """For `recurra doctor`: the backends of a kernel on a GPU, and what is to be known of them."""
    if kernel == "linear":
        return "reference", "one product of torch"
    if not ENABLED:
        return "reference", NOT_ASKED
    checked = "never run on a GPU so far"
    if not triton_there():
        return "cudnn, reference", f"cuDNN for plain calls without gates; Triton is not installed; {checked}"
    return "cudnn, triton", f"cuDNN for plain calls without gates, else Triton; {checked}"


def _slow(kernel: str, why: str) -> None:
    if _withheld() is None:
        native.warn_once(f"the reference runs '{kernel}' on the GPU, because {why}")


def forward(kernel: str, names: Sequence[str]) -> Callable[..., Any]:
    """The CUDA implementation of a kernel's forward operation, whose arguments have these names."""
    slow = getattr(reference, kernel)

    def implementation(*args: Any) -> tuple[Tensor, ...]:
        inputs = dict(zip(names, args, strict=True))
        road, why = choose(kernel, inputs)
        if road == "cudnn":
            from recurra.kernels.gpu import cudnn

            return cudnn.forward(kernel, inputs)
        if road == "triton":
            from recurra.kernels.gpu import layers

            return layers.forward(kernel, inputs)
        _slow(kernel, why)
        return slow(*args)

    return implementation


def backward(
    kernel: str, names: Sequence[str], grad_names: Sequence[str], gates: int, derived: Callable[..., Any]
) -> Callable[..., Any]:
    """The CUDA implementation of a kernel's backward operation; arguments as in `native.backward`."""
    count = len(grad_names)
    order = [name for name in names if name in _DIFFERENTIABLE]

    def implementation(*args: Any) -> tuple[Tensor, ...]:
        grads: dict[str, Any] = dict(zip(grad_names, args, strict=False))
        inputs: dict[str, Any] = dict(zip(names, args[count:], strict=False))
        if args[gates] is not None or (_withheld() or not_by_triton(kernel, inputs)) is not None:
            return derived(*args)
        from recurra.kernels.gpu import layers

        *rest, need_x = args[count + len(names) :]
        kept: dict[str, Any] = dict(zip(["outputs", "gates", "cells"], rest, strict=False))
        found = layers.backward(kernel, grads, inputs, kept, need_x)
        empty: Tensor = inputs["h"].new_empty(0)
        return tuple(found.get(name, empty) for name in order)

    return implementation


def sweep(cell: str, dtype: torch.dtype) -> Callable[..., list[Tensor]]:
    """What runs a sweep on a GPU, with the arguments and results of `sweeps.by_reference`."""
    reasons = [
        (cell not in LINEAR, "its steps are no scan"),
        (not triton_there(), "Triton is not installed"),
        (dtype not in _DTYPES, f"the scan has no {str(dtype).removeprefix('torch.')}"),
    ]
    reason = _withheld() or next((reason for holds, reason in reasons if holds), None)
    if reason is None:
        from recurra.kernels.gpu.sweeps import by_scan

        return by_scan
    _slow(cell, reason)
    return by_reference
