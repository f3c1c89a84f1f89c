"""Short calls without gradients, around the dispatcher of torch, with weights that stay packed (`kernels.Kept`).

Whatever is out of the ordinary, mistakes included, is left to the long way.
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

_OF_KEPT = {"peepholes", "reset_after", "activation", "forget_bias", "recompute"}
"""Options that kept weights can run with, or need not know."""
_ONLY_IN_TRAINING = {"recurrent_dropout", "weight_drop"}


def run(module: Any, input: Any, hx: Any, lengths: Any, resets: Any) -> tuple[Tensor, Any] | None:
    """What `forward` of a whole module gives, or None."""
    if type(input) is not Tensor or module.bidirectional:
        return None
    shape = input.shape
    batched = len(shape) == 3
    if batched:
        steps, batch, width = shape
        if module.batch_first:
            steps, batch = batch, steps
    elif len(shape) == 2:
        steps, width = shape
        batch = 1
    else:
        return None
    if not 0 < steps * batch <= kernels.MOST_ROWS or width != module.input_size:
        return None
    training = module.training
    if training and module.dropout and module.num_layers > 1:
        return None
    kept = _ready(module, training, input)
    if kept is None:
        return None
    # in memory an axis of one is no axis
    swap = batched and module.batch_first and steps > 1 and batch > 1
    if swap:
        input = input.transpose(0, 1).contiguous()
        resets = resets if resets is None else resets.transpose(0, 1).contiguous()
    elif not input.is_contiguous():
        return None
    layers, hidden = module.num_layers, module.hidden_size
    out = module.proj_size or hidden
    lstm = module.kernel == "lstm"
    ends = (batch,) if batched else ()
    shapes = [(layers, *ends, out), (layers, *ends, hidden)] if lstm else [(layers, *ends, out)]
    states = None
    if hx is not None:
        states = hx if lstm else (hx,)
        if type(states) is not tuple or not _plain(states, shapes, kept.dtype):
            return None
    if lengths is not None and not (batched and _is(lengths, torch.int64, (batch,))):
        return None
    if resets is not None and not (_is(resets, torch.bool, (steps, batch)) or resets.shape == shape[:-1]):
        return None
    outputs = torch.empty((steps, *ends, out) if swap or not batched else (*shape[:2], out), dtype=kept.dtype)
    last = tuple([torch.empty(one, dtype=kept.dtype) for one in shapes])
    if not kept.run_stacked(steps, batch, input, states, last, outputs, lengths, resets):
        return None
    return outputs.transpose(0, 1) if swap else outputs, last if lstm else last[0]


def step(cell: Any, input: Any, hx: Any) -> Any:
    """What `forward` of a cell gives, or None."""
    if type(input) is not Tensor or not input.is_contiguous():
        return None
    shape = input.shape
    if not 0 < len(shape) < 3 or shape[-1] != cell.input_size:
        return None
    batch = 1 if len(shape) == 1 else shape[0]
    if not 0 < batch <= kernels.MOST_ROWS:
        return None
    kept = _ready(cell, cell.training, input)
    if kept is None:
        return None
    lstm = cell.kernel == "lstm"
    new = (*shape[:-1], cell.hidden_size)
    states = None
    if hx is not None:
        states = hx if lstm else (hx,)
        if type(states) is not tuple or not _plain(states, [new] * (1 + lstm), kept.dtype):
            return None
    last = tuple([torch.empty(new, dtype=kept.dtype) for _ in range(1 + lstm)])
    if not kept.run_stacked(1, batch, input, states, last):
        return None
    return last if lstm else last[0]


def _ready(module: Any, training: bool, input: Tensor) -> kernels.Kept | None:
    """The module's kept weights, where they can run these inputs."""
    options = module.options
    if options is not PLAIN and not _keeps(options, training):
        return None
    kept = _kept.get(module)
    if kept is None or not kept.current():
        weights = _weights(module, options)
        if weights is None or not kernels.keepable(module, weights):
            return None
        kept = _kept[module] = kernels.Kept(module, weights)
    if input.dtype != kept.dtype or input.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return None
    return kept


def _keeps(options: Options, training: bool) -> bool:
    allowed = _OF_KEPT if training else _OF_KEPT | _ONLY_IN_TRAINING
    return allowed.issuperset(options.changed())


def _weights(module: Any, options: Options) -> list[kernels.LayerWeights] | None:
    suffixes = [f"_l{k}" for k in range(module.num_layers)] if isinstance(module, nn.RNNBase) else [""]
    layers = []
    for suffix in suffixes:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr", "peephole")
        weight_in, weight, bias, bias_state, projection, peepholes = (
            getattr(module, name + suffix, None) for name in names
        )
        if weight_in is None or weight is None:
            return None
        layers.append(
            kernels.LayerWeights(
                module.kernel, weight_in, weight, bias, peepholes=peepholes, projection=projection,
                activation=layer.function_of(module, options) if module.kernel == "elman" else "tanh",
                reset_after=options.reset_after, bias_state=bias_state,
            )
        )  # fmt: skip
    return layers


def _is(given: Any, dtype: torch.dtype, shape: tuple[int, ...]) -> bool:
    return (
        type(given) is Tensor and given.shape == shape and given.dtype == dtype and given.is_contiguous()
        and given.device.type == "cpu"
    )  # fmt: skip


def _plain(states: tuple[Any, ...], shapes: list[tuple[int, ...]], dtype: torch.dtype) -> bool:
    """Whether these are ordinary tensors of these shapes, their numbers side by side in the processor's memory."""
    if len(states) != len(shapes):
        return False
    for state, shape in zip(states, shapes, strict=True):
        if not _is(state, dtype, shape):
            return False
    return True
