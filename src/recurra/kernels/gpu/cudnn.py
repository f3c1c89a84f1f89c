"""Plain layers by cuDNN, through torch's own operators. On other devices the same operators run torch's own loops."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.backends.cudnn import rnn as cudnn_rnn

from recurra.kernels.native import GATES

FUNCTIONS = {"elman": {"tanh": torch.rnn_tanh, "relu": torch.rnn_relu}, "gru": torch.gru, "lstm": torch.lstm}
_MODES = {"elman": "RNN_", "gru": "GRU", "lstm": "LSTM"}


def forward(kernel: str, inputs: dict[str, Any]) -> tuple[Tensor, ...]:
    """The results of `reference.KERNEL` without gates: x[T, B, I] with a weight_in, no option besides the direction."""
    x, h, c, activation = inputs["x"], inputs["h"], inputs.get("c"), inputs.get("activation")
    weights = _weights(kernel, inputs)
    if x.is_cuda:
        mode = cudnn_rnn.get_cudnn_mode(_MODES[kernel] + ("" if activation is None else activation.upper()))
        # cuDNN wants them side by side in memory: this moves the four copies there
        torch.ops.aten._cudnn_rnn_flatten_weight(weights, 4, x.shape[2], mode, h.shape[1], 0, 1, False, False)
    run = FUNCTIONS[kernel] if activation is None else FUNCTIONS[kernel][activation]
    x = x.flip(0) if inputs["reverse"] else x
    first = h[None] if c is None else [h[None], c[None]]
    outputs, *last = run(x, first, weights, True, 1, 0.0, False, False, False)
    outputs = outputs.flip(0) if inputs["reverse"] else outputs
    nothing = [x.new_empty(0) for _ in range(1 if c is None else 2)]
    # (a last state may be a view of the outputs)
    return (outputs, *(value[0].clone() for value in last), *nothing)


def _weights(kernel: str, inputs: dict[str, Any]) -> list[Tensor]:
    """Copies in the order of torch: weight_in, weight, and a bias beside each."""
    weight, bias_in, bias = inputs["weight"], inputs["bias_in"], inputs.get("bias")
    zeros = weight.new_zeros(weight.shape[0])
    beside = zeros.clone()
    if bias is not None:
        beside[weight.shape[0] // GATES[kernel] * 2 :] = bias  # a GRU's, inside of the product of n
    given = inputs["weight_in"], weight, zeros if bias_in is None else bias_in, beside
    return [value.detach().clone(memory_format=torch.contiguous_format) for value in given]
