"""Recurrent nodes of ONNX on our kernels, against onnx.reference and ONNX Runtime, over random configurations.

onnx.reference knows no lengths, no clipping, no coupled gates and few activations; ONNX Runtime knows float32 but no
batch-first layout, and ends the process on some empty batches. What neither knows is compared with a loop in this file's
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

from recurra import kernels
from recurra.errors import DataError, UsageError
from recurra.onnx import backend, nodes
from recurra.onnx.activations import FORMULAS
from recurra.onnx.nodes import OPERATORS, Node
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
    lengths = random.integers(0, steps + 1, size=batch).astype(np.int32)
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
        model, values = build(operator, seed, layout=0)
        expected = by_runtime(model, values)
        for last, name in zip(expected[1:], ("initial_h", "initial_c"), strict=False):
            # a row of length 0 leaves zeros there; the test below shows it
            empty = values.get("sequence_lens", np.ones(last.shape[1])) == 0
            assert not last[:, empty].any()
            last[:, empty] = values[name][:, empty] if name in values else 0
        close(backend.run_model(model, values), expected)


@pytest.mark.parametrize("operator", OPERATORS)
def test_nodes_on_the_kernels_are_the_step_functions(operator: str) -> None:
    """The two ways of running a plain node agree, batch first, in float64 and with empty rows too."""
    for seed in range(30):
        model, values = build(operator, seed, "float64", clip=False, activations=False, input_forget=0)
        natively = backend.run_model(model, values)
        # bounds that nothing reaches leave the values as they are, and take the other way
        model.graph.node[0].attribute.append(helper.make_attribute("clip", 1e30))
        close(backend.run_model(model, values), natively)


def lstm(values: dict[str, Any], **attributes: Any) -> list[Any]:
    names = [name if name in values else "" for name in OPERATORS["LSTM"].inputs]
    node = helper.make_node("LSTM", names, ["Y", "Y_h", "Y_c"], **attributes)
    return list(backend.run_node(node, values))


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


VALUES = {"X": numbers(4, 2, 3), "W": numbers(1, 20, 3), "R": numbers(1, 20, 5), "initial_h": numbers(1, 2, 5)}


def test_a_row_of_length_zero_keeps_its_state_here_and_loses_it_in_onnx_runtime() -> None:
    model, values = build("LSTM", 0, direction="forward", layout=0, batch=3, steps=5, lengths=True, states=True)
    values["sequence_lens"] = np.array([0, 5, 2], np.int32)
    for found, keeps in ((backend.run_model(model, values), True), (by_runtime(model, values), False)):
        outputs, h, c = found
        assert not outputs[:, :, 0].any() and not outputs[2:, :, 2].any()
        assert np.array_equal(h[:, 0], values["initial_h"][:, 0] if keeps else np.zeros((1, 4)))
        assert np.array_equal(c[:, 0], values["initial_c"][:, 0] if keeps else np.zeros((1, 4)))


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize(("steps", "batch"), [(0, 3), (4, 0)])
@pytest.mark.parametrize("clip", [True, False])
def test_no_steps_and_no_rows(operator: str, steps: int, batch: int, clip: bool) -> None:
    model, values = build(operator, 1, layout=0, lengths=False, states=True, clip=clip, direction="bidirectional")
    values["X"] = np.zeros((steps, batch, values["X"].shape[2]), np.float32)
    for name in ("initial_h", "initial_c"):
        if name in values:
            values[name] = numbers(2, batch, 4)
    model, _ = resized(model, values)
    outputs, *last = backend.run_model(model, values)
    assert outputs.shape == (steps, 2, batch, 4)
    for found, name in zip(last, ("initial_h", "initial_c"), strict=False):
        assert np.array_equal(found, values[name]) if steps == 0 else found.shape == (2, 0, 4)


def resized(model: onnx.ModelProto, values: dict[str, Any]) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """The model with its inputs declared in the shapes of `values`."""
    for each in model.graph.input:
        each.CopyFrom(helper.make_tensor_value_info(each.name, TYPES[values[each.name].dtype], values[each.name].shape))
    return model, values


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.filterwarnings("ignore::recurra.kernels.BackendWarning")
def test_narrow_dtypes(operator: str, name: str) -> None:
    import ml_dtypes

    dtype = np.dtype(np.float16 if name == "float16" else ml_dtypes.bfloat16)
    model, values = build(operator, 3, lengths=False, clip=False, activations=False, input_forget=0)
    node = model.graph.node[0]
    narrow = {key: value.astype(dtype) for key, value in values.items()}
    found = backend.run_node(node, narrow)
    expected = backend.run_node(node, {key: value.astype(np.float32) for key, value in narrow.items()})
    for ours, wide in zip(found, expected, strict=True):
        assert ours.dtype == dtype
        np.testing.assert_allclose(ours.astype(np.float32), wide, rtol=0, atol=5e-2)


def test_inputs_of_a_single_node_by_place_and_by_name() -> None:
    node = helper.make_node("LSTM", ["X", "W", "R", "", "", "initial_h"], ["", "h"], hidden_size=5)
    (by_name,) = [result for result in backend.run_node(node, VALUES) if result.shape == (1, 2, 5)]
    present = [VALUES[name] for name in ("X", "W", "R", "initial_h")]
    absent = [VALUES["X"], VALUES["W"], VALUES["R"], None, None, VALUES["initial_h"]]
    assert len(backend.run_node(node, present)) == 1
    for given in (present, absent):
        assert np.array_equal(backend.run_node(node, given)[0], by_name)
    with pytest.raises(DataError, match="wrong number of inputs"):
        backend.run_node(node, present[:2])
    assert np.array_equal(backend.run_node(helper.make_node("Neg", ["x"], ["y"]), [numbers(3)])[0], -numbers(3))


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"direction": "sideways"}, "sideways.*forward, reverse, bidirectional"),
        ({"layout": 2}, "layout.*Got: 2"),
        ({"clip": 0.0}, "'clip' is out of range"),
        ({"activations": ["Sigmoid", "Tanh"]}, r"Got: 2 \(Sigmoid, Tanh\). Expected: 3, 3 a direction"),
        ({"activations": ["Sigmoid", "Gelu", "Tanh"]}, "no activation 'Gelu'. Expected: Relu, "),
        ({"activations": ["Sigmoid", "Affine", "Tanh"]}, "'Affine' needs its alpha"),
        ({"activations": ["Elu", "Tanh", "Tanh"], "activation_alpha": [0.1, 0.2]}, "Got: 2 for 1"),
    ],
)
def test_attributes_the_standard_does_not_have(attributes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=f"ONNX node LSTM: .*{words}"):
        lstm(VALUES, hidden_size=5, **attributes)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"X": numbers(4, 3)}, r"'X' has the wrong rank. Got: 2 \(\(4, 3\)\). Expected: 3"),
        ({"X": numbers(4, 2, 3).astype(np.float64)}, "'W' has the wrong dtype. Got: torch.float32"),
        ({"X": numbers(4, 2, 3).astype(np.int64)}, "'X' has the wrong dtype"),
        ({"W": numbers(1, 15, 3)}, r"'W' has the wrong shape. Got: \(1, 15, 3\). Expected: \(1, 20, 3\)"),
        ({"R": numbers(1, 20, 4)}, r"'R' has the wrong shape"),
        ({"B": numbers(1, 20)}, r"Expected: \(1, 40\)"),
        ({"initial_h": numbers(2, 2, 5)}, r"'initial_h' has the wrong shape"),
        ({"P": numbers(1, 20)}, r"'P' has the wrong shape"),
        ({"sequence_lens": np.array([5, 1], np.int32)}, "out of range. Got: 1 to 5. Expected: 0 to 4"),
        ({"sequence_lens": np.array([4, 1])}, "'sequence_lens' has the wrong dtype. Got: torch.int64"),
    ],
)
def test_tensors_that_do_not_fit(change: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=f"ONNX node LSTM: .*{words}"):
        lstm(VALUES | change, hidden_size=5)


def test_the_numbers_of_activations_go_to_those_that_read_one() -> None:
    given = {
        "activations": ["Sigmoid", "LeakyRelu", "affine"],
        "activation_alpha": [0.3, 2.0],
        "activation_beta": [1.0],
    }
    f, g, h = Node.read("LSTM", given).functions[0]
    assert (f.name, g.name, h.name) == ("Sigmoid", "LeakyRelu", "Affine")
    assert (g.alpha, h.alpha, h.beta) == (0.3, 2.0, 1.0)
    assert Node.read("RNN", {"activations": ["HardSigmoid"]}).functions[0][0].alpha == 0.2
    z = torch.linspace(-2, 2, 9)
    assert torch.equal(h(z), 2 * z + 1)


def test_plain_nodes_run_natively(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernels have goes to them: under the choice "native" nothing else would run."""
    for operator in OPERATORS:
        model, values = build(operator, 5, clip=False, activations=False, input_forget=0)
        with kernels.backend("native"), monkeypatch.context() as patch:
            patch.setattr(nodes.kernels, "scan", None)
            backend.run_model(model, values)
