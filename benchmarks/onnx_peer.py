"""The same layer in ONNX Runtime, its graph made node by node. Where onnx or onnxruntime is missing, there is none."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rows import GATES

_OPERATOR = {"elman": "RNN", "gru": "GRU", "lstm": "LSTM"}
# where ONNX keeps the gates, in the order of ours: GRU z, r, n; LSTM i, o, f, g
_ORDER = {"elman": [0], "gru": [1, 0, 2], "lstm": [0, 3, 1, 2]}

Run = Callable[[dict[str, np.ndarray]], list[np.ndarray]]


def installed() -> bool:
    return find_spec("onnx") is not None and find_spec("onnxruntime") is not None


def layer(name: str, ours: Any, threads: int) -> Run:
    """Takes x[T, B, I], h[1, B, H] (and c), gives outputs[T, 1, B, H], h (and c)."""
    graph = _Graph()
    states = graph.layer(name, ours, "x", ["h", "c"][: 1 + (name == "lstm")])
    graph.inputs["x"] = ("float", [None, None, ours.inputs])
    return graph.run({"y": 4, **dict.fromkeys(states, 3)}, threads)


def language(name: str, model: Any, threads: int, top: int = 5) -> Run:
    """A language model of one layer, a token at a time: token[1, 1], h (and c) -> probabilities, tokens, h (and c)."""
    graph, cell = _Graph(), model.stack.blocks[0].cell
    graph.constant("table", model.embedding)
    graph.constant("head", model.head.T)
    graph.constant("bias", model.bias)
    graph.constant("top", torch.tensor([top]))
    graph.constant("flat", torch.tensor([1, cell.hidden]))
    graph.node("Gather", ["table", "token"], ["x"])
    states = graph.layer(name, cell, "x", ["h", "c"][: 1 + (name == "lstm")])
    graph.node("Reshape", [states[0], "flat"], ["last"])
    graph.node("Gemm", ["last", "head", "bias"], ["logits"])
    graph.node("Softmax", ["logits"], ["probabilities"], axis=-1)
    graph.node("TopK", ["probabilities", "top"], ["values", "tokens"], axis=-1)
    graph.inputs["token"] = ("int64", [1, 1])
    return graph.run({"values": 2, "tokens": 2, **dict.fromkeys(states, 3)}, threads)


class _Graph:
    def __init__(self) -> None:
        self.inputs: dict[str, tuple[str, list[int | None]]] = {}
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def node(self, operator: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        from onnx import helper  # pyright: ignore[reportMissingImports]

        self._nodes.append(helper.make_node(operator, inputs, outputs, **attributes))

    def constant(self, name: str, value: Tensor) -> None:
        from onnx import numpy_helper  # pyright: ignore[reportMissingImports]

        array = np.ascontiguousarray(value.detach().numpy())
        self._constants.append(numpy_helper.from_array(array, name))

    def layer(self, name: str, ours: Any, source: str, states: list[str]) -> list[str]:
        """One recurrent layer over `source`; its last states are named after the ones that it takes."""
        self.constant("W", _gates(name, ours.weight_in)[None])
        self.constant("R", _gates(name, ours.weight_state)[None])
        second = torch.zeros_like(ours.bias)
        if name == "gru":
            second[2 * ours.hidden :] = ours.bias_state.detach()
        self.constant("B", torch.cat([_gates(name, ours.bias), _gates(name, second)])[None])
        for state in states:
            self.inputs[state] = ("float", [1, None, ours.hidden])
        after = [f"{state}_last" for state in states]
        special = {"linear_before_reset": 1} if name == "gru" else {}
        operands = [source, "W", "R", "B", "", *states]
        self.node(_OPERATOR[name], operands, ["y", *after], hidden_size=ours.hidden, **special)
        return after

    def run(self, outputs: dict[str, int], threads: int) -> Run:
        """A session that gives `outputs`, named with how many axes each has."""
        import onnxruntime  # pyright: ignore[reportMissingImports]
        from onnx import TensorProto, checker, helper  # pyright: ignore[reportMissingImports]

        kinds = {"float": TensorProto.FLOAT, "int64": TensorProto.INT64}
        taken = [helper.make_tensor_value_info(name, kinds[kind], shape) for name, (kind, shape) in self.inputs.items()]
        given = [
            helper.make_tensor_value_info(name, kinds["int64" if name == "tokens" else "float"], [None] * axes)
            for name, axes in outputs.items()
        ]
        graph = helper.make_graph(self._nodes, "peer", taken, given, self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        checker.check_model(model)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # or its threads would keep a core from the others for as long as it lives
        options.add_session_config_entry("session.force_spinning_stop", "1")
        session: Any = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return lambda values: session.run(None, values)


def _gates(name: str, value: Tensor) -> Tensor:
    parts = value.detach().chunk(GATES[name])
    return torch.cat([parts[place] for place in _ORDER[name]])
