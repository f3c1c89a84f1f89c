"""Modules in torch's form as descriptions: RNN, GRU, LSTM and their cells, of `torch.nn` and of `recurra.nn`.

Options of `recurra.nn` count as in evaluation mode; those that act in training alone are not there. What a layer computes is
said by `recurra.kernels` (a variant of a step); this file only knows which parameter is which.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from recurra.errors import UsageError
from recurra.kernels import variants, without_forget
from recurra.nn import cells, layer, sequence
from recurra.nn.options import PLAIN, Options
from recurra.onnx.description import (
    NODE_ACTIVATIONS,
    Description,
    Layer,
    Recurrence,
    Scanned,
    StateInput,
    checked_dtype,
    plain,
    stepped,
)

_MODES = {
    "RNN_TANH": ("elman", "tanh"),
    "RNN_RELU": ("elman", "relu"),
    "GRU": ("gru", "tanh"),
    "LSTM": ("lstm", "tanh"),
}
"""What torch's modules call their kinds: our kernel, and the function of candidate and output."""
_CELLS: dict[type, str] = {nn.RNNCell: "elman", nn.GRUCell: "gru", nn.LSTMCell: "lstm"}
_OPERATORS = {"elman": "RNN", "gru": "GRU", "lstm": "LSTM"}
_FORWARDS = {
    kind.forward for kind in (nn.RNN, nn.GRU, nn.LSTM, *_CELLS, sequence.Sequence, cells.Cell)
}  # fmt: skip
"""What computes what is described here. A class with another one may compute anything."""
_IN_NODES = {
    "recurrent_dropout", "weight_drop", "forget_bias", "recompute", "learn_initial_state", "hidden_sizes",
    "peepholes", "reset_after",
}  # fmt: skip
"""Options that say nothing of a step in evaluation mode, and those that ONNX's nodes have."""


def is_module(network: Any) -> bool:
    """Whether it is a module in torch's form."""
    return isinstance(network, nn.RNNBase | nn.RNNCellBase)


def describe_module(module: Any) -> Description:
    """An RNN, GRU, LSTM or a cell of torch.nn or recurra.nn; raises `UsageError` for what only looks like one."""
    kernel, function = _kernel(module)
    if type(module).forward not in _FORWARDS:
        raise UsageError("This module has a forward of its own, which has no ONNX form", got=type(module).__name__)
    options: Options = getattr(module, "options", PLAIN)
    if kernel == "elman" and options.activation != "tanh":
        function = options.activation
    names = ("h", "c") if kernel == "lstm" else ("h",)
    if isinstance(module, nn.RNNCellBase):
        part = _direction(module, kernel, function, options, "")
        states = tuple(StateInput(name, module.hidden_size, ((0, leaf),)) for leaf, name in enumerate(names))
        return Description((Layer((part,)),), module.input_size, checked_dtype(_dtype(module, "")), states, "step")
    ends = ("", "_reverse") if module.bidirectional else ("",)
    layers = tuple(
        Layer(tuple(_direction(module, kernel, function, options, f"_l{each}{end}") for end in ends))
        for each in range(module.num_layers)
    )
    states = tuple(_states(module, options, layers, names))
    form = "batch" if module.batch_first else "time"
    return Description(layers, module.input_size, checked_dtype(_dtype(module, "_l0")), states, form)


def _dtype(module: Any, suffix: str) -> torch.dtype:
    return getattr(module, "weight_ih" + suffix).dtype


def _kernel(module: Any) -> tuple[str, str]:
    if isinstance(module, nn.RNNCellBase):
        for kind, kernel in _CELLS.items():
            if isinstance(module, kind):
                function = module.nonlinearity if kernel == "elman" else "tanh"
                return kernel, str(function)
    mode: str = getattr(module, "mode", type(module).__name__)
    if mode not in _MODES:
        raise UsageError("This module has no ONNX form", got=f"mode {mode}", expected=", ".join(_MODES))
    return _MODES[mode]


def _states(module: Any, options: Options, layers: tuple[Layer, ...], names: tuple[str, ...]) -> list[StateInput]:
    """One tensor for all layers and directions or, with sizes by layer, one for each layer."""
    ends, lines = len(layers[0].parts), len(layers) * len(layers[0].parts)
    groups = [("", "", range(lines))]
    if options.hidden_sizes is not None:
        groups = [(f"{k}.", f"_l{k}", range(k * ends, (k + 1) * ends)) for k in range(len(layers))]
    found = []
    for prefix, suffix, parts in groups:
        for leaf, name in enumerate(names):
            initial = getattr(module, f"{name}_0{suffix}") if options.learn_initial_state else None
            sizes = options.hidden_sizes or (module.hidden_size,) * len(layers)
            hidden = sizes[parts[0] // ends]
            width = module.proj_size or hidden if name == "h" else hidden
            holds = tuple((part, leaf) for part in parts)
            found.append(StateInput(f"{prefix}{name}", width, holds, True, None if initial is None else plain(initial)))
    return found


def _direction(module: Any, kernel: str, function: str, options: Options, suffix: str) -> Recurrence | Scanned:
    """One layer in one direction."""
    dtype = _dtype(module, suffix)

    def get(name: str) -> Any:
        value = getattr(module, name + suffix, None)
        return None if value is None else plain(value).to(dtype)

    reverse = suffix.endswith("_reverse")
    changed = set(options.changed()) - _IN_NODES - ({"activation"} if kernel == "elman" else set())
    projection = get("weight_hr")
    if not changed and projection is None and (kernel != "elman" or function in NODE_ACTIVATIONS):
        activation, clip = NODE_ACTIVATIONS[function]
        return Recurrence(
            _OPERATORS[kernel], get("weight_ih"), get("weight_hh"), get("bias_ih"), get("bias_hh"), activation, clip,
            options.reset_after, get("peephole"), reverse,
        )  # fmt: skip
    weight_in, weight = get("weight_ih"), get("weight_hh")
    hidden = weight_in.shape[0] // layer.GATES[kernel]
    bias_in, bias = get("bias_ih"), get("bias_hh")
    norm_in, norm = get("norm_ih"), get("norm_hh")
    of_cell, of_hidden = options.zoneout_cell_hidden
    widths = (hidden,)
    if kernel == "gru":
        bias_in, bias = layer.biases_of_gru(bias_in, bias, hidden)
        variant = variants.gru(
            weight, bias, None, options.reset_after, norm, options.gate_activation, options.activation, of_hidden
        )
    else:
        bias_in = _sum(bias_in, bias)
        if kernel == "elman":
            variant = variants.elman(weight, None, function, norm, of_hidden)
        else:
            widths = (weight.shape[1], hidden)
            if options.coupled:  # what is not used takes no part
                weight_in = without_forget(weight_in)
                bias_in, norm_in = (v if v is None else without_forget(v) for v in (bias_in, norm_in))
            variant = variants.lstm(
                weight, None, get("peephole"), projection, norm, get("norm_c"), options.coupled, options.cell_clip,
                options.gate_activation, options.activation, of_hidden, of_cell,
            )  # fmt: skip
    normalise = None if norm_in is None else _NORMALISE[kernel]
    return stepped(variant, weight_in, bias_in, reverse=reverse, widths=widths, norm_in=norm_in, normalise=normalise)


# (kept, since a step is known again by what it is made of)
_NORMALISE = {kernel: partial(layer.normalised, kernel=kernel) for kernel in _OPERATORS}


def _sum(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    return other if one is None else one if other is None else one + other
