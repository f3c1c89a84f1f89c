"""Descriptions written as ONNX: a small builder of graphs, and the layers of a `Description` as nodes in it.

Inside, everything is time first, [T, B, width], and states are [1, B, H] as the recurrent nodes have them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor

from recurra.onnx.activations import FORMULAS
from recurra.onnx.description import Description, Layer, Pointwise, Recurrence
from recurra.onnx.nodes import OPERATORS, reordered

BATCH, TIME = "batch", "time"
TYPES = {
    torch.float32: TensorProto.FLOAT,
    torch.float64: TensorProto.DOUBLE,
    torch.int64: TensorProto.INT64,
}


class Graph:
    """A graph under construction. Values are their names; `dtype` is that of all numbers in it."""

    def __init__(self, dtype: torch.dtype, opset: int) -> None:
        self.dtype = dtype
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, shape: Sequence[int | str], dtype: torch.dtype | None = None) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, TYPES[dtype or self.dtype], shape))
        return name

    def output(self, name: str, value: str, shape: Sequence[int | str]) -> None:
        self.nodes.append(helper.make_node("Identity", [value], [name]))
        self.outputs.append(helper.make_tensor_value_info(name, TYPES[self.dtype], shape))

    def constant(self, name: str, value: Tensor | np.ndarray) -> str:
        """A constant under this name; the name of one that is there already stands for the same value."""
        if name not in self.constants:
            array = value.contiguous().numpy() if isinstance(value, Tensor) else value
            self.constants[name] = numpy_helper.from_array(array, name)
        return name

    def integers(self, *values: int) -> str:
        """A list of whole numbers, as operators take axes."""
        return self.constant(f"integers.{'.'.join(map(str, values))}", np.array(values, dtype=np.int64))

    def integer(self, value: int) -> str:
        return self.constant(f"integer.{value}", np.array(value, dtype=np.int64))

    def number(self, value: float) -> str:
        return self.constant(f"number.{value!r}", torch.tensor(value, dtype=self.dtype))

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """A node with one result."""
        return self.add_many(operator, inputs, 1, **attributes)[0]

    def add_many(self, operator: str, inputs: Sequence[str], results: int, **attributes: Any) -> list[str]:
        place = f"{operator}.{len(self.nodes)}"
        names = [f"{place}.{result}" for result in range(results)]
        self.nodes.append(helper.make_node(operator, inputs, names, name=place, **attributes))
        return names

    def linear(self, x: str, name: str, weight: Tensor, bias: tuple[str, Tensor] | None) -> str:
        """x[..., K] weight[M, K]^T + bias[M]; the weight is kept as it is, so that an embedding can share it."""
        product = self.add("MatMul", x, self.add("Transpose", self.constant(name, weight), perm=[1, 0]))
        return product if bias is None else self.add("Add", product, self.constant(*bias))

    def model(self, about: str, metadata: dict[str, str]) -> ModelProto:
        """The finished model, checked."""
        from recurra import __version__

        graph = helper.make_graph(self.nodes, about, self.inputs, self.outputs, list(self.constants.values()))
        opsets = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(
            graph,
            opset_imports=opsets,
            ir_version=helper.find_min_ir_version_for(opsets),
            producer_name="recurra",
            producer_version=__version__,
        )
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model, full_check=True)
        return model


@dataclass(frozen=True)
class Lengths:
    """lengths[B], and what nodes need of them: `nodes`[B] int32, `valid`[T, B, 1] and `empty`[B, 1], which are bool."""

    lengths: str
    nodes: str
    valid: str
    empty: str

    @classmethod
    def read(cls, graph: Graph, x: str) -> Lengths:
        """The input `lengths` of a graph whose inputs x are [T, B, ...]."""
        lengths = graph.input("lengths", [BATCH], torch.int64)
        steps = graph.add("Gather", graph.add("Shape", x), graph.integer(0))
        every = graph.add("Range", graph.integer(0), steps, graph.integer(1))
        before = graph.add("Less", graph.add("Unsqueeze", every, graph.integers(1)), lengths)
        empty = graph.add("Equal", lengths, graph.integer(0))
        return cls(
            lengths,
            graph.add("Cast", lengths, to=TensorProto.INT32),
            graph.add("Unsqueeze", before, graph.integers(2)),
            graph.add("Unsqueeze", empty, graph.integers(1)),
        )

    def masked(self, graph: Graph, x: str) -> str:
        """x[T, B, H], zero after each row's end."""
        return graph.add("Where", self.valid, x, graph.number(0.0))


def layers(
    graph: Graph, description: Description, x: str, lengths: Lengths | None, prefix: str = ""
) -> tuple[str, list[tuple[str, str, list[int | str]]]]:
    """Write all layers over x[T, B, I]: outputs[T, B, H], and for each leaf of the state its name, value and shape.

    The state's leaves become inputs of the graph, `state.` before their names; `prefix` comes between.
    """
    states = [f"{prefix}{name}" for name, _ in description.states]
    parts = [part for layer in description.layers for part in layer.parts if isinstance(part, Recurrence)]
    shapes: list[list[int | str]] = [
        [len(parts), BATCH, width] if description.stacked else [BATCH, width] for _, width in description.states
    ]
    given = [graph.input(f"state.{name}", shape) for name, shape in zip(states, shapes, strict=True)]
    before = _one_by_one(graph, description, parts, given)
    after: list[list[str]] = []
    for number, layer in enumerate(description.layers):
        x, rest = _layer(graph, f"{prefix}{number}", layer, x, before, lengths)
        after += rest
    flat = [leaf for leaves in after for leaf in leaves]
    if description.stacked:
        values = [graph.add("Concat", *leaves, axis=0) for leaves in zip(*after, strict=True)]
    else:
        values = [graph.add("Squeeze", leaf, graph.integers(0)) for leaf in flat]
    return x, list(zip(states, values, shapes, strict=True))


def _one_by_one(
    graph: Graph, description: Description, parts: Sequence[Recurrence], given: Sequence[str]
) -> list[list[str]]:
    """The leaves [1, B, H] of each part's state, in order."""
    if description.stacked:
        return [
            [graph.add("Gather", leaf, graph.integers(place), axis=0) for leaf in given] for place in range(len(parts))
        ]
    every = iter(given)
    return [[graph.add("Unsqueeze", next(every), graph.integers(0)) for _ in range(part.leaves)] for part in parts]


def _layer(
    graph: Graph, name: str, layer: Layer, x: str, before: list[list[str]], lengths: Lengths | None
) -> tuple[str, list[list[str]]]:
    """One layer over x[T, B, I]; takes the states of its parts off `before`."""
    outputs, after = [], []
    for number, group in enumerate(_groups(layer.parts)):
        place = f"{name}.{number}"
        if isinstance(group, Pointwise):
            outputs.append(_pointwise(graph, place, group, x, lengths))
            continue
        y, rest = _node(graph, place, group, x, [before.pop(0) for _ in group], lengths)
        outputs.append(y)
        after += rest
    y = outputs[0] if len(outputs) == 1 else graph.add("Concat", *outputs, axis=2)
    if layer.residual:
        y = graph.add("Add", y, x if lengths is None else lengths.masked(graph, x))
    return y, after


def _groups(parts: Sequence[Recurrence | Pointwise]) -> list[Pointwise | list[Recurrence]]:
    """The parts of a layer by the node they become: two directions that are alike are one bidirectional node."""
    if len(parts) == 2 and all(isinstance(part, Recurrence) for part in parts):
        ahead, back = (part for part in parts if isinstance(part, Recurrence))
        alike = ("operator", "hidden", "clip", "reset_after")
        if not ahead.reverse and back.reverse and all(getattr(ahead, one) == getattr(back, one) for one in alike):
            return [[ahead, back]]
    return [part if isinstance(part, Pointwise) else [part] for part in parts]


def _node(
    graph: Graph, name: str, group: Sequence[Recurrence], x: str, before: list[list[str]], lengths: Lengths | None
) -> tuple[str, list[list[str]]]:
    """One recurrent node: outputs[T, B, D*H] and the leaves [1, B, H] of each direction's last state."""
    first = group[0]
    operator = OPERATORS[first.operator]
    # where ONNX's gates stand in ours: the other way round
    order = [operator.order.index(place) for place in range(len(operator.order))]

    def stacked(what: str, tensors: list[Tensor]) -> str:
        return graph.constant(f"{name}.{what}", torch.stack([reordered(tensor, order) for tensor in tensors]))

    zeros = first.weight.new_zeros(first.weight.shape[0])
    biases = [
        torch.cat([reordered(zeros if bias is None else bias, order) for bias in (part.bias_in, part.bias)])
        for part in group
    ]
    attributes: dict[str, Any] = {
        "hidden_size": first.hidden,
        "direction": "bidirectional" if len(group) == 2 else "reverse" if first.reverse else "forward",
    }
    if first.operator == "GRU":
        attributes["linear_before_reset"] = int(first.reset_after)
    if first.operator == "RNN":
        attributes |= _activations(group)
    if first.clip is not None:
        attributes["clip"] = first.clip
    inputs = [
        x,
        stacked("W", [part.weight_in for part in group]),
        stacked("R", [part.weight for part in group]),
        graph.constant(f"{name}.B", torch.stack(biases)),
        "" if lengths is None else lengths.nodes,
    ]
    for leaf in zip(*before, strict=True):
        inputs.append(leaf[0] if len(leaf) == 1 else graph.add("Concat", *leaf, axis=0))
    y, *last = graph.add_many(first.operator, inputs, 1 + first.leaves, **attributes)
    if len(group) == 1:
        y = graph.add("Squeeze", y, graph.integers(1))
        after = [last]
    else:
        side_by_side = graph.add("Transpose", y, perm=[0, 2, 1, 3])
        y = graph.add("Reshape", side_by_side, graph.integers(0, 0, 2 * first.hidden))
        after = [[graph.add("Gather", leaf, graph.integers(place), axis=0) for leaf in last] for place in range(2)]
    if lengths is not None:
        # the standard does not say what a row without steps leaves, and ONNX Runtime leaves zeros
        after = [
            [graph.add("Where", lengths.empty, *pair) for pair in zip(old, new, strict=True)]
            for old, new in zip(before, after, strict=True)
        ]
    return y, after


def _activations(group: Sequence[Recurrence]) -> dict[str, Any]:
    found: dict[str, Any] = {"activations": [part.activation.name for part in group]}
    if found["activations"] == ["Tanh"] * len(group):
        return {}
    formulas = [FORMULAS[part.activation.name] for part in group]
    for what in ("alpha", "beta"):
        numbers = [
            getattr(part.activation, what)
            for part, formula in zip(group, formulas, strict=True)
            if getattr(formula, f"takes_{what}")
        ]
        if numbers:
            found[f"activation_{what}"] = numbers
    return found


def _pointwise(graph: Graph, name: str, part: Pointwise, x: str, lengths: Lengths | None) -> str:
    z = graph.linear(x, f"{name}.weight", part.weight, (f"{name}.bias", part.bias))
    y = _activated(graph, part.activation, z)
    return y if lengths is None else lengths.masked(graph, y)


_PLAIN = {
    "tanh": "Tanh", "relu": "Relu", "sigmoid": "Sigmoid", "identity": "Identity", "softsign": "Softsign",
    "softplus": "Softplus", "sin": "Sin",
}  # fmt: skip


def _activated(graph: Graph, activation: str, z: str) -> str:
    """An activation of `kernels.ACTIVATIONS` as ordinary nodes."""
    if activation in _PLAIN:
        return graph.add(_PLAIN[activation], z)
    if activation == "hardtanh":
        return graph.add("Clip", z, graph.number(-1.0), graph.number(1.0))
    if activation == "hardsigmoid":
        return graph.add("HardSigmoid", z, alpha=1 / 6, beta=0.5)
    if activation == "leaky_relu":
        return graph.add("LeakyRelu", z, alpha=0.01)
    if activation == "elu":
        return graph.add("Elu", z, alpha=1.0)
    if activation == "silu":
        return graph.add("Mul", z, graph.add("Sigmoid", z))
    # gelu: z Φ(z), Φ by the error function
    share = graph.add("Erf", graph.add("Mul", z, graph.number(0.5**0.5)))
    return graph.add("Mul", graph.add("Mul", z, graph.number(0.5)), graph.add("Add", share, graph.number(1.0)))
