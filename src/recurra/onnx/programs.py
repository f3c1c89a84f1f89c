"""A program of `kernels.programs`, written instruction by instruction as nodes of a graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from recurra.kernels.programs.program import Instruction, Operand, Program, evaluate
from recurra.onnx.graph import TYPES, Graph

_OPERATORS = {
    "stop": "Identity",
    "neg": "Neg", "abs": "Abs", "sign": "Sign", "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "reciprocal": "Reciprocal",
    "sigmoid": "Sigmoid", "tanh": "Tanh", "sin": "Sin", "cos": "Cos", "erf": "Erf", "add": "Add", "sub": "Sub",
    "mul": "Mul", "div": "Div", "maximum": "Max", "minimum": "Min",
}  # fmt: skip
"""Operations that ONNX has as one operator."""
_COMPARISONS = {"gt": "Greater", "ge": "GreaterOrEqual", "lt": "Less", "le": "LessOrEqual", "eq": "Equal"}


class Written:
    """A program in a graph. `given`: the values it is given, names of rows [..., B, width] or constants [width].

    What needs no row is computed now. `name` is the one of its weights in the graph, so that two programs with the same
    weights keep them once.
    """

    def __init__(
        self, graph: Graph, name: str, program: Program, given: Sequence[str | Tensor], weights: Sequence[Tensor]
    ) -> None:
        self._graph = graph
        self._name = name
        self._program = program
        self._weights = weights
        self._values: list[str | Tensor] = list(given)
        self._truths: dict[int, str] = {}
        self._like = next(value for value in given if isinstance(value, str))
        for one in program.instructions:
            constant = self._constant(one)
            self._values.append(self._node(one) if constant is None else constant)

    def row(self, value: Operand) -> str:
        """A value as rows [..., B, width], even if it is the same for all of them."""
        graph = self._graph
        if not isinstance(value, float) and isinstance(found := self._values[value], str):
            return found
        rows = graph.add("Slice", graph.add("Shape", self._like), graph.integers(0), graph.integers(-1))
        shape = graph.add("Concat", rows, graph.integers(self._program.width(value)), axis=0)
        return graph.add("Expand", self._operand(value), shape)

    def _constant(self, one: Instruction) -> Tensor | None:
        dtype = self._graph.dtype
        found = [torch.tensor([v], dtype=dtype) if isinstance(v, float) else self._values[v] for v in one.operands]
        constants = [value for value in found if isinstance(value, Tensor)]
        if len(constants) < len(found):
            return None
        alone = replace(one, operands=tuple(range(len(found))))
        program = Program(shared=tuple(map(len, constants)), instructions=(alone,))
        return evaluate(program, (), (), (), constants, self._weights)[-1]

    def _operand(self, value: Operand) -> str:
        if isinstance(value, float):
            return self._graph.number(value)
        found = self._values[value]
        if isinstance(found, Tensor):
            return self._graph.constant(f"{self._graph.prefix}{self._name}.value.{value}", found)
        return found

    def _node(self, one: Instruction) -> str:
        """The nodes of an instruction: the name of its value."""
        graph, operation = self._graph, one.operation
        if operation == "where":
            condition, *branches = one.operands
            return graph.add("Where", self._truth(condition), *map(self._operand, branches))
        if operation == "cat":
            return graph.add("Concat", *map(self.row, one.operands), axis=-1)
        operands = list(map(self._operand, one.operands))
        if operation in _OPERATORS:
            return graph.add(_OPERATORS[operation], *operands)
        if operation in _COMPARISONS or operation == "ne":
            truth = graph.add(_COMPARISONS.get(operation, "Equal"), *operands)
            truth = graph.add("Not", truth) if operation == "ne" else truth
            self._truths[len(self._values)] = truth
            return graph.add("Cast", truth, to=TYPES[graph.dtype])
        return self._of_one(one, operands[0])

    def _of_one(self, one: Instruction, x: str) -> str:
        graph, last = self._graph, self._graph.integers(-1)
        match one.operation:
            case "product":
                number, transposed = divmod(one.attribute, 2)
                weight = self._weights[number] if transposed else self._weights[number].T
                return graph.add("MatMul", x, graph.constant(f"{self._name}.weight.{one.attribute}", weight))
            case "slice":
                first, end = graph.integers(one.attribute), graph.integers(one.attribute + one.width)
                return graph.add("Slice", x, first, end, last)
            case "spread":
                return graph.add("Expand", x, graph.integers(one.width))
            case "rowsum":
                return graph.add("ReduceSum", x, last, keepdims=1)
            case "rowmax" if graph.opset < 18:
                return graph.add("ReduceMax", x, axes=[-1], keepdims=1)
            case "rowmax":
                return graph.add("ReduceMax", x, last, keepdims=1)
            case "rsqrt":
                return graph.add("Reciprocal", graph.add("Sqrt", x))
            case "expm1":
                # (e^x - 1) = tanh(x/2) (e^x + 1), which keeps its digits near zero
                half = graph.add("Tanh", graph.add("Mul", x, graph.number(0.5)))
                return graph.add("Mul", half, graph.add("Add", graph.add("Exp", x), graph.number(1.0)))
            case "log1p":
                return self._log1p(x)
        raise AssertionError(f"there is no ONNX for the instruction '{one.operation}'")

    def _log1p(self, x: str) -> str:
        """log(1 + x): near zero with what the sum lost, ((1 + x) - 1 - x) / (1 + x), given back."""
        graph, one = self._graph, self._graph.number(1.0)
        total = graph.add("Add", x, one)
        log = graph.add("Log", total)
        lost = graph.add("Div", graph.add("Sub", graph.add("Sub", total, one), x), total)
        near = graph.add("Less", graph.add("Abs", x), graph.number(0.5))
        return graph.add("Where", near, graph.add("Sub", log, lost), log)

    def _truth(self, value: Operand) -> str:
        """A value as a condition: what is not 0 is true."""
        if not isinstance(value, float) and value in self._truths:
            return self._truths[value]
        return self._graph.add("Not", self._graph.add("Equal", self._operand(value), self._graph.number(0.0)))
