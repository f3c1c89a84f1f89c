"""What a network is made of, told in one way: what `graph.py` writes, whatever class it came from.

Cells, blocks and stacks of ours become it here, and so do torch's RNN, GRU and LSTM modules and whatever derives from
their base class. It knows nothing of ONNX's graphs; only which activations a recurrent node has.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from recurra.cells import GRU, LSTM, Cell, Elman, FeedForward
from recurra.errors import UsageError
from recurra.layers import Bidirectional, Block, Stack
from recurra.onnx.activations import Activation
from recurra.state import leaves

TANH = Activation("Tanh")


@dataclass(frozen=True)
class Recurrence:
    """One direction of a recurrent layer: gates in torch's order, biases[G*H] of the inputs and of the state.

    `operator` is ONNX's; `activation` and `clip` are for RNN, `reset_after` for GRU.
    """

    operator: str
    weight_in: Tensor
    weight: Tensor
    bias_in: Tensor | None
    bias: Tensor | None
    activation: Activation = TANH
    clip: float | None = None
    reset_after: bool = True
    reverse: bool = False

    @property
    def hidden(self) -> int:
        return self.weight.shape[1]

    @property
    def leaves(self) -> int:
        """How many tensors its state has."""
        return 2 if self.operator == "LSTM" else 1


@dataclass(frozen=True)
class Pointwise:
    """f(W x + b) at every step; `activation` is a name from `kernels.ACTIVATIONS`."""

    weight: Tensor
    bias: Tensor
    activation: str

    @property
    def hidden(self) -> int:
        return self.weight.shape[0]


@dataclass(frozen=True)
class Layer:
    """Parts over the same inputs, side by side; with `residual` the inputs are added to what they give."""

    parts: tuple[Recurrence | Pointwise, ...]
    residual: bool = False


@dataclass(frozen=True)
class Description:
    """Layers in a row.

    `states`: the name of each leaf of the state and its width, in the order of the parts; or, with `stacked`, the names of
    leaves[parts, B, H] that hold one line for each part, as torch's modules have them.
    """

    layers: tuple[Layer, ...]
    inputs: int
    dtype: torch.dtype
    states: tuple[tuple[str, int], ...]
    stacked: bool = False
    batch_first: bool = False

    @property
    def hidden(self) -> int:
        """The width of its outputs."""
        return sum(part.hidden for part in self.layers[-1].parts)


_NODE_ACTIVATIONS: dict[str, tuple[Activation, float | None]] = {
    "tanh": (Activation("Tanh"), None),
    "relu": (Activation("Relu"), None),
    "sigmoid": (Activation("Sigmoid"), None),
    "identity": (Activation("Affine", 1.0, 0.0), None),
    # what goes into an activation can be clipped: into none at all, that is this one
    "hardtanh": (Activation("Affine", 1.0, 0.0), 1.0),
    "hardsigmoid": (Activation("HardSigmoid", 1 / 6, 0.5), None),
    "leaky_relu": (Activation("LeakyRelu", 0.01), None),
    "softsign": (Activation("Softsign"), None),
    "softplus": (Activation("Softplus"), None),
    "elu": (Activation("Elu", 1.0), None),
}
"""Our activations as a recurrent node has them, and the clipping that belongs to them."""


def describe(network: Any) -> Description:
    """A cell, `Bidirectional`, `Block`, `Stack`, or a torch RNN, GRU or LSTM; raises `UsageError` for anything else."""
    if isinstance(network, nn.RNNBase):
        return _torch_module(network)
    # a class derived from one of ours may compute anything
    if type(network) is Stack:
        blocks: list[Any] = list(network.blocks)
    elif isinstance(network, Cell) or type(network) in (Bidirectional, Block):
        blocks = [network]
    else:
        raise UsageError(
            "This has no ONNX form",
            got=type(network).__name__,
            expected="a cell, Bidirectional, Block, Stack, LanguageModel, Classifier, or torch's RNN, GRU or LSTM",
        )
    dtype = next(network.parameters()).dtype
    states = tuple((name, leaf.shape[1]) for name, leaf in leaves(network.initial_state(1)).items())
    return Description(tuple(map(_layer, blocks)), network.inputs, _checked(dtype), states)


def _layer(block: Cell | Bidirectional | Block) -> Layer:
    if type(block) is Block:
        return replace(_layer(block.cell), residual=block.residual)
    if type(block) is Bidirectional:
        return Layer((_part(block.ahead), _part(block.back)))
    return Layer((_part(block),))


def _part(cell: Any) -> Recurrence | Pointwise:
    if type(cell) is FeedForward:
        return Pointwise(_plain(cell.weight_in), _plain(cell.bias), cell.activation)
    if type(cell) is Elman:
        if cell.activation not in _NODE_ACTIVATIONS:
            raise UsageError(
                f"A recurrent node of ONNX has no activation '{cell.activation}'", expected=", ".join(_NODE_ACTIVATIONS)
            )
        activation, clip = _NODE_ACTIVATIONS[cell.activation]
        return Recurrence(
            "RNN", _plain(cell.weight_in), _plain(cell.weight_state), _plain(cell.bias), None, activation, clip,
            reverse=cell.reverse,
        )  # fmt: skip
    if type(cell) is GRU:
        bias = torch.cat([cell.bias_state.new_zeros(2 * cell.hidden), cell.bias_state])
        return Recurrence(
            "GRU", _plain(cell.weight_in), _plain(cell.weight_state), _plain(cell.bias), _plain(bias),
            reset_after=cell.reset_after, reverse=cell.reverse,
        )  # fmt: skip
    if type(cell) is LSTM:
        return Recurrence(
            "LSTM", _plain(cell.weight_in), _plain(cell.weight_state), _plain(cell.bias), None, reverse=cell.reverse
        )
    raise UsageError(
        "This cell has no ONNX form", got=type(cell).__name__, expected="FeedForward, Elman, GRU or LSTM itself"
    )


_MODES = {
    "RNN_TANH": ("RNN", "Tanh"),
    "RNN_RELU": ("RNN", "Relu"),
    "GRU": ("GRU", "Tanh"),
    "LSTM": ("LSTM", "Tanh"),
}
"""What torch's modules call their kinds."""


def _torch_module(module: nn.RNNBase) -> Description:
    if module.mode not in _MODES:
        raise UsageError("This module has no ONNX form", got=f"mode {module.mode}", expected=", ".join(_MODES))
    if module.proj_size:
        raise UsageError("ONNX's LSTM has no projection", got=f"proj_size={module.proj_size}", expected="proj_size=0")
    operator, activation = _MODES[module.mode]

    def recurrence(suffix: str) -> Recurrence:
        weight_in, weight = (_plain(getattr(module, f"weight_{which}_{suffix}")) for which in ("ih", "hh"))
        bias_in, bias = (
            _plain(getattr(module, f"bias_{which}_{suffix}")) if module.bias else None for which in ("ih", "hh")
        )
        reverse = suffix.endswith("_reverse")
        return Recurrence(operator, weight_in, weight, bias_in, bias, Activation(activation), reverse=reverse)

    ends = ("", "_reverse") if module.bidirectional else ("",)
    layers = tuple(Layer(tuple(recurrence(f"l{each}{end}") for end in ends)) for each in range(module.num_layers))
    return Description(
        layers,
        module.input_size,
        _checked(module.weight_ih_l0.dtype),  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue]
        tuple((name, module.hidden_size) for name in ("h", "c")[: 2 if operator == "LSTM" else 1]),
        stacked=True,
        batch_first=module.batch_first,
    )


def _plain(parameter: Any) -> Tensor:
    return parameter.detach().cpu()


def _checked(dtype: torch.dtype) -> torch.dtype:
    if dtype not in (torch.float32, torch.float64):
        raise UsageError(
            "Only float32 and float64 are written to ONNX", got=dtype, fix="Convert a copy first: network.float()"
        )
    return dtype
