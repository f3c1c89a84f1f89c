"""A backend in ONNX's sense: models whose RNN, GRU and LSTM nodes run on our kernels, all other nodes in onnx.reference.

The functions of `onnx.backend.base.Backend` stand here by name, as that interface has it: `prepare`, `run_model`,
`run_node`, `supports_device`, `is_compatible`. Numpy arrays in, numpy arrays out, on the CPU.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, NodeProto, helper
from onnx.backend.base import Backend, BackendRep
from onnx.inliner import inline_local_functions
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from torch import Tensor

from recurra.errors import DataError, ModelError, UsageError
from recurra.files import open_for_reading
from recurra.onnx.nodes import OPERATORS, Node


class _Recurrent(OpRun):
    """One recurrent node within onnx.reference."""

    def __init__(self, onnx_node: NodeProto, run_params: dict[str, Any]) -> None:
        super().__init__(onnx_node, run_params)
        # of onnx.reference's own attributes some are the standard's defaults, for two directions where there is one
        self.node = _read(onnx_node)

    def _run(self, *inputs: Any, **_: Any) -> tuple[np.ndarray, ...]:
        results = self.node.run([None if value is None else _tensor(value) for value in inputs])
        return tuple(_array(value) for value in results[: len(self.onnx_node.output)])


class Scan(OpRun):
    """Scan (version 9 on) in all directions, over any axes and over no steps, which onnx.reference does not have."""

    op_domain = ""

    def need_context(self) -> bool:
        return True

    def _run(self, *inputs: Any, context: dict[str, Any] | None = None, **_: Any) -> tuple[np.ndarray, ...]:
        given = {one.name: helper.get_attribute_value(one) for one in self.onnx_node.attribute}
        body: Any = self.body  # pyright: ignore[reportAttributeAccessIssue]
        count = len(inputs) - given["num_scan_inputs"]
        carried, made = list(inputs[:count]), len(body.output_names) - count

        def turned(values: Iterable[np.ndarray], kind: str, to_front: bool) -> list[np.ndarray]:
            """Steps along axis 0 and in the order of running from those of the node's inputs, or back again."""
            values = list(values)
            axes, directions = (given.get(f"scan_{kind}_{what}", [0] * len(values)) for what in ("axes", "directions"))
            moved = []
            for value, axis, back in zip(values, axes, directions, strict=True):
                value = np.flip(value, axis if to_front else 0) if back else value
                moved.append(np.moveaxis(value, axis, 0) if to_front else np.moveaxis(value, 0, axis))
            return moved

        rows = turned(inputs[count:], "input", True)
        steps = len(rows[0])
        results: list[list[np.ndarray]] = [[] for _ in range(made)]
        # without a step, one over zeros tells the shapes
        for piece in zip(*rows, strict=True) if steps else [[np.zeros(row.shape[1:], row.dtype) for row in rows]]:
            feeds = {**(context or {}), **dict(zip(body.input_names, [*carried, *piece], strict=True))}
            found = body.run(None, feeds)
            carried = found[:count] if steps else carried
            for result, value in zip(results, found[count:], strict=True):
                result.append(value)
        return (*carried, *turned((np.stack(result)[:steps] for result in results), "output", False))


_NEW_OPS: list[type[OpRun]] = [*(type(name, (_Recurrent,), {"op_domain": ""}) for name in OPERATORS), Scan]


class Prepared(BackendRep):
    """A model ready to run, again and again."""

    def __init__(self, model: ModelProto) -> None:
        # onnx.reference hands its replacements to subgraphs but not to functions, and takes "" for the name of a result
        model = inline_local_functions(model) if model.functions else _copy(model)
        _name_outputs(model.graph, "_unnamed")
        self.evaluator = ReferenceEvaluator(model, new_ops=_NEW_OPS)
        given = {initializer.name for initializer in model.graph.initializer}
        self.inputs = [each.name for each in model.graph.input if each.name not in given]
        self.every_input = {each.name for each in model.graph.input}

    def run(self, inputs: Any, **_: Any) -> tuple[Any, ...]:
        """The model's inputs, by name or in the order of the graph -> its outputs in order."""
        if isinstance(inputs, Mapping):
            feeds = dict(inputs)
            missing, unknown = set(self.inputs) - set(feeds), set(feeds) - self.every_input
            if missing or unknown:
                got, expected = ", ".join(map(str, feeds)) or "none", ", ".join(self.inputs) or "none"
                raise DataError("The inputs of the model do not fit", got=got, expected=expected)
        else:
            values = [inputs] if isinstance(inputs, np.ndarray) else list(inputs)
            if len(values) != len(self.inputs):
                expected = f"{len(self.inputs)}: {', '.join(self.inputs)}"
                raise DataError("The wrong number of inputs", got=len(values), expected=expected)
            feeds = dict(zip(self.inputs, values, strict=True))
        return tuple(self.evaluator.run(None, feeds))


class RecurraBackend(Backend):
    """`onnx.backend.base.Backend` for our kernels."""

    @classmethod
    def is_compatible(cls, model: ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        """Whether any node of the model would run on our kernels. Any valid model runs, with or without one."""
        return any(node.op_type in OPERATORS and node.domain in ("", "ai.onnx") for node in _nodes(model.graph))

    @classmethod
    def prepare(cls, model: ModelProto | str | Path, device: str = "CPU", **kwargs: Any) -> Prepared:
        """A model, or the path of one, checked and made ready.

        Raises `ModelError` for an invalid model and `UsageError` for a recurrent node the standard does not have, or
        another device than the CPU.
        """
        _check_device(device)
        if not isinstance(model, ModelProto):
            with open_for_reading(Path(model), "model"):
                pass
            try:
                model = onnx.load(str(model))
            except DecodeError as error:
                raise ModelError(f"{model} is no ONNX model", got=error) from error
        try:
            onnx.checker.check_model(model)
        except onnx.checker.ValidationError as error:
            raise ModelError("This is no valid ONNX model", got=error) from error
        for node in _nodes(model.graph):
            if node.op_type in OPERATORS and not any(attribute.ref_attr_name for attribute in node.attribute):
                _read(node)
        return Prepared(model)

    @classmethod
    def run_model(cls, model: ModelProto | str | Path, inputs: Any, device: str = "CPU", **kwargs: Any) -> Any:
        """`prepare` and `run` in one."""
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(
        cls,
        node: NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Sequence[tuple[Any, tuple[int, ...]]] | None = None,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """One node -> its outputs in order, without those that have no name.

        Inputs by name, or in the order of the node; absent ones as None or left out. The keyword `opset_version` says
        which version of the operator is meant; without it the newest of the installed onnx package.
        """
        _check_device(device)
        names = [name for name in dict.fromkeys(node.input) if name]
        if not isinstance(inputs, Mapping):
            values = [inputs] if isinstance(inputs, np.ndarray) else list(inputs)
            if len(values) == len(node.input):
                inputs = dict(zip(node.input, values, strict=True))
            elif len(values) == len(names):
                inputs = dict(zip(names, values, strict=True))
            else:
                got, expected = len(values), f"{len(names)}: {', '.join(names)}"
                raise DataError(f"ONNX node {node.op_type}: the wrong number of inputs", got=got, expected=expected)
        feeds = {name: value for name, value in inputs.items() if name and value is not None}
        alone = NodeProto()
        alone.CopyFrom(node)
        for place, name in enumerate(alone.input):
            alone.input[place] = name if name in feeds else ""
        version = int(kwargs.get("opset_version", onnx.defs.onnx_opset_version()))
        graph = helper.make_graph(
            [alone],
            "node",
            [helper.make_value_info(name, onnx.TypeProto()) for name in feeds],
            [helper.make_value_info(name, onnx.TypeProto()) for name in node.output if name],
        )
        return Prepared(helper.make_model(graph, opset_imports=[helper.make_opsetid(node.domain, version)])).run(feeds)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether this is the CPU ("CPU", "CPU:0")."""
        return device.split(":")[0] == "CPU"


def _check_device(device: str) -> None:
    if not RecurraBackend.supports_device(device):
        raise UsageError("There is no such device for ONNX models", got=device, expected="CPU")


def _read(node: NodeProto) -> Node:
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    return Node.read(node.op_type, {name: _text(value) for name, value in attributes.items()}, node.name)


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_text(each) for each in value]
    return value


def _copy(model: ModelProto) -> ModelProto:
    copied = ModelProto()
    copied.CopyFrom(model)
    return copied


def _graphs(node: NodeProto) -> list[GraphProto]:
    """The subgraphs of a node (those of If, Loop and Scan)."""
    return [
        graph
        for attribute in node.attribute
        for graph in (attribute.g, *attribute.graphs)
        if graph.node or graph.output
    ]


def _nodes(graph: GraphProto) -> list[NodeProto]:
    """All nodes of a graph and of the graphs within."""
    found = []
    for node in graph.node:
        found.append(node)
        for inner in _graphs(node):
            found += _nodes(inner)
    return found


def _name_outputs(graph: GraphProto, prefix: str) -> None:
    """Give the absent outputs of every node names that nobody reads."""
    for number, node in enumerate(_nodes(graph)):
        for place, name in enumerate(node.output):
            if not name:
                node.output[place] = f"{prefix}.{number}.{place}"


def _tensor(value: np.ndarray) -> Tensor:
    """The same numbers as a tensor; torch wants memory that may be written and has a name for bfloat16 that numpy lacks."""
    value = np.require(value, requirements=("C", "W"))
    if value.dtype.name == "bfloat16":
        return torch.from_numpy(value.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(value)


def _array(value: Tensor) -> np.ndarray:
    value = value.contiguous()
    if value.dtype == torch.bfloat16:
        import ml_dtypes

        return value.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return value.numpy()


is_compatible = RecurraBackend.is_compatible
prepare = RecurraBackend.prepare
run_model = RecurraBackend.run_model
run_node = RecurraBackend.run_node
supports_device = RecurraBackend.supports_device
