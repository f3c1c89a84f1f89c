"""Steps as a person would write them, for the tests of own cells."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from recurra.cells import OwnCell


def minimal_gated(x: Tensor, s: Any, p: Any) -> Any:
    """One gate, used twice (Zhou et al. 2016)."""
    f = torch.sigmoid(x @ p.W_f.T + s.h @ p.U_f.T + p.b_f)
    n = torch.tanh(x @ p.W_n.T + (f * s.h) @ p.U_n.T + p.b_n)
    h = (1 - f) * s.h + f * n
    return h, {"h": h}, {"f": f, "n": n}


def mixture(x: Tensor, s: Any, p: Any) -> Any:
    """Two states, norms, a softmax, pieces, a clamp, a scalar and a weight that is computed: every kind of instruction."""
    shares = F.softmax(F.linear(x, p.W_s) + s.h[:, :4], dim=-1)
    z = F.layer_norm(F.linear(s.h, torch.tanh(p.U)), (s.h.shape[1],), p.gain, p.b)
    a, b = torch.cat([z, F.silu(x)], dim=1)[:, : 2 * (z.shape[1] // 2)].chunk(2, dim=1)
    drive = torch.cat([a * shares[:, 1:2], b.clamp(-1, 1), x[:, :1]], dim=1)
    c = s.c * torch.exp(-F.softplus(p.rate)) + F.pad(drive[:, 1:], (1, 0), value=0.5)
    h = torch.where(c > 0, torch.tanh(c), F.elu(c)) * torch.rsqrt(c.square().mean(-1, keepdim=True) + 1e-3)
    return h @ p.out, {"c": c, "h": h}, {"shares": shares}


def cumulative(x: Tensor, s: Any, p: Any) -> Any:
    """What no program can do."""
    h = torch.tanh(torch.cumsum(x @ p.W.T, dim=1) + s.h)
    return h, {"h": h}


def make_minimal(inputs: int, hidden: int, **options: Any) -> OwnCell:
    parameters = {"W_f": (hidden, inputs), "U_f": (hidden, hidden), "b_f": (hidden,)}
    parameters |= {"W_n": (hidden, inputs), "U_n": (hidden, hidden), "b_n": (hidden,)}
    return OwnCell(minimal_gated, inputs, state={"h": hidden}, parameters=parameters, **options)


def make_mixture(inputs: int, hidden: int, **options: Any) -> OwnCell:
    shapes = {"W_s": (4, inputs), "U": (hidden, hidden), "gain": torch.ones(hidden), "b": (hidden,)}
    shapes |= {"rate": torch.zeros(()), "out": (hidden, hidden)}
    return OwnCell(mixture, inputs, state={"c": hidden, "h": hidden}, parameters=shapes, **options)


def make_cumulative(inputs: int, hidden: int, **options: Any) -> OwnCell:
    return OwnCell(cumulative, inputs, state={"h": hidden}, parameters={"W": (hidden, inputs)}, **options)
