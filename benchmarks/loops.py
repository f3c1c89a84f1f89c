"""What a person writes in torch for what torch.nn lacks: a loop over the steps, the input product taken out of it.

Every loop is a plain typed function, so that the same text runs as it stands, scripted, and with its step compiled; the
quickest of these three is the contestant of a row, found anew in each run, for it is not the same on every machine.

Milliseconds of a training pass at B = 32, T = 100, H = 128, one thread of an AMD EPYC that others used too, torch 2.13:

    loop          eager  scripted  compiled step
    norm lstm      65.2      66.5           66.7
    dropout lstm  101.8      93.9          108.6
    dropout gru    41.3      37.3           43.4
    trace lstm     51.4      52.6           58.3
    trace gru      44.6      43.5           44.6
    own minimal    27.6      25.0           31.1
    own rivals     40.7      35.7           64.1

Also tried: torch.compile of the whole loop, which unrolls the steps. The forward pass of the GRU's, one of the shortest,
was not compiled after 150 seconds there, and who would wait longer for 100 steps?
It knows torch and nothing of Recurra.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Loop = Callable[..., Any]

GROUPS, EPSILON = 4, 1e-3
WARM, PROBES = 3, 3


def norm_lstm_step(
    x: Tensor, h: Tensor, c: Tensor, weight: Tensor, gain: Tensor, cell_gain: Tensor, cell_bias: Tensor
) -> tuple[Tensor, Tensor]:
    """One step of a layer-norm LSTM (Ba, Kiros and Hinton 2016); x[B, 4H] is the normalised input product."""
    product = h @ weight.t()
    sums = x + F.layer_norm(product, [product.size(1)]) * gain
    i, f, g, o = sums.chunk(4, 1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(F.layer_norm(c, [c.size(1)], cell_gain, cell_bias))
    return h, c


def norm_lstm(
    x: Tensor, h: Tensor, c: Tensor, weight_in: Tensor, weight: Tensor, bias_in: Tensor, bias: Tensor,
    gain_in: Tensor, gain: Tensor, cell: Tensor,
) -> Tensor:  # fmt: skip
    product = x @ weight_in.t()
    sums = F.layer_norm(product, [product.size(2)], gain_in, bias_in + bias)
    cell_gain, cell_bias = cell[0], cell[1]
    outputs: list[Tensor] = []
    for sums_t in sums.unbind(0):
        h, c = norm_lstm_step(sums_t, h, c, weight, gain, cell_gain, cell_bias)
        outputs.append(h)
    return torch.stack(outputs)


def dropped_lstm_step(x: Tensor, h: Tensor, c: Tensor, weight: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """One step of an LSTM whose gates see the state through a mask (Gal and Ghahramani 2016)."""
    i, f, g, o = torch.addmm(x, h * mask, weight.t()).chunk(4, 1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def dropped_lstm(
    x: Tensor, h: Tensor, c: Tensor, mask: Tensor, weight_in: Tensor, weight: Tensor, bias_in: Tensor, bias: Tensor
) -> Tensor:
    sums = F.linear(x, weight_in, bias_in + bias)
    outputs: list[Tensor] = []
    for sums_t in sums.unbind(0):
        h, c = dropped_lstm_step(sums_t, h, c, weight, mask)
        outputs.append(h)
    return torch.stack(outputs)


def dropped_gru_step(x: Tensor, h: Tensor, weight: Tensor, bias: Tensor, mask: Tensor) -> Tensor:
    """One step of a GRU whose gates and candidate see the state through a mask."""
    x_r, x_z, x_n = x.chunk(3, 1)
    h_r, h_z, h_n = torch.addmm(bias, h * mask, weight.t()).chunk(3, 1)
    r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    n = torch.tanh(x_n + r * h_n)
    return n + z * (h - n)


def dropped_gru(
    x: Tensor, h: Tensor, mask: Tensor, weight_in: Tensor, weight: Tensor, bias_in: Tensor, bias: Tensor
) -> Tensor:
    sums = F.linear(x, weight_in, bias_in)
    outputs: list[Tensor] = []
    for sums_t in sums.unbind(0):
        h = dropped_gru_step(sums_t, h, weight, bias, mask)
        outputs.append(h)
    return torch.stack(outputs)


def traced_lstm_step(x: Tensor, h: Tensor, c: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One step of an LSTM, and i, f, g, o side by side."""
    i, f, g, o = torch.addmm(x, h, weight.t()).chunk(4, 1)
    i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
    c = f * c + i * g
    return o * torch.tanh(c), c, torch.cat([i, f, g, o], 1)


def traced_lstm(
    x: Tensor, h: Tensor, c: Tensor, weight_in: Tensor, weight: Tensor, bias_in: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    sums = F.linear(x, weight_in, bias_in + bias)
    outputs: list[Tensor] = []
    kept: list[Tensor] = []
    cells: list[Tensor] = []
    for sums_t in sums.unbind(0):
        h, c, gates = traced_lstm_step(sums_t, h, c, weight)
        outputs.append(h)
        kept.append(gates)
        cells.append(c)
    return torch.stack(outputs), torch.stack(kept), torch.stack(cells)


def traced_gru_step(x: Tensor, h: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """One step of a GRU, and r, z, n and the recurrent part of the candidate side by side."""
    x_r, x_z, x_n = x.chunk(3, 1)
    h_r, h_z, q = torch.addmm(bias, h, weight.t()).chunk(3, 1)
    r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    n = torch.tanh(x_n + r * q)
    return n + z * (h - n), torch.cat([r, z, n, q], 1)


def traced_gru(
    x: Tensor, h: Tensor, weight_in: Tensor, weight: Tensor, bias_in: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    sums = F.linear(x, weight_in, bias_in)
    outputs: list[Tensor] = []
    kept: list[Tensor] = []
    for sums_t in sums.unbind(0):
        h, gates = traced_gru_step(sums_t, h, weight, bias)
        outputs.append(h)
        kept.append(gates)
    return torch.stack(outputs), torch.stack(kept)


def minimal_step(x: Tensor, h: Tensor, forget: Tensor, candidate: Tensor) -> Tensor:
    """One step of the minimal gated unit (Zhou et al. 2016); x[B, 2H] are the sums of the inputs."""
    x_f, x_n = x.chunk(2, 1)
    f = torch.sigmoid(torch.addmm(x_f, h, forget.t()))
    n = torch.tanh(torch.addmm(x_n, f * h, candidate.t()))
    return h + f * (n - h)


def minimal(x: Tensor, h: Tensor, weight_in: Tensor, bias: Tensor, forget: Tensor, candidate: Tensor) -> Tensor:
    sums = F.linear(x, weight_in, bias)
    outputs: list[Tensor] = []
    for sums_t in sums.unbind(0):
        h = minimal_step(sums_t, h, forget, candidate)
        outputs.append(h)
    return torch.stack(outputs)


def rivals_step(x: Tensor, h: Tensor, share: Tensor, candidate: Tensor, groups: int, epsilon: float) -> Tensor:
    """One step of `own_cells.rivals`; x[B, 2H] are the sums of the inputs."""
    x_a, x_n = x.chunk(2, 1)
    a = F.softmax(torch.addmm(x_a, h, share.t()).unflatten(1, [groups, -1]), 2).flatten(1)
    normed = h * torch.rsqrt(h.square().mean(1, keepdim=True) + epsilon)
    n = torch.tanh(torch.addmm(x_n, normed, candidate.t()))
    return h + a * (n - h)


def rivals(
    x: Tensor, h: Tensor, weight_in: Tensor, bias: Tensor, share: Tensor, candidate: Tensor, groups: int = GROUPS,
    epsilon: float = EPSILON,
) -> Tensor:  # fmt: skip
    sums = F.linear(x, weight_in, bias)
    outputs: list[Tensor] = []
    for sums_t in sums.unbind(0):
        h = rivals_step(sums_t, h, share, candidate, groups, epsilon)
        outputs.append(h)
    return torch.stack(outputs)


LOOPS: dict[str, tuple[Loop, Loop]] = {
    "norm lstm": (norm_lstm, norm_lstm_step),
    "dropout lstm": (dropped_lstm, dropped_lstm_step),
    "dropout gru": (dropped_gru, dropped_gru_step),
    "trace lstm": (traced_lstm, traced_lstm_step),
    "trace gru": (traced_gru, traced_gru_step),
    "own minimal": (minimal, minimal_step),
    "own rivals": (rivals, rivals_step),
}


def ways(name: str) -> dict[str, Loop]:
    """A loop as it stands, scripted, and with a compiled step."""
    loop, step = LOOPS[name]
    torch.compiler.reset()  # a step compiled for another row would count against the limit of recompilations
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted = torch.jit.script(loop)
    compiled = torch.compile(step, fullgraph=True)
    # the same loop, with another function behind the name of its step
    around = FunctionType(loop.__code__, {**globals(), step.__name__: compiled}, argdefs=loop.__defaults__)
    return {"eager": loop, "scripted": scripted, "compiled step": around}


def quickest(calls: Mapping[str, Callable[[], Any]]) -> tuple[str, str]:
    """The name of the quickest, and the milliseconds of all in words."""
    took: dict[str, float] = {}
    for name, call in calls.items():
        # compilers look at the first calls
        for _ in range(WARM):
            call()
        samples: list[float] = []
        for _ in range(PROBES):
            started = time.perf_counter()
            call()
            samples.append(time.perf_counter() - started)
        took[name] = min(samples)
    words = ", ".join(f"{name} {1e3 * seconds:.4g} ms" for name, seconds in took.items())
    return min(took, key=lambda name: took[name]), words
