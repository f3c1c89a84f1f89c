"""Recurrent nodes of ONNX on our kernels, against onnx.reference and ONNX Runtime, over random configurations.

onnx.reference knows no lengths, no clipping, no coupled gates and few activations; ONNX Runtime knows float32 but no
batch-first layout, and ends the process on batches of no rows. What neither knows is compared with a loop in this file's
own words.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from recurra.onnx import backend
from recurra.onnx.activations import FORMULAS
from recurra.onnx.nodes import OPERATORS
from tolerances import assert_close

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}
TYPES = {np.dtype("float32"): TensorProto.FLOAT, np.dtype("float64"): TensorProto.DOUBLE, np.dtype("int32"): 6}
# numbers with which no activation grows without bounds over the steps
NUMBERS = {"Affine": (0.6, 0.1), "ScaledTanh": (0.9, 0.8), "ThresholdedRelu": (0.3, 0.0), "Elu": (0.7, 0.0)}
onnxruntime.set_default_logger_severity(4)


def build(operator: str, seed: int, dtype: str = "float32", **fixed: Any) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """A model of one random node, and its inputs. `fixed` chooses parts of the configuration."""
    random = np.random.default_rng(seed)

    def pick(name: str, *choices: Any) -> Any:
        chosen = choices[random.integers(len(choices))]
        return fixed.get(name, chosen)

    steps, batch, width, hidden = pick("steps", 1, 2, 5), pick("batch", 1, 3), int(random.integers(1, 5)), 4
    direction, gates, layout = pick("direction", *DIRECTIONS), GATES[operator], pick("layout", 0, 1)
    directions = DIRECTIONS[direction]
    values: dict[str, np.ndarray] = {}

    def draw(name: str, *shape: int, scale: float = 1.0, present: bool = True) -> str:
        numbers = (scale * random.normal(size=shape)).astype(dtype)
        if present:
            values[name] = numbers
        return name if present else ""

    state = (batch, directions, hidden) if layout else (directions, batch, hidden)
    names = [
        draw("X", *((batch, steps, width) if layout else (steps, batch, width))),
        draw("W", directions, gates * hidden, width, scale=0.5),
        draw("R", directions, gates * hidden, hidden, scale=0.4),
        draw("B", directions, 2 * gates * hidden, present=pick("B", True, False)),
    ]
    lengths = random.integers(fixed.get("shortest", 0), steps + 1, size=batch).astype(np.int32)
    if pick("lengths", True, False):
        values["sequence_lens"] = lengths
    names.append("sequence_lens" if "sequence_lens" in values else "")
    names.append(draw("initial_h", *state, present=pick("states", True, False)))
    attributes: dict[str, Any] = {"hidden_size": hidden, "direction": direction}
    if layout:
        attributes["layout"] = 1
    outputs = ["Y", "Y_h"]
    if operator == "LSTM":
        names.append(draw("initial_c", *state, present=pick("states", True, False)))
        names.append(draw("P", directions, 3 * hidden, present=pick("P", True, False)))
        outputs.append("Y_c")
        attributes["input_forget"] = pick("input_forget", 0, 1)
    if operator == "GRU":
        attributes["linear_before_reset"] = pick("linear_before_reset", 0, 1)
    if pick("clip", True, False):
        attributes["clip"] = 0.4
    if pick("activations", True, False):
        every = OPERATORS[operator].activations * directions
        chosen = [list(FORMULAS)[random.integers(len(FORMULAS))] for _ in every]
        attributes["activations"] = chosen
        numbers = {name: NUMBERS.get(name, (0.2, 0.5)) for name in chosen}
        alphas = [numbers[name][0] for name in chosen if FORMULAS[name].takes_alpha]
        betas = [numbers[name][1] for name in chosen if FORMULAS[name].takes_beta]
        attributes |= {"activation_alpha": alphas} if alphas else {}
        attributes |= {"activation_beta": betas} if betas else {}
    while names[-1] == "":
        names.pop()
    node = helper.make_node(operator, names, outputs, **attributes)
    ranks = dict(zip(outputs, ([None] * 4, [None] * 3, [None] * 3), strict=False))
    graph = helper.make_graph(
        [node],
        "node",
        [helper.make_tensor_value_info(name, TYPES[value.dtype], value.shape) for name, value in values.items()],
        [helper.make_tensor_value_info(name, TYPES[np.dtype(dtype)], shape) for name, shape in ranks.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model, values


def close(found: Any, expected: Any) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
        assert_close(torch.from_numpy(np.array(ours)), torch.from_numpy(np.array(theirs)))


def by_runtime(model: onnx.ModelProto, values: dict[str, Any]) -> list[Any]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, values))


@pytest.mark.parametrize("operator", OPERATORS)
def test_nodes_against_onnx_reference(operator: str) -> None:
    for seed in range(70):
        model, values = build(
            operator,
            seed,
            ("float32", "float64")[seed % 2],
            lengths=False,
            clip=False,
            activations=False,
            input_forget=0,
        )
        close(backend.run_model(model, values), ReferenceEvaluator(model).run(None, values))


@pytest.mark.parametrize("operator", OPERATORS)
def test_nodes_against_onnx_runtime(operator: str) -> None:
    for seed in range(140):
        model, values = build(operator, seed, layout=0, shortest=1)
        close(backend.run_model(model, values), by_runtime(model, values))
