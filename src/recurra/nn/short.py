"""Short calls without gradients, around the dispatcher of torch, with weights that stay packed (`kernels.Kept`).

Whatever is out of the ordinary, mistakes included, is left to the long way. Sizes are looked at natively.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from recurra import kernels
from recurra.nn import layer
from recurra.nn.options import PLAIN, Options

_kept: WeakKeyDictionary[nn.Module, kernels.Kept] = WeakKeyDictionary()

_OF_KEPT = {"peepholes", "reset_after", "forget_bias", "recompute"}
"""Options that kept weights can run with, or need not know."""
_ONLY_IN_TRAINING = {"recurrent_dropout", "weight_drop"}


def run(module: Any, input: Any, hx: Any, lengths: Any, resets: Any) -> tuple[Tensor, Any] | None:
    """What `forward` of a whole module gives, or None."""
    if type(input) is not Tensor:
        return None
    shape = input.shape
    batched = len(shape) == 3
    if batched:
        steps, batch, _ = shape
        if module.batch_first:
            steps, batch = batch, steps
    elif len(shape) == 2 and lengths is None and resets is None:
        steps, batch = shape[0], 1
    else:
        return None
    if steps * batch > kernels.MOST_ROWS or (module.training and module.dropout and module.num_layers > 1):
        return None
    kept = _ready(module, input)
    if kept is None:
        return None
    # in memory an axis of one is no axis
    swap = batched and module.batch_first and steps > 1 and batch > 1
    if swap:
        input = input.transpose(0, 1).contiguous()
    if lengths is not None and not _is(lengths, torch.int64, (batch,)):
        return None
    if resets is not None:
        if not _is(resets, torch.bool, shape[:2]):
            return None
        resets = resets.transpose(0, 1).contiguous() if swap else resets
    lstm = module.kernel == "lstm"
    dtype = kept.dtype
    directions = 2 if module.bidirectional else 1
    width = module.proj_size or module.hidden_size
    if hx is None:
        states = None
        sizes = (module.num_layers * directions, batch) if batched else (module.num_layers * directions,)
        last = [torch.empty(*sizes, width, dtype=dtype)]
        if lstm:
            last.append(torch.empty(*sizes, module.hidden_size, dtype=dtype))
    else:
        states = hx if lstm else (hx,)
        if not _plain(states, 1 + lstm, dtype):
            return None
        last = [torch.empty_like(state) for state in states]
    outputs = torch.empty(*input.shape[:-1], directions * width, dtype=dtype)
    if not kept.run_stacked(steps, batch, input, states, last, outputs, lengths, resets):
        return None
    return outputs.transpose(0, 1) if swap else outputs, tuple(last) if lstm else last[0]


def step(cell: Any, input: Any, hx: Any) -> Any:
    """What `forward` of a cell gives, or None."""
    if type(input) is not Tensor:
        return None
    shape = input.shape
    if not 0 < len(shape) < 3 or shape[-1] != cell.input_size:
        return None
    batch = 1 if len(shape) == 1 else shape[0]
    kept = _ready(cell, input)
    if kept is None or batch > kernels.MOST_ROWS:
        return None
    lstm = cell.kernel == "lstm"
    if hx is None:
        states = None
        last = [torch.empty(*shape[:-1], cell.hidden_size, dtype=kept.dtype) for _ in range(1 + lstm)]
    else:
        states = hx if lstm else (hx,)
        if not _plain(states, 1 + lstm, kept.dtype):
            return None
        last = [torch.empty_like(state) for state in states]
    if not kept.run_stacked(1, batch, input, states, last):
        return None
    return tuple(last) if lstm else last[0]


def _ready(module: Any, input: Tensor) -> kernels.Kept | None:
    """The module's kept weights, where they can run these inputs."""
    options = module.options
    if (options is not PLAIN and not _keeps(options, module.training)) or not input.is_cpu:
        return None
    kept = _kept.get(module)
    if kept is None or not kept.current():
        weights = _weights(module, options)
        if weights is None or not kernels.keepable(module, weights):
            return None
        kept = _kept[module] = kernels.Kept(module, weights, paired=getattr(module, "bidirectional", False))
    if input.dtype is not kept.dtype or torch.is_autocast_enabled("cpu"):
        return None
    return kept


def _keeps(options: Options, training: bool) -> bool:
    allowed = _OF_KEPT if training else _OF_KEPT | _ONLY_IN_TRAINING
    return allowed.issuperset(options.changed())


_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr", "peephole")


def _weights(module: Any, options: Options) -> list[kernels.LayerWeights] | None:
    ends = [""]
    if hasattr(module, "num_layers"):
        directions = ("", "_reverse") if module.bidirectional else ("",)
        ends = [f"_l{k}{direction}" for k in range(module.num_layers) for direction in directions]
    kernel: str = module.kernel
    activation = layer.function_of(module, options) if kernel == "elman" else "tanh"
    layers: list[kernels.LayerWeights] = []
    for end in ends:
        found = [getattr(module, name + end, None) for name in _NAMES]
        weight_in, weight, bias_in, bias_state, projection, peepholes = found
        if weight_in is None or weight is None:
            return None
        one = kernels.LayerWeights(
            kernel, weight_in, weight, bias_in, peepholes=peepholes, projection=projection, activation=activation,
            reset_after=options.reset_after, reverse=end.endswith("_reverse"), bias_state=bias_state,
        )  # fmt: skip
        layers.append(one)
    return layers


def _is(given: Any, dtype: torch.dtype, shape: Any) -> bool:
    return (
        type(given) is Tensor and given.shape == shape and given.dtype == dtype and given.is_contiguous()
        and given.is_cpu
    )  # fmt: skip


def _plain(states: Any, count: int, dtype: torch.dtype) -> bool:
    """Whether these are so many ordinary tensors; of their sizes only that they are contiguous is known afterwards."""
    if type(states) is not tuple or len(states) != count:
        return False
    for state in states:
        if type(state) is not Tensor or state.dtype is not dtype or not state.is_cpu or not state.is_contiguous():
            return False
    return True
