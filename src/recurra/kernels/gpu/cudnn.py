"""Plain layers by cuDNN, through torch's own operators, training included.

On other devices the same operators run torch's own loops. torch lets cuDNN round float32 to tf32 by default, unlike its own
products; here it may where `torch.get_float32_matmul_precision()` is below "highest", as everywhere else, so that results do
not depend on which way was the faster one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.backends import cudnn
from torch.backends.cudnn import rnn as cudnn_rnn

from recurra.kernels import reference
from recurra.kernels.derived import derived_gradient
from recurra.kernels.native import GATES

FUNCTIONS = {"elman": {"tanh": torch.rnn_tanh, "relu": torch.rnn_relu}, "gru": torch.gru, "lstm": torch.lstm}
_MODES = {"elman": "RNN_", "gru": "GRU", "lstm": "LSTM"}


@contextmanager
def in_full() -> Iterator[None]:
    """Within, cuDNN rounds nothing to tf32 unless torch's products do."""
    if torch.get_float32_matmul_precision() != "highest":
        yield
        return
    own: Any = cudnn.rnn
    before = getattr(own, "fp32_precision", None)
    if before is None:  # torch before 2.9 has one switch for all of cuDNN
        with cudnn.flags(cudnn.enabled, cudnn.benchmark, cudnn.benchmark_limit, cudnn.deterministic, allow_tf32=False):
            yield
        return
    own.fp32_precision = "ieee"
    try:
        yield
    finally:
        own.fp32_precision = before


def forward(kernel: str, inputs: dict[str, Any]) -> tuple[Tensor, ...]:
    """The results of `reference.KERNEL` without gates: x[T, B, I] with a weight_in, no option besides the direction."""
    weights = _weights(kernel, inputs)
    outputs, *last = _run(kernel, inputs, weights)
    return _results(outputs, last)


def _results(outputs: Tensor, last: list[Tensor]) -> tuple[Tensor, ...]:
    nothing = [outputs.new_empty(0) for _ in last]
    # (a last state may be a view of the outputs)
    return (outputs, *(value[0].clone() for value in last), *nothing)


def _run(kernel: str, inputs: dict[str, Any], weights: list[Tensor]) -> list[Tensor]:
    """What torch's operator gives: outputs[T, B, H] and the last states[1, B, H]."""
    x, h, c, activation = inputs["x"], inputs["h"], inputs.get("c"), inputs.get("activation")
    run = FUNCTIONS[kernel] if activation is None else FUNCTIONS[kernel][activation]
    x = x.flip(0) if inputs["reverse"] else x
    # (cuDNN takes states in one piece alone, where torch's own loops take any)
    states = [value.contiguous()[None] for value in (h, c) if value is not None]
    first = states[0] if c is None else states
    with in_full():
        outputs, *last = run(x, first, weights, True, 1, 0.0, torch.is_grad_enabled(), False, False)
    return [outputs.flip(0) if inputs["reverse"] else outputs, *last]


def _weights(kernel: str, inputs: dict[str, Any]) -> list[Tensor]:
    """Copies in the order of torch: weight_in, weight, and a bias beside each; side by side in memory on a GPU."""
    weight, bias_in, bias, activation = (
        inputs["weight"],
        inputs["bias_in"],
        inputs.get("bias"),
        inputs.get("activation"),
    )
    zeros = weight.new_zeros(weight.shape[0])
    beside = zeros.clone()
    if bias is not None:
        beside[weight.shape[0] // GATES[kernel] * 2 :] = bias  # a GRU's, inside of the product of n
    given = inputs["weight_in"], weight, zeros if bias_in is None else bias_in, beside
    weights = [value.detach().clone(memory_format=torch.contiguous_format) for value in given]
    if weight.is_cuda:
        mode = cudnn_rnn.get_cudnn_mode(_MODES[kernel] + ("" if activation is None else activation.upper()))
        # this moves the four copies there
        size, units = inputs["x"].shape[2], inputs["h"].shape[1]
        torch.ops.aten._cudnn_rnn_flatten_weight(weights, 4, size, mode, units, 0, 1, False, False)
    return weights


class Recorded(torch.autograd.Function):
    """`forward` with a gradient: torch's operator keeps what its own gradient needs (cuDNN's reserve), and that is asked.

    A gradient of the gradient, which cuDNN has not, is that of the reference.
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
            results = _run(kernel, {**inputs, **leaves}, weights)
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
            wanted = [name for name in names if isinstance(inputs[name], Tensor)]
            truth = getattr(reference, kernel)
            kept = [None] * (len(results) - 1)
            found = derived_gradient(truth, wanted, inputs, [*arrived, *kept])
        else:
            found = _of_operator(kernel, inputs, leaves, weights, results, arrived)
        return (None, None, *(found.get(name) for name in names))


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
