"""One step of each cell, in plain torch, with every option: the truth that the reference runs and programs are made from.

A step takes (inputs, state, parameters): rows [B, width] and the parameters by name, and gives (next state, what it emits:
the output first, then the gates). What is not among the parameters is left out. Parameters: `weight` (or its parts) acts on
the state; `mask` multiplies the state inside that product; `norm` are gains of its layer normalisation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def _hardsigmoid(z: Tensor) -> Tensor:
    # torch's own takes a sixth in single precision for its gradient, whatever the dtype
    return (z + 3).clamp(0, 6) / 6


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "identity": lambda z: z,
    "hardtanh": F.hardtanh,
    "hardsigmoid": _hardsigmoid,
    "leaky_relu": F.leaky_relu,
    "softsign": F.softsign,
    "softplus": F.softplus,
    "elu": F.elu,
    "gelu": F.gelu,
    "silu": F.silu,
    "sin": torch.sin,
}

Rows = tuple[Tensor, ...]
Parameters = Mapping[str, Tensor]
Emitted = tuple[Rows, Rows]


def recurrent_product(s: Tensor, weight: Tensor, mask: Tensor | None, norm: Tensor | None) -> Tensor:
    """W S, with the mask on the state and the normalisation on the product."""
    product = (s if mask is None else s * mask) @ weight.T
    return product if norm is None else F.layer_norm(product, product.shape[1:]) * norm


def _kept(old: Tensor, new: Tensor, share: Tensor | float) -> Tensor:
    """Zoneout (Krueger et al. 2017): a share of the old state stays, all or nothing in training, the mean in evaluation."""
    return new + share * (old - new)


@dataclass(frozen=True)
class ElmanStep:
    """S_t = f(z_t), z_t = x_t + W S_{t-1} (Elman 1990). Inputs: x, and the zoneout where `zoned`. Emits S_t, z_t."""

    activation: str = "tanh"
    zoneout: float = 0.0
    zoned: bool = False

    def __call__(self, inputs: Rows, state: Rows, given: Parameters) -> Emitted:
        s = state[0]
        z = inputs[0] + recurrent_product(s, given["weight"], given.get("mask"), given.get("norm"))
        new = ACTIVATIONS[self.activation](z)
        if self.zoned or self.zoneout:
            new = _kept(s, new, inputs[1] if self.zoned else self.zoneout)
        return (new,), (new, z)


@dataclass(frozen=True)
class GRUStep:
    """r = σ(x_r + W_r S), z = σ(x_z + W_z S), n = tanh(x_n + r q), S' = (1 - z) n + z S (Cho et al. 2014).

    q = W_n S + bias as cuDNN and torch have it; with reset_after false q = W_n (r S) + bias and n = tanh(x_n + q), as the
    paper has it. Parameters weight_rz[2H, H], weight_n[H, H], bias. Emits S', then r, z, n, q side by side.
    """

    reset_after: bool = True
    gate_activation: str = "sigmoid"
    activation: str = "tanh"
    zoneout: float = 0.0
    zoned: bool = False

    def __call__(self, inputs: Rows, state: Rows, given: Parameters) -> Emitted:
        s, mask, bias = state[0], given.get("mask"), given.get("bias")
        hidden = s.shape[1]
        x_rz, x_n = inputs[0].split([2 * hidden, hidden], dim=1)
        gates = x_rz + recurrent_product(s, given["weight_rz"], mask, given.get("norm_rz"))
        r, z = ACTIVATIONS[self.gate_activation](gates).chunk(2, dim=1)
        q = recurrent_product(s if self.reset_after else r * s, given["weight_n"], mask, given.get("norm_n"))
        q = q if bias is None else q + bias
        n = ACTIVATIONS[self.activation](x_n + (r * q if self.reset_after else q))
        new = (1 - z) * n + z * s
        if self.zoned or self.zoneout:
            new = _kept(s, new, inputs[1] if self.zoned else self.zoneout)
        return (new,), (new, torch.cat([r, z, n, q], dim=1))


@dataclass(frozen=True)
class LSTMStep:
    """i, f, o = σ(x + W S), g = tanh(x + W S), c' = f c + i g, S' = o tanh(c') (Hochreiter and Schmidhuber 1997).

    Options: `coupled` gates, f = 1 - i and no f among the sums (Greff et al. 2017); `clip`, the bound of |c'| (Sak et al.
    2014); zoneout of S and of c. Parameters by choice: peephole_i, peephole_f, peephole_o[H] (Gers and Schmidhuber 2000),
    projection[P, H] (Sak et al. 2014), norm_gain and norm_bias[H] of c' inside the last tanh (Ba et al. 2016).
    Inputs: x, then the zoneout of S and that of c where they are `zoned`. Emits S', then i, f, g, o side by side, then c'.
    """

    coupled: bool = False
    clip: float | None = None
    gate_activation: str = "sigmoid"
    activation: str = "tanh"
    zoneout: float = 0.0
    zoned: bool = False
    zoneout_cell: float = 0.0
    zoned_cell: bool = False

    def __call__(self, inputs: Rows, state: Rows, given: Parameters) -> Emitted:
        (s, c), gate, function = state, ACTIVATIONS[self.gate_activation], ACTIVATIONS[self.activation]
        sums = inputs[0] + recurrent_product(s, given["weight"], given.get("mask"), given.get("norm"))
        if self.coupled:
            i, g, o = sums.chunk(3, dim=1)
            i = gate(i + given["peephole_i"] * c if "peephole_i" in given else i)
            f = 1 - i
        else:
            i, f, g, o = sums.chunk(4, dim=1)
            if "peephole_i" in given:
                i, f = i + given["peephole_i"] * c, f + given["peephole_f"] * c
            i, f = gate(i), gate(f)
        g = function(g)
        new_c = f * c + i * g
        if self.clip is not None:
            new_c = new_c.clamp(-self.clip, self.clip)
        o = gate(o + given["peephole_o"] * new_c if "peephole_o" in given else o)
        read = new_c
        if "norm_gain" in given:
            read = F.layer_norm(new_c, new_c.shape[1:]) * given["norm_gain"] + given["norm_bias"]
        new_s = o * function(read)
        if "projection" in given:
            new_s = new_s @ given["projection"].T
        if self.zoned or self.zoneout:
            new_s = _kept(s, new_s, inputs[1] if self.zoned else self.zoneout)
        if self.zoned_cell or self.zoneout_cell:
            new_c = _kept(c, new_c, inputs[-1] if self.zoned_cell else self.zoneout_cell)
        return (new_s, new_c), (new_s, torch.cat([i, f, g, o], dim=1), new_c)


STEPS: dict[str, Callable[..., Any]] = {"elman": ElmanStep, "gru": GRUStep, "lstm": LSTMStep}
"""The step of each kernel, made from its options."""
