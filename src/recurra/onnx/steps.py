"""One step of each recurrent node of ONNX with all of its options, as plain functions of torch operations.

They are for what the kernels do not have: other activations, clipping, coupled gates. Shapes: x_t[B, G*H] is what the
inputs and the biases come to, states are [B, H], weight[G*H, H] acts on the state; gates are in our order (GRU r, z, n;
LSTM i, f, g, o). Each step gives (next states, what it emits: the output).

Clipping bounds what goes into f and g, the sums of the gates. It leaves the cell alone on its way into h: that is what
ONNX Runtime does, where the standard ("applied to the input of activations") can be read either way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

import torch
from torch import Tensor

from recurra.onnx.activations import Activation

States = tuple[Tensor, ...]
Step = Callable[[Tensor, States, Mapping[str, Tensor]], tuple[States, States]]


# remembered, so that the same step is the same function: what a function does is worked out once for each
@lru_cache(maxsize=64)
def rnn_step(f: Activation, clip: float | None) -> Step:
    """H' = f(x + R H)."""

    def step(x_t: Tensor, state: States, parameters: Mapping[str, Tensor]) -> tuple[States, States]:
        h = f(_bounded(x_t + state[0] @ parameters["weight"].T, clip))
        return (h,), (h,)

    return step


@lru_cache(maxsize=64)
def gru_step(f: Activation, g: Activation, clip: float | None, reset_after: bool) -> Step:
    """r, z = f(x + R H), n = g(x + R (r H) + b) or, with the reset after the product, g(x + r (R H + b)), H' = (1-z) n + z H.

    b is the bias[H] of the recurrent part of n.
    """

    def step(x_t: Tensor, state: States, parameters: Mapping[str, Tensor]) -> tuple[States, States]:
        h = state[0]
        gates, hidden = 2 * h.shape[1], h.shape[1]
        weight_rz, weight_n = parameters["weight"].split([gates, hidden])
        x_rz, x_n = x_t.split([gates, hidden], dim=1)
        r, z = f(_bounded(x_rz + h @ weight_rz.T, clip)).chunk(2, dim=1)
        q = h @ weight_n.T if reset_after else (r * h) @ weight_n.T
        q = q + parameters["bias"]
        n = g(_bounded(x_n + (r * q if reset_after else q), clip))
        h = (1 - z) * n + z * h
        return (h,), (h,)

    return step


@lru_cache(maxsize=64)
def lstm_step(f: Activation, g: Activation, h: Activation, clip: float | None, input_forget: bool) -> Step:
    """i, f, o = f(x + R H + p C), c = g(x + R H), C' = f C + i c, H' = o h(C'), where o sees C' through its peephole.

    peepholes[3, H] are those of i, f and o. With `input_forget` the forget gate is 1 - i.
    """

    def step(x_t: Tensor, state: States, parameters: Mapping[str, Tensor]) -> tuple[States, States]:
        before, cell = state
        peep_i, peep_f, peep_o = parameters["peepholes"]
        z_i, z_f, z_g, z_o = (x_t + before @ parameters["weight"].T).chunk(4, dim=1)
        i = f(_bounded(z_i + peep_i * cell, clip))
        forget = 1 - i if input_forget else f(_bounded(z_f + peep_f * cell, clip))
        cell = forget * cell + i * g(_bounded(z_g, clip))
        output = f(_bounded(z_o + peep_o * cell, clip)) * h(cell)
        return (output, cell), (output,)

    return step


def _bounded(z: Tensor, clip: float | None) -> Tensor:
    return z if clip is None else torch.clamp(z, -clip, clip)
