"""A small builder of ONNX graphs, and what nodes need of `lengths`. It knows nothing of networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor

BATCH, TIME = "batch", "time"
TYPES = {
    torch.float32: TensorProto.FLOAT,
    torch.float64: TensorProto.DOUBLE,
    torch.int64: TensorProto.INT64,
    torch.bool: TensorProto.BOOL,
}


class Graph:
    """A graph under construction. Values are their names; `dtype` is that of all numbers in it."""

    def __init__(self, dtype: torch.dtype, opset: int, prefix: str = "") -> None:
        self.dtype = dtype
        self.opset = opset
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []

    def body(self, prefix: str) -> Graph:
        """A graph within this one, for the attribute of a node. Its constants are this one's, so each is kept once."""
        inner = Graph(self.dtype, self.opset, f"{self.prefix}{prefix}/")
        inner.constants = self.constants
        return inner

    def input(self, name: str, shape: Sequence[int | str], dtype: torch.dtype | None = None, about: str = "") -> str:
        name = self.prefix + name
        self.inputs.append(helper.make_tensor_value_info(name, TYPES[dtype or self.dtype], shape, about))
        return name

    def output(self, name: str, value: str, shape: Sequence[int | str], dtype: torch.dtype | None = None) -> None:
        name = self.prefix + name
        self.nodes.append(helper.make_node("Identity", [value], [name]))
        self.outputs.append(helper.make_tensor_value_info(name, TYPES[dtype or self.dtype], shape))

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
        place = f"{self.prefix}{operator}.{len(self.nodes)}"
        names = [f"{place}.{result}" for result in range(results)]
        self.nodes.append(helper.make_node(operator, inputs, names, name=place, **attributes))
        return names

    def linear(self, x: str, name: str, weight: Tensor, bias: tuple[str, Tensor] | None) -> str:
        """x[..., K] weight[M, K]^T + bias[M]; the weight is kept as it is, so that an embedding can share it."""
        product = self.add("MatMul", x, self.add("Transpose", self.constant(name, weight), perm=[1, 0]))
        return product if bias is None else self.add("Add", product, self.constant(*bias))

    def within(self, name: str) -> onnx.GraphProto:
        """The finished body of a node."""
        return helper.make_graph(self.nodes, name, self.inputs, self.outputs)

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
