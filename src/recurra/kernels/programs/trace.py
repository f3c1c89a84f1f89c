"""From a step written as a plain function of torch operations to a program.

torch itself records what the function does (`make_fx`, on shapes without numbers). What depends on parameters alone is left
to torch and done once a call; products of the inputs alone are hoisted out of the loop and done for all steps at once; the
rest becomes the program. A function that does something else is not wrong: it has a reason here, and runs as it stands.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from recurra.kernels.programs.builder import Builder
from recurra.kernels.programs.hoist import Hoisted, hoist
from recurra.kernels.programs.program import Operand, Program
from recurra.kernels.programs.translate import CREATED, TRANSLATE, Refused, kind

Step = Callable[[Any, tuple[Tensor, ...], Mapping[str, Tensor]], tuple[tuple[Tensor, ...], tuple[Tensor, ...]]]
"""(inputs of this step, state, parameters) -> (next state, what to hand out); rows are [B, width]."""

_ROWS = 3  # of the recorded batch; no program depends on it


@dataclass(frozen=True)
class Sizes:
    """What a step is given: the width of each input (one alone is no tuple), state and fixed value, shapes of parameters."""

    inputs: tuple[int, ...]
    states: tuple[int, ...]
    fixed: tuple[tuple[str, int], ...]
    parameters: tuple[tuple[str, tuple[int, ...]], ...]
    alone: bool
    emits: int | None = None
    """How many of what a step hands out are wanted, the first ones; all if None."""


@dataclass(frozen=True)
class Traced:
    """A program and what feeds it."""

    hoisted: Hoisted
    order: tuple[int, ...] | None
    """Which parameters are its weights and then its shared values, where they are parameters as they stand."""
    once: Callable[..., Sequence[Tensor]] | None
    """What makes them from all parameters, where they are not."""
    weights: int
    """How many of them are weights, the first ones."""

    def arguments(self, parameters: Sequence[Tensor], dtype: torch.dtype) -> tuple[list[Tensor], list[Tensor]]:
        """(weights, shared values) from all parameters in order, in the dtype of the rows."""
        values = list(parameters)
        if self.once is not None:
            values = list(self.once(*values))
        elif self.order is not None:
            values = [values[at] for at in self.order]
        values = [value if value.dtype == dtype else value.to(dtype) for value in values]
        return values[: self.weights], values[self.weights :]


def trace(step: Step, sizes: Sizes) -> Traced | str:
    """The program of a step, or the reason why it has none."""
    try:
        graph = _record(step, sizes)
    except Refused as reason:
        return str(reason)
    try:
        return _Translator(graph, sizes).result()
    except Refused as reason:
        return str(reason)


def _record(step: Step, sizes: Sizes) -> fx.Graph:
    try:
        from torch._subclasses.fake_tensor import FakeTensorMode
        from torch.fx.experimental.proxy_tensor import make_fx
    except ImportError:  # another torch
        raise Refused("this torch cannot record functions") from None

    def flat(*tensors: Tensor) -> list[Tensor]:
        given = iter(tensors)
        inputs = tuple(next(given) for _ in sizes.inputs)
        fixed = {name: next(given) for name, _ in sizes.fixed}
        state = tuple(next(given) for _ in sizes.states)
        parameters = {name: next(given) for name, _ in sizes.parameters}
        after, emitted = step(inputs[0] if sizes.alone else inputs, state, {**fixed, **parameters})
        results = [*after, *emitted[: sizes.emits]]
        if len(after) != len(sizes.states):
            raise Refused(f"it returns {len(after)} states and was given {len(sizes.states)}")
        if not all(isinstance(value, Tensor) for value in results):
            raise Refused("it returns something that is no tensor")
        return results

    widths = [*sizes.inputs, *(width for _, width in sizes.fixed), *sizes.states]
    with FakeTensorMode():
        rows = [torch.empty(_ROWS, width) for width in widths]
        parameters = [torch.empty(shape) for _, shape in sizes.parameters]
    with torch.no_grad():
        try:
            return make_fx(flat, tracing_mode="fake")(*rows, *parameters).graph
        except Refused:
            raise
        except Exception as error:
            if "FakeTensor" in str(error):
                reason = "it reads a tensor that is not among its arguments (a parameter may be one without a gradient)"
                raise Refused(reason) from error
            # a mistake in the step itself shows, with its own message, when it runs as it stands
            raise Refused(f"torch cannot record it ({type(error).__name__}: {str(error)[:80]})") from error


class _Translator:
    def __init__(self, graph: fx.Graph, sizes: Sizes) -> None:
        self._sizes = sizes
        self._rows = len(sizes.inputs) + len(sizes.fixed) + len(sizes.states)
        self._placeholders = [node for node in graph.nodes if node.op == "placeholder"]
        self._graph = graph
        self._row_nodes = self._depending_on(self._placeholders[: self._rows])
        self._shared: list[fx.Node] = []
        self._weights: list[fx.Node] = []
        self._outside()
        shared = tuple(_vector_width(node) for node in self._shared)
        shapes = tuple((node.meta["val"].shape[0], node.meta["val"].shape[1]) for node in self._weights)
        fixed = tuple(width for _, width in sizes.fixed)
        self.builder = Builder(Program(sizes.inputs, fixed, sizes.states, shared, shapes))
        self._values: dict[fx.Node, Any] = dict(zip(self._placeholders[: self._rows], range(self._rows), strict=True))
        self._values |= {node: self._rows + at for at, node in enumerate(self._shared)}

    def _depending_on(self, sources: Sequence[fx.Node]) -> set[fx.Node]:
        found = set(sources)
        for node in self._graph.nodes:
            # what is only created like a row has no number of it
            if any(parent in found for parent in node.all_input_nodes) and kind(node) not in CREATED:
                found.add(node)
        return found

    def _outside(self) -> None:
        """Find the nodes of parameters alone that rows need: weights of products, and shared values."""
        for node in self._graph.nodes:
            if node not in self._row_nodes and node.op != "output":
                continue
            for parent in node.all_input_nodes:
                if parent in self._row_nodes or kind(parent) in CREATED:
                    continue
                if kind(node) in ("mm", "addmm") and parent is node.args[-1]:
                    parent = _untransposed(parent)[0]
                    if parent not in self._weights:
                        self._weights.append(parent)
                elif parent not in self._shared:
                    self._shared.append(parent)
        # parameters in their own order, so that the order does not hang on how the step is written
        place = {node: at for at, node in enumerate(self._placeholders)}
        for found in (self._weights, self._shared):
            found.sort(key=lambda node: place.get(node, len(place)))

    def result(self) -> Traced:
        output = next(node for node in self._graph.nodes if node.op == "output")
        for node in self._graph.nodes:
            if node in self._row_nodes and node not in self._values and node is not output:
                self._values[node] = self._translate(node)
        results = pytree.tree_leaves(output.args[0])
        count = len(self._sizes.states)
        values = [self._spread(node, _row_width(node)) for node in results]
        for width, node in zip(self._sizes.states, results, strict=False):
            if _row_width(node) != width:
                raise Refused(f"a state of width {width} becomes {_row_width(node)} wide")
        program = self.builder.finish(values[count:], values[:count])
        wanted, parameters = [*self._weights, *self._shared], self._placeholders[self._rows :]
        if all(node in parameters for node in wanted) and all(node.meta["val"].dim() == 1 for node in self._shared):
            order = tuple(parameters.index(node) for node in wanted)
            return Traced(hoist(program), order, None, len(self._weights))
        return Traced(hoist(program), None, self._once(), len(self._weights))

    def _spread(self, node: fx.Node, width: int) -> int:
        return self.builder.spread(self.value(node), width)

    def _translate(self, node: fx.Node) -> Any:
        if node.target is operator.getitem:
            source: Any = node.args[0]
            return self._values[source][node.args[1]]
        name = kind(node)
        if name in ("mm", "addmm"):
            return self._product(node, name)
        if name not in TRANSLATE:
            raise Refused(f"there is no instruction for {node.target}")
        return TRANSLATE[name](self, node)

    def _product(self, node: fx.Node, name: str) -> Operand:
        *start, left, right = node.args
        if not isinstance(left, fx.Node) or left not in self._row_nodes or right in self._row_nodes:
            raise Refused("a product is not of rows and a parameter")
        if node.kwargs:
            raise Refused("a product is scaled")
        assert isinstance(right, fx.Node)
        weight, transposed = _untransposed(right)
        width = node.meta["val"].shape[-1]
        # W^T written out is the ordinary product; a weight that stands as it is multiplies from its other side
        attribute = 2 * self._weights.index(weight) + (0 if transposed else 1)
        product = self.builder.emit("product", self.value(left), width=width, attribute=attribute)
        return self.builder.add(self.value(start[0]), product) if start else product

    def value(self, argument: Any) -> Operand:
        """The operand for an argument of a node."""
        if isinstance(argument, fx.Node):
            if argument not in self._values:
                if kind(argument) not in CREATED:
                    raise Refused(f"{argument} is no row")
                self._values[argument] = CREATED[kind(argument)](argument)
            if self._values[argument] is None:
                raise Refused(f"{argument} is read")
            return self._values[argument]
        if isinstance(argument, bool | int | float):
            return float(argument)
        raise Refused(f"there is an argument {argument!r}")

    def _once(self) -> Callable[..., Sequence[Tensor]]:
        """What makes weights and shared values from the parameters."""
        parameters = self._placeholders[self._rows :]
        graph = fx.Graph()
        copies: dict[fx.Node, fx.Node] = {node: graph.placeholder(node.name) for node in parameters}
        for node in self._graph.nodes:
            alone = node.op in ("call_function", "get_attr") and node not in self._row_nodes
            if alone and all(parent in copies for parent in node.all_input_nodes):
                copies[node] = graph.node_copy(node, copies.__getitem__)
        flat = [graph.call_method("reshape", (copies[node], (-1,))) for node in self._shared]
        graph.output([*(copies[node] for node in self._weights), *flat])
        graph.eliminate_dead_code()
        return fx.GraphModule(self._graph.owning_module or {}, graph)


def _untransposed(node: fx.Node) -> tuple[fx.Node, bool]:
    """(the matrix, whether the node is its transpose)."""
    turns = {"t": ((),), "numpy_T": ((),), "transpose": ((0, 1), (1, 0), (-1, -2), (-2, -1)), "permute": (([1, 0],),)}
    is_transpose = tuple(node.args[1:]) in turns.get(kind(node), ())
    source = node.args[0] if is_transpose else node
    assert isinstance(source, fx.Node)
    if node.meta["val"].dim() != 2:
        raise Refused("a product's parameter is no matrix")
    return source, is_transpose


def _vector_width(node: fx.Node) -> int:
    shape = node.meta["val"].shape
    if len(shape) > 2 or (len(shape) == 2 and shape[0] != 1):
        raise Refused(f"a parameter of shape {tuple(shape)} meets rows outside a product")
    return shape[-1] if len(shape) else 1


def _row_width(node: Any) -> int:
    shape = node.meta["val"].shape
    if len(shape) != 2 or shape[0] != _ROWS:
        raise Refused(f"a result has shape {tuple(shape)} instead of (rows, width)")
    return shape[1]
