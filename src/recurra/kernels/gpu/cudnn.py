"""Plain layers by cuDNN, through torch's own operators, training included.

On other devices the same operators run torch's own loops. What cuDNN may round is said in `rounding.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from operator import itemgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.backends.cudnn import rnn as cudnn_rnn

from recurra.kernels.gpu.rounding import in_full
from recurra.kernels.native import GATES

FUNCTIONS = {"elman": {"tanh": torch.rnn_tanh, "relu": torch.rnn_relu}, "gru": torch.gru, "lstm": torch.lstm}
_MODES = {"elman": "RNN_", "gru": "GRU", "lstm": "LSTM"}


def forward(kernel: str, inputs: dict[str, Any]) -> tuple[Tensor, ...]:
    """The results of `reference.KERNEL` without gates: x[T, B, I] with a weight_in, no option besides the direction."""
    weights = _weights(kernel, inputs)
    outputs, *last = _run(kernel, inputs, weights, training=False)
    return _results(outputs, last)


def _results(outputs: Tensor, last: list[Tensor]) -> tuple[Tensor, ...]:
    nothing = [outputs.new_empty(0) for _ in last]
    # (a last state may be a view of the outputs)
    return (outputs, *(value[0].clone() for value in last), *nothing)


def _run(kernel: str, inputs: dict[str, Any], weights: list[Tensor], training: bool) -> list[Tensor]:
    """What torch's operator gives: outputs[T, B, H] and the last states[1, B, H]; `training`: it keeps its reserve."""
    x, h, c, activation = inputs["x"], inputs["h"], inputs.get("c"), inputs.get("activation")
    run = FUNCTIONS[kernel] if activation is None else FUNCTIONS[kernel][activation]
    x = x.flip(0) if inputs["reverse"] else x
    # (cuDNN takes states in one piece alone, where torch's own loops take any)
    states = [value.contiguous()[None] for value in (h, c) if value is not None]
    first = states[0] if c is None else states
    with in_full():
        outputs, *last = run(x, first, weights, True, 1, 0.0, training, False, False)
    return [outputs.flip(0) if inputs["reverse"] else outputs, *last]


class Places(NamedTuple):
    """Where weight_in, weight and a bias beside each begin in one piece of memory, and how many numbers that has."""

    first: tuple[int, ...]
    size: int


@lru_cache(maxsize=256)
def places(mode: str, inputs: int, units: int, dtype: torch.dtype, device: torch.device) -> Places:
    """Where cuDNN wants the weights of a layer of this mode; on other devices one after the other."""
    gates = {"GRU": 3, "LSTM": 4}.get(mode, 1)
    shapes = (gates * units, inputs), (gates * units, units), (gates * units,), (gates * units,)
    if device.type != "cuda":
        first = tuple(accumulate((math.prod(shape) for shape in shapes), initial=0))
        return Places(first[:-1], first[-1])
    weights = [torch.empty(shape, dtype=dtype, device=device) for shape in shapes]
    # this moves them into one piece of memory that it makes
    whole: Tensor = torch.ops.aten._cudnn_rnn_flatten_weight(
        weights, 4, inputs, cudnn_rnn.get_cudnn_mode(mode), units, 0, 1, False, False
    )
    begins = whole.data_ptr()
    return Places(tuple((one.data_ptr() - begins) // one.element_size() for one in weights), whole.numel())


def _weights(kernel: str, inputs: dict[str, Any]) -> list[Tensor]:
    """weight_in, weight, and a bias beside each, as torch has them: copies that lie as cuDNN wants them, made at once.

    They are made at every call. Kept ones would be wrong after `weight.data -= ...`, a write that torch does not count and
    that only a look at the numbers tells of, and where a captured graph is to see weights that changed.
    """
    weight_in, weight, bias_in, bias = (inputs.get(name) for name in ("weight_in", "weight", "bias_in", "bias"))
    assert isinstance(weight_in, Tensor) and isinstance(weight, Tensor)
    activation, (rows, units) = inputs.get("activation"), weight.shape
    mode = _MODES[kernel] + ("" if activation is None else activation.upper())
    first, size = places(mode, weight_in.shape[1], units, weight.dtype, weight.device)
    # (a GRU's own bias is inside of the product of n)
    wanted = zip((*first[:3], first[3] + 2 * units), (weight_in, weight, bias_in, bias), strict=True)
    there = sorted(
        ((begins, value.detach().reshape(-1)) for begins, value in wanted if value is not None), key=itemgetter(0)
    )
    nothing = weight.new_zeros(size - sum(value.numel() for _, value in there))
    parts: list[Tensor] = []
    end = 0
    for begins, value in there:
        parts += [nothing[: begins - end], value]
        end = begins + value.numel()
    whole = torch.cat([*parts, nothing[: size - end]])
    shapes = weight_in.shape, weight.shape, (rows,), (rows,)
    return [whole[at : at + math.prod(shape)].view(shape) for at, shape in zip(first, shapes, strict=True)]


class Recorded(torch.autograd.Function):
    """`forward` with a gradient: torch's operator keeps what its own gradient needs (cuDNN's reserve), and that is asked.

    A gradient of the gradient, which cuDNN has not, is that of the step's program.
    """

    @staticmethod
    def forward(ctx: Any, kernel: str, names: Sequence[str], *values: Any) -> tuple[Tensor, ...]:  # pyright: ignore
        inputs = dict(zip(names, values, strict=True))
        with torch.no_grad():
            weights = _weights(kernel, inputs)
        with torch.enable_grad():
            leaves = {
                name: inputs[name].detach().requires_grad_() for name in ("x", "h", "c") if inputs.get(name) is not None
            }
            weights = [value.requires_grad_() for value in weights]
            results = _run(kernel, {**inputs, **leaves}, weights, training=True)
        ctx.set_materialize_grads(False)
        ctx.plain = kernel, names, [None if isinstance(value, Tensor) else value for value in values]
        ctx.inner = leaves, weights, results
        ctx.save_for_backward(*(value for value in values if isinstance(value, Tensor)))
        ctx.tensors = [isinstance(value, Tensor) for value in values]
        results = _results(*_apart([value.detach() for value in results]))
        ctx.mark_non_differentiable(*results[1 + len(results) // 2 :])
        return results

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        kernel, names, plain = ctx.plain
        left = iter(ctx.saved_tensors)
        values = [next(left) if there else value for there, value in zip(ctx.tensors, plain, strict=True)]
        inputs = dict(zip(names, values, strict=True))
        leaves, weights, results = ctx.inner
        arrived = grads[: len(results)]
        if torch.is_grad_enabled():
            from recurra.kernels import layer_programs  # (what it imports knows of this room)

            wanted = [name for name in names if isinstance(inputs[name], Tensor)]
            kept = [None] * (len(results) - 1)
            found = layer_programs.gradient(kernel, wanted, inputs, [*arrived, *kept], len(kept))
        else:
            found = _of_operator(kernel, inputs, leaves, weights, results, arrived)
        if not _kept_for_another():
            # (the reserve is large, and this may outlive the step of an optimiser)
            ctx.inner = None
        return (None, None, *(found.get(name) for name in names))


def _kept_for_another() -> bool:
    """Whether the graph that is walked back stays, so that a second backward may come."""
    inner: Any = torch._C
    kept = getattr(inner._autograd, "_get_current_graph_task_keep_graph", None)
    return kept is None or kept()


def _apart(values: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    return values[0], values[1:]


def _of_operator(
    kernel: str, inputs: dict[str, Any], leaves: dict[str, Tensor], weights: list[Tensor], results: list[Tensor],
    arrived: Sequence[Tensor | None],
) -> dict[str, Tensor]:  # fmt: skip
    """The gradients by name, from the graph that the operator of torch recorded."""
    pairs = [
        (value, grad if at == 0 else grad[None])
        for at, (value, grad) in enumerate(zip(results, arrived, strict=True))
        if grad is not None
    ]
    if not pairs:
        return {}
    given = [*leaves.values(), *weights]
    # (kept, since a second backward may come)
    with in_full():
        found = torch.autograd.grad(
            [value for value, _ in pairs], given, [grad for _, grad in pairs], retain_graph=True, allow_unused=True
        )
    named = dict(zip([*leaves, "weight_in", "weight", "bias_in", "bias"], found, strict=True))
    if inputs.get("bias") is None:
        named.pop("bias")
    elif named["bias"] is not None:
        named["bias"] = named["bias"][inputs["weight"].shape[0] // GATES[kernel] * 2 :]
    return {name: grad for name, grad in named.items() if grad is not None and inputs.get(name) is not None}
