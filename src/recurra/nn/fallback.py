"""torch's own functions, called as torch's modules call them.

They run on devices for which there are no kernels of ours, and they raise torch's own errors for what does not fit
together. Knows no options, lengths or resets: those are for kernels of ours, whose reference runs on any device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from recurra import kernels

_SEQUENCES: dict[str, Callable[..., Any]] = {
    "RNN_TANH": torch.rnn_tanh,
    "RNN_RELU": torch.rnn_relu,
    "GRU": torch.gru,
    "LSTM": torch.lstm,
}


def theirs(module: Any, x: Tensor, hx: Any) -> bool:
    """Whether a plain call belongs to torch: a single step that is recorded, or another device than the CPU.

    A recorded step of an RNN or a GRU is mostly the recording, and torch does that without Python. cuDNN gives no gradient
    in evaluation mode; other devices cannot be tested on the CPU but with the device `meta`.
    """
    if x.device.type == "cpu":
        return module.kernel != "lstm" and x.dim() == 3 and x.size(0) == 1 and recorded(x)
    return module.training or not kernels.recording(x, *([hx] if isinstance(hx, Tensor) else hx), *module.parameters())


def recorded(x: Tensor) -> bool:
    """Whether autograd, and nobody else, sees an ordinary call on these inputs, in a dtype that torch rounds as we do."""
    wide = x.is_cpu and x.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled("cpu")
    return wide and torch.is_grad_enabled() and kernels.unwatched()


def run(
    module: Any, x: Tensor, batch_sizes: Tensor | None, states: Sequence[Tensor]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Outputs and last states of a whole module over x, padded [T, B, I] or (with batch_sizes) packed."""
    function = _SEQUENCES[module.mode]
    flat = [weight for layer in module.all_weights for weight in layer]
    hx = tuple(states) if module.mode == "LSTM" else states[0]
    settings = (flat, module.bias, module.num_layers, module.dropout, module.training, module.bidirectional)
    if batch_sizes is None:
        outputs, *last = function(x, hx, *settings, False)
    else:
        outputs, *last = function(x, batch_sizes, hx, *settings)
    return outputs, tuple(last)


def step(module: Any, kernel: str, x: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The next states of a cell, from x[B, I] and states [B, H]."""
    weights = (module.weight_ih, module.weight_hh, module.bias_ih, module.bias_hh)
    if kernel == "lstm":
        return tuple(torch.lstm_cell(x, list(states), *weights))
    if kernel == "gru":
        return (torch.gru_cell(x, states[0], *weights),)
    function = torch.rnn_tanh_cell if module.nonlinearity == "tanh" else torch.rnn_relu_cell
    return (function(x, states[0], *weights),)
