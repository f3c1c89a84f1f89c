"""One layer in one direction: its parameters by name, its options, and one call of a kernel.

A layer's names end in `_l{k}` or `_l{k}_reverse`, a cell's in nothing. Weights are looked up at every call, so that whatever
stands behind a name (a parametrisation, another tensor, nothing for a bias) is what runs.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from recurra import kernels
from recurra.nn.options import PLAIN, Options

GATES = {"elman": 1, "gru": 3, "lstm": 4}
INNER = {"elman": ("z",), "gru": ("r", "z", "n", "q"), "lstm": ("i", "f", "g", "o")}
"""The names of what a kernel keeps of every step."""


def function_of(module: Any, options: Options) -> str:
    """The name of the function of candidate and output; torch's error for a nonlinearity that torch does not have."""
    if options.activation != "tanh" or module.kernel != "elman":
        return options.activation
    # a layer goes by its mode, as in torch, and a cell by its nonlinearity
    mode: str = getattr(module, "mode", "")
    name: str = mode.removeprefix("RNN_").lower() if mode else module.nonlinearity
    if name not in ("tanh", "relu"):
        raise RuntimeError(f"Unknown nonlinearity: {name}")
    return name


def run(
    module: Any, suffix: str, x: Tensor, state: tuple[Tensor, ...], lengths: Tensor | None, resets: Tensor | None,
    *, reverse: bool, keep: bool,
) -> tuple[Tensor, tuple[Tensor, ...], dict[str, Tensor]]:  # fmt: skip
    """x[T, B, I], state ([B, H], for an LSTM two) -> outputs[T, B, H], the last state, and if `keep` the inner values."""
    options: Options = module.options
    kernel: str = module.kernel
    weights = _Weights(module, suffix, x.dtype)
    settings: dict[str, Any] = {}
    weight_in, weight = weights.needed("weight_ih"), weights.needed("weight_hh")
    bias_in, bias = weights("bias_ih"), weights("bias_hh")
    if kernel == "gru":
        bias_in, bias = biases_of_gru(bias_in, bias, state[0].shape[1])
    else:
        bias_in, bias = bias if bias_in is None else bias_in if bias is None else bias_in + bias, None
    if options is not PLAIN:
        weight, settings = _options(module, weights, options, x, state, weight)
        if options.layer_norm:
            # what pads must not reach the normalisation's gradient either
            x = kernels.without_padding(x, lengths)
            gain = weights("norm_ih")
            if options.coupled:  # what is not used has no part in the mean of the others
                weight_in, gain = kernels.without_forget(weight_in), kernels.without_forget(gain)
            x, weight_in = normalised(kernels.linear(x, weight_in), gain, kernel), None
    if kernel == "lstm" and (projection := weights("weight_hr")) is not None:
        settings["projection"] = projection
    if kernel == "elman" and (name := function_of(module, options)) != "tanh":
        settings["activation"] = name

    def call(
        x: Tensor, state: tuple[Tensor, ...], lengths: Tensor | None, resets: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, ...], dict[str, Tensor]]:
        shared: dict[str, Any] = {
            "weight_in": weight_in, "bias_in": bias_in, "lengths": lengths, "resets": resets, "reverse": reverse,
            "keep": keep, **settings,
        }  # fmt: skip
        if kernel == "lstm":
            outputs, h, c, gates, cells = kernels.lstm(x, state[0], state[1], weight, **shared)
            inner = {**_named(kernel, gates), "c": cells} if keep else {}
            return outputs, (h, c), inner
        if kernel == "gru":
            outputs, h, gates = kernels.gru(x, state[0], weight, bias, **shared)
        else:
            outputs, h, gates = kernels.elman(x, state[0], weight, **shared)
        return outputs, (h,), _named(kernel, gates) if keep else {}

    if options.recompute is None or keep:
        return call(x, state, lengths, resets)
    reads = [value for value in (weight_in, weight, bias_in, bias, *settings.values()) if isinstance(value, Tensor)]
    return (*_recomputed(call, settings, x, state, lengths, resets, reverse, options.recompute, reads), {})


class _Weights:
    """The parameters of one layer by the first part of their names, in the dtype of the call; None where there is none."""

    def __init__(self, module: Any, suffix: str, dtype: torch.dtype) -> None:
        self.module, self.suffix, self.dtype = module, suffix, dtype

    def __call__(self, name: str) -> Any:
        value = getattr(self.module, name + self.suffix, None)
        return value if value is None or value.dtype == self.dtype else value.to(self.dtype)

    def needed(self, name: str) -> Any:
        return getattr(self.module, name + self.suffix).to(self.dtype)


def biases_of_gru(first: Tensor | None, second: Tensor | None, hidden: int) -> tuple[Tensor | None, Tensor | None]:
    """torch's two biases as the kernel takes them: one of the inputs, and one of the candidate's recurrent product."""
    if second is None:
        return first, None
    gates, candidate = second.split([2 * hidden, hidden])
    gates = F.pad(gates, (0, hidden))
    return gates if first is None else first + gates, candidate


def _named(kernel: str, gates: Tensor) -> dict[str, Tensor]:
    names = INNER[kernel]
    return dict(zip(names, gates.chunk(len(names), dim=-1), strict=True))


def normalised(product: Tensor, gain: Tensor, kernel: str) -> Tensor:
    """Layer normalisation over the last axis: of all gates together, but a GRU's candidate by itself, as the kernels do."""
    if kernel != "gru":
        return F.layer_norm(product, product.shape[-1:]) * gain
    hidden = product.shape[-1] // 3
    parts = product.split([2 * hidden, hidden], dim=-1)
    return torch.cat([F.layer_norm(part, part.shape[-1:]) for part in parts], dim=-1) * gain


def _options(
    module: Any, weights: _Weights, options: Options, x: Tensor, state: tuple[Tensor, ...], weight: Tensor
) -> tuple[Tensor, dict[str, Any]]:
    """The recurrent weight, dropped where asked for, and the keywords of the kernel that differ from its defaults."""
    kernel: str = module.kernel
    training: bool = module.training
    settings: dict[str, Any] = {}
    if options.weight_drop and training:
        weight = F.dropout(weight, options.weight_drop)
    if options.recurrent_dropout and training:
        settings["mask"] = F.dropout(torch.ones_like(state[0]), options.recurrent_dropout)
    if options.layer_norm:
        settings["norm"] = weights("norm_hh")
        if kernel == "lstm":
            settings["norm_cell"] = weights("norm_c")
    of_cell, of_hidden = options.zoneout_cell_hidden
    if of_hidden:
        settings["zoneout"] = _zoneout(of_hidden, x, state[0], training)
    if of_cell and kernel == "lstm":
        settings["zoneout_cell"] = _zoneout(of_cell, x, state[1], training)
    if options.peepholes:
        settings["peepholes"] = weights("peephole")
    if options.coupled:
        settings["coupled"] = True
    if options.clip_in_words:
        settings["clip"] = float(options.clip_in_words)
    if not options.reset_after:
        settings["reset_after"] = False
    if options.gate_activation != "sigmoid":
        settings["gate_activation"] = options.gate_activation
    if options.activation != "tanh" and kernel != "elman":
        settings["activation"] = options.activation
    return weight, settings


def _zoneout(share: float, x: Tensor, state: Tensor, training: bool) -> Tensor | float:
    """What is kept of the old state: in training units drawn at each step [T, B, H], otherwise the share."""
    if not training:
        # a compiler lets numbers vary from module to module, and a program cannot
        if not torch.compiler.is_compiling():
            return share
        return torch.full((x.shape[0], *state.shape), share, dtype=x.dtype, device=x.device)
    return torch.bernoulli(torch.full((x.shape[0], *state.shape), share, dtype=x.dtype, device=x.device))


def _recomputed(
    call: Any, settings: dict[str, Any], x: Tensor, state: tuple[Tensor, ...], lengths: Tensor | None,
    resets: Tensor | None, reverse: bool, steps: int, reads: list[Tensor],
) -> tuple[Tensor, tuple[Tensor, ...]]:  # fmt: skip
    """`call` in pieces whose gates are computed again in backward. What goes by steps travels beside the inputs."""
    by_step = [name for name, value in settings.items() if isinstance(value, Tensor) and value.dim() == 3]
    widths = [x.shape[2], *(settings[name].shape[2] for name in by_step)]

    def run(
        piece: Tensor, state: tuple[Tensor, ...], lengths: Tensor | None, resets: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        piece, *rest = piece.split(widths, dim=2)
        settings.update(zip(by_step, rest, strict=True))
        outputs, last, _ = call(piece, state, lengths, resets)
        return outputs, last

    together = torch.cat([x, *(settings[name] for name in by_step)], dim=2) if by_step else x
    return kernels.recomputed(run, together, state, lengths, resets, reverse=reverse, steps=steps, reads=reads)
