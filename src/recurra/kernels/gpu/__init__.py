"""The backend of CUDA devices: cuDNN where it can serve a call, Triton where that can, else the reference, with the reason.

What is chosen depends on what was asked for, and where both cuDNN and Triton can serve, on which of them was measured to be
faster, once for each shape (`measured.py`). Nothing here imports Triton before a call needs it. cuDNN runs by torch's own
operators. Our kernels were checked in Triton's interpreter and by its compiler, not yet on a GPU: they run only where
`RECURRA_GPU=1` stands in the environment. See docs/gpu.md.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from recurra.errors import UsageError
from recurra.kernels import native, reference
from recurra.kernels.chunkwise import by_chunks
from recurra.kernels.gpu import measured
from recurra.kernels.gpu.rounding import as_tf32
from recurra.kernels.programs import Given, backward_by_torch, by_torch
from recurra.kernels.sweeps import SWEEPS, by_reference
from recurra.kernels.transforms import constant, in_own_dtype

_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
LINEAR = frozenset({"mingru", "minlstm", "rglru", "lru"})
"""The sweeps that are scans."""
IN_CHUNKS = "its steps are products of matrices in chunks, by torch's own operations"
TRITON = (3, 5)
"""The first release of Triton that compiles our kernels: 3.4 stops at products of tf32x3, 3.3 at scans, 3.2 has no gather."""
ENABLED = os.environ.get("RECURRA_GPU") == "1"
"""Whether our own kernels run on a GPU: what nobody has seen run on one is nobody's default."""
NOT_ASKED = "our kernels for GPUs have not run on one yet; RECURRA_GPU=1 in the environment lets them"
NO_BFLOAT16 = "torch has it run bfloat16 from torch 2.10 and cuDNN 9.13 on, from capability 8.0 on"
NO_FLOAT64 = "Triton does not compile their products in float64"
_DIFFERENTIABLE = ("x", "h", "c", "weight", "bias", "weight_in", "bias_in", "peepholes", "projection")


def cudnn_there() -> bool:
    # (torch for ROCm says that cuDNN is there, and means another library)
    return torch.backends.cudnn.is_available() and torch.backends.cudnn.enabled and torch.version.hip is None


def bfloat16_by_cudnn(device: torch.device) -> bool:
    """Whether torch has cuDNN run layers in bfloat16; its operators take any, and go step by step where not."""
    release = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if release < (2, 10) or (torch.backends.cudnn.version() or 0) < 91300:
        return False
    return device.type != "cuda" or torch.cuda.get_device_capability(device)[0] >= 8


def triton_version() -> str:
    return str(import_module("triton").__version__)


@cache
def no_triton() -> str | None:
    """Why no kernel of Triton's can be had, or None. It is looked for once, and imported where it is there."""
    if find_spec("triton") is None:
        return "Triton is not installed"
    try:
        version = triton_version()
    except ImportError as error:
        return f"Triton cannot be imported: {measured.in_short(error)}"
    release = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    return f"our kernels need Triton {'.'.join(map(str, TRITON))} or later, not {version}" if release < TRITON else None


def not_by_cudnn(kernel: str, inputs: dict[str, Any]) -> str | None:
    """Why cuDNN cannot serve a call with these arguments by name, or None if it can."""
    get, activation, dtype = inputs.get, inputs.get("activation", "tanh"), inputs["h"].dtype
    reasons = [
        (not cudnn_there(), "this torch has no cuDNN, or it is switched off"),
        (dtype not in _DTYPES, f"cuDNN has no {str(dtype).removeprefix('torch.')}"),
        (dtype == torch.bfloat16 and not bfloat16_by_cudnn(inputs["h"].device), NO_BFLOAT16),
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
        (inputs["h"].dtype not in _DTYPES, f"they have no {str(inputs['h'].dtype).removeprefix('torch.')}"),
        (_no_products(inputs["h"].dtype), NO_FLOAT64),
        (not get("reset_after", True), "the reset gate acts before the product"),
        (get("peepholes") is not None, "there are peepholes"),
        (get("projection") is not None, "the output is projected"),
        (activation not in native.ACTIVATIONS, f"they have no activation '{activation}'"),
    ]
    return _no_kernels() or next((reason for holds, reason in reasons if holds), None)


def _no_kernels() -> str | None:
    """Why there are no kernels of ours, whatever is asked for, or None."""
    return no_triton() if ENABLED else NOT_ASKED


def _no_products(dtype: torch.dtype) -> bool:
    """Whether Triton's compiler stops at products of this dtype (3.7.1, capability 9.0); its interpreter takes them."""
    return dtype == torch.float64 and os.environ.get("TRITON_INTERPRET") != "1"


def withheld() -> str | None:
    """Why nothing but the reference is to run, or None."""
    if native.chosen() == "reference":
        return "the backend 'reference' was chosen"
    return None


def untried() -> str | None:
    """Why nothing is to run that nobody has seen run on a GPU, or None."""
    return withheld() or (None if ENABLED else NOT_ASKED)


def choose(kernel: str, inputs: dict[str, Any], training: bool = False) -> tuple[str, str]:
    """What runs such a call on a GPU, "cudnn", "triton", "program" or "reference", and why.

    "program" is a kernel written for the step of that call. `training`: a gradient is recorded, and nobody reads the gates.
    """
    chosen = withheld()
    if chosen is not None:
        return "reference", chosen
    asked = {**inputs, "keep": False} if training else inputs
    reason, missing = not_by_cudnn(kernel, asked), not_by_triton(kernel, inputs)
    if reason is None:
        # (what was measured may differ from run to run, and results with it)
        alike = torch.are_deterministic_algorithms_enabled()
        finding = None if alike else measured.known(_key(kernel, inputs, training))
        if finding is not None and missing is None:
            return finding.way, str(finding)
        dense = "a dense call of the plain cell, without gates"
        return "cudnn", f"{dense}; nothing is measured where runs are to be alike" if alike else dense
    if missing is None:
        return "triton", f"not cuDNN, because {reason}"
    if not_by_program(inputs["h"].dtype) is None and kernel in native.KERNELS:
        return "program", f"a kernel of its own, because {missing}"
    return "reference", f"not cuDNN, because {reason}; not Triton, because {missing}"


def _key(kernel: str, inputs: dict[str, Any], training: bool) -> tuple[Any, ...]:
    """Calls that one measurement stands for: the same but for the number of steps, which may differ up to twofold."""
    x, h = inputs["x"], inputs["h"]
    options = inputs.get("activation"), bool(inputs.get("reverse")), as_tf32()
    return kernel, training, h.dtype, h.device, x.shape[0].bit_length(), *x.shape[1:], h.shape[1], *options


def not_by_program(dtype: torch.dtype) -> str | None:
    """Why no kernel can be written for a step, or None."""
    missing = _no_kernels()
    if missing is not None:
        return missing
    if _no_products(dtype):
        return NO_FLOAT64
    return None if dtype in _DTYPES else f"there is none for {str(dtype).removeprefix('torch.')}"


@constant
def by_program(dtype: torch.dtype, needed: bool) -> bool:
    """Whether a layer on a GPU with an option that the kernels of layers have not is to be run as a program."""
    return needed and withheld() is None and not_by_program(dtype) is None


def explain(kernel: str, inputs: dict[str, Any], training: bool = False) -> str:
    """What runs such a call on a GPU and why, in words.

    Of the inputs by name a layer needs x and h, a sweep and a step of one's own ("scan") x; a layer takes more. UsageError
    for other kernels, and where such a tensor is missing.
    """
    needed = {
        **dict.fromkeys(sorted(native.KERNELS), ("x", "h")),
        **dict.fromkeys((*SWEEPS, "scan"), ("x",)),
        "linear": (),
    }
    if kernel not in needed:
        raise UsageError(f"there is no kernel '{kernel}'; there are {', '.join(needed)}")
    lacking = [name for name in needed[kernel] if not isinstance(inputs.get(name), Tensor)]
    if lacking:
        raise UsageError(
            f"what runs '{kernel}' depends on {lacking[0]}, a tensor, which is not among the inputs: {[*inputs]}"
        )
    if kernel in native.KERNELS:
        road, why = choose(kernel, inputs, training)
    else:
        road, why = _choose_other(kernel, None if kernel == "linear" else inputs["x"].dtype)
    names = {
        "cudnn": "cuDNN",
        "triton": "Triton",
        "program": "Triton",
        "scan": "Triton",
        "chunks": "torch",
        "linear": "torch",
    }
    return f"{names.get(road, road)} runs '{kernel}': {why}"


def _choose_other(kernel: str, dtype: torch.dtype | None) -> tuple[str, str]:
    """`choose` for all that is no layer."""
    if dtype is None:
        return "linear", "one product of torch"
    if kernel in SWEEPS:
        return choose_sweep(kernel, dtype)
    missing = withheld() or not_by_program(dtype)
    return ("program", "a kernel that is written for the step") if missing is None else ("reference", missing)


def summary(kernel: str) -> tuple[str, str]:
    """For `recurra doctor`: the backends of a kernel on a GPU, and what is to be known of them."""
    if kernel == "linear":
        return "reference", "one product of torch"
    if kernel not in native.KERNELS:
        road, why = _choose_other(kernel, torch.float32)
        if road == "reference":
            return road, why
        return "torch" if road == "chunks" else "triton", f"{why}; never run on a GPU so far"
    if not ENABLED:
        return "cudnn, reference", f"cuDNN for plain calls without gates, else the reference; {NOT_ASKED}"
    checked = "never run on a GPU so far"
    if no_triton() is not None:
        return "cudnn, reference", f"cuDNN for plain calls without gates; {no_triton()}; {checked}"
    return "cudnn, triton", f"plain calls without gates by what was measured to be faster, else Triton; {checked}"


def _slow(kernel: str, why: str) -> None:
    if withheld() is None:
        native.warn_once(f"the reference runs '{kernel}' on the GPU, because {why}")


def forward(kernel: str, names: Sequence[str]) -> Callable[..., Any]:
    """The CUDA implementation of a kernel's forward operation, whose arguments have these names."""
    slow = getattr(reference, kernel)

    def implementation(*args: Any) -> tuple[Tensor, ...]:
        with in_own_dtype(args[0].device):
            return run(*args)

    def run(*args: Any) -> tuple[Tensor, ...]:
        inputs = dict(zip(names, args, strict=True))
        road, why = choose(kernel, inputs)
        if road == "cudnn":
            from recurra.kernels.gpu import cudnn

            if _to_measure(kernel, inputs, False):
                from recurra.kernels.gpu import layers

                ways = {"cudnn": cudnn.forward, "triton": layers.forward}
                calls = {name: partial(way, kernel, inputs) for name, way in ways.items()}
                return ways[_faster(kernel, inputs, False, calls)](kernel, inputs)
            return cudnn.forward(kernel, inputs)
        if road == "triton":
            from recurra.kernels.gpu import layers

            return layers.forward(kernel, inputs)
        _slow(kernel, why)
        return slow(*args)

    return implementation


def _to_measure(kernel: str, inputs: dict[str, Any], training: bool) -> bool:
    """Whether both can serve a call that cuDNN serves, and it is not known which is faster."""
    if not inputs["h"].is_cuda or not_by_triton(kernel, inputs) is not None or not measured.may_measure():
        return False
    return measured.known(_key(kernel, inputs, training)) is None


def _faster(kernel: str, inputs: dict[str, Any], training: bool, calls: Mapping[str, Callable[[], object]]) -> str:
    """The faster one of two ways, which are run to find out; cuDNN where our kernels fail."""
    finding = measured.fastest(_key(kernel, inputs, training), calls, inputs["h"].device)
    if finding.failed:
        native.warn_once(f"our kernel of '{kernel}' cannot run here ({finding.why_not})", "cuDNN runs it instead")
    return finding.way


def recorded(
    kernel: str, names: Sequence[str], values: Sequence[Any], operation: Callable[..., Any]
) -> tuple[Tensor, ...] | None:
    """A call by cuDNN whose gradient is recorded, or None where `operation` is to run it, which is the same by other ways."""
    inputs = dict(zip(names, values, strict=True))
    if not any(isinstance(value, Tensor) and value.requires_grad for value in values):
        return None
    if choose(kernel, inputs, training=True)[0] != "cudnn":
        return None
    from recurra.kernels.gpu.cudnn import Recorded

    by_cudnn, device = partial(Recorded.apply, kernel, names), inputs["h"].device
    with in_own_dtype(device):
        if _to_measure(kernel, inputs, True):
            ways = {"cudnn": by_cudnn, "triton": operation}
            calls = {name: partial(_there_and_back, way, values) for name, way in ways.items()}
            if _faster(kernel, inputs, True, calls) == "triton":
                return None
        return by_cudnn(*values)  # pyright: ignore[reportReturnType]


def _there_and_back(run: Callable[..., Any], values: Sequence[Any]) -> None:
    """A call and its gradient, on copies of what is given, unseen by whoever counts what calls save (checkpoints do)."""
    given = [
        value.detach().requires_grad_(value.requires_grad) if isinstance(value, Tensor) else value for value in values
    ]
    with saved_tensors_hooks(_as_it_is, _as_it_is):
        outputs = run(*given)[0]
        leaves = [value for value in given if isinstance(value, Tensor) and value.requires_grad]
        torch.autograd.grad(outputs, leaves, torch.ones_like(outputs))


def _as_it_is(value: Tensor) -> Tensor:
    return value


def backward(
    kernel: str, names: Sequence[str], grad_names: Sequence[str], gates: int, derived: Callable[..., Any]
) -> Callable[..., Any]:
    """The CUDA implementation of a kernel's backward operation; arguments as in `native.backward`."""
    count = len(grad_names)
    order = [name for name in names if name in _DIFFERENTIABLE]

    def implementation(*args: Any) -> tuple[Tensor, ...]:
        with in_own_dtype(args[count].device):
            return run(*args)

    def run(*args: Any) -> tuple[Tensor, ...]:
        grads: dict[str, Any] = dict(zip(grad_names, args, strict=False))
        inputs: dict[str, Any] = dict(zip(names, args[count:], strict=False))
        if args[gates] is not None or (withheld() or not_by_triton(kernel, inputs)) is not None:
            return derived(*args)
        from recurra.kernels.gpu import layers

        *rest, need_x = args[count + len(names) :]
        kept: dict[str, Any] = dict(zip(["outputs", "gates", "cells"], rest, strict=False))
        found = layers.backward(kernel, grads, inputs, kept, need_x)
        empty: Tensor = inputs["h"].new_empty(0)
        return tuple(found.get(name, empty) for name in order)

    return implementation


def choose_sweep(cell: str, dtype: torch.dtype) -> tuple[str, str]:
    """What runs a sweep on a GPU, "scan", "chunks", "program" or "reference", and why."""
    chosen = withheld()
    if chosen is not None:
        return "reference", chosen
    if cell == "mlstm":
        return "chunks", IN_CHUNKS
    if cell == "slstm":
        missing = not_by_program(dtype)
        return (
            ("program", "a kernel of its own, since heads read outputs") if missing is None else ("reference", missing)
        )
    reason = _no_kernels()
    if reason is None and dtype not in _DTYPES:
        reason = f"the scan has no {str(dtype).removeprefix('torch.')}"
    return ("scan", "its steps are a scan") if reason is None else ("reference", reason)


def sweep(cell: str, dtype: torch.dtype) -> Callable[..., list[Tensor]]:
    """What runs a sweep on a GPU, with the arguments and results of `sweeps.by_reference`."""
    road, why = choose_sweep(cell, dtype)
    if road == "scan":
        from recurra.kernels.gpu.sweeps import by_scan

        return by_scan
    if road == "chunks":
        return by_chunks
    if road == "program":
        from recurra.kernels.sweep_programs import by_program  # (it uses the operations, whose implementation this is)

        return by_program
    _slow(cell, why)
    return by_reference


def sweep_backward(cell: str, dtype: torch.dtype) -> Callable[..., list[Tensor]] | None:
    """The same of a sweep's gradient, `gpu.sweeps.backward_by_scan`; None where what `sweep` gives is differentiated."""
    if choose_sweep(cell, dtype)[0] != "scan":
        return None
    from recurra.kernels.gpu.sweeps import backward_by_scan

    return backward_by_scan


def run_program(text: str, given: Given, *rest: Any) -> list[Tensor]:
    """`programs.by_torch` on a GPU: by the kernel that is written for the program."""
    reason = withheld() or not_by_program(given.inputs[0].dtype)
    if reason is None:
        from recurra.kernels.gpu.generated import by_triton

        return by_triton(text, given, *rest)
    _slow("scan", reason)
    return by_torch(text, given, *rest)


def run_gradient(
    text: str,
    grads: Sequence[Tensor | None],
    grads_after: Sequence[Tensor],
    given: Given,
    saved: Sequence[Tensor],
    *rest: Any,
) -> Given:
    """`programs.backward_by_native` on a GPU, in the same way."""
    if (withheld() or not_by_program(given.inputs[0].dtype)) is None:
        from recurra.kernels.gpu.generated import backward_by_triton

        return backward_by_triton(text, grads, grads_after, given, saved, *rest)
    return backward_by_torch(text, [*grads, *grads_after], given, *rest)
