"""Whole ONNX models through the backend: recurrent nodes among others, in subgraphs and in functions."""

from __future__ import annotations

import builtins
import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from recurra.errors import DataError, EnvironmentFailure, ModelError, UsageError
from recurra.kernels import ops
from recurra.onnx import backend

RANDOM = np.random.default_rng(0)
W, R = (RANDOM.normal(size=(1, 12, width)).astype(np.float32) for width in (3, 4))
X = RANDOM.normal(size=(2, 5, 3)).astype(np.float32)


def recurrent_nodes(x: str, y: str) -> list[onnx.NodeProto]:
    """Batch-first x -> y, the last state of a GRU: an absent output, then an absent input."""
    return [
        helper.make_node("Transpose", [x], ["time_first"], perm=[1, 0, 2]),
        helper.make_node("GRU", ["time_first", "W", "R"], ["", "h"], hidden_size=4, linear_before_reset=1),
        helper.make_node("Clip", ["h", "", "high"], ["bounded"]),
        helper.make_node("Squeeze", ["bounded", "axes"], [y]),
    ]


CONSTANTS = {"W": W, "R": R, "high": np.array(0.2, np.float32), "axes": np.array([0])}
INITIALIZERS = [numpy_helper.from_array(value, name) for name, value in CONSTANTS.items()]
INPUT = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "time", 3])
OUTPUT = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])
OPSET = helper.make_opsetid("", 17)


def plain() -> onnx.ModelProto:
    graph = helper.make_graph(recurrent_nodes("x", "y"), "plain", [INPUT], [OUTPUT], INITIALIZERS)
    return helper.make_model(graph, opset_imports=[OPSET], ir_version=8)


def in_a_branch() -> onnx.ModelProto:
    """The same nodes within one branch of an If, zeros in the other."""
    then = helper.make_graph(
        recurrent_nodes("x", "inner"), "then", [], [helper.make_tensor_value_info("inner", 1, None)]
    )
    zero = helper.make_node("Constant", [], ["zero"], value=numpy_helper.from_array(np.zeros((2, 4), np.float32)))
    other = helper.make_graph([zero], "else", [], [helper.make_tensor_value_info("zero", 1, None)])
    nodes = [
        helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True))),
        helper.make_node("If", ["yes"], ["y"], then_branch=then, else_branch=other),
    ]
    graph = helper.make_graph(nodes, "branch", [INPUT], [OUTPUT], INITIALIZERS)
    return helper.make_model(graph, opset_imports=[OPSET], ir_version=8)


def in_a_function() -> onnx.ModelProto:
    """The same nodes as a function of the model's own, whose hidden size is the function's argument."""
    nodes = recurrent_nodes("a", "b")
    for attribute in list(nodes[1].attribute):
        if attribute.name == "hidden_size":
            attribute.ClearField("i")
            attribute.ref_attr_name = "units"
    function = helper.make_function(
        "own", "Reader", ["a", "W", "R", "high", "axes"], ["b"], nodes, [OPSET], attributes=["units"]
    )
    call = helper.make_node("Reader", ["x", "W", "R", "high", "axes"], ["y"], domain="own", units=4)
    graph = helper.make_graph([call], "function", [INPUT], [OUTPUT], INITIALIZERS)
    opsets = [OPSET, helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=[function])


@pytest.mark.parametrize("make", [plain, in_a_branch, in_a_function])
def test_recurrent_nodes_run_on_our_kernels_wherever_they_stand(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    run = ops.layer
    monkeypatch.setattr(
        ops, "layer", lambda name, *given, **options: calls.append(name) or run(name, *given, **options)
    )
    (found,) = backend.prepare(make()).run([X])
    assert calls == ["gru"]
    # onnx.reference itself would take the absent output for the absent bound, so it gets the names our backend gives
    named = plain()
    named.graph.node[1].output[0] = "unread"
    (expected,) = list(ReferenceEvaluator(named).run(None, {"x": X}))
    np.testing.assert_allclose(found, np.asarray(expected), rtol=2e-5, atol=2e-6)


def test_a_model_is_not_changed_and_runs_again() -> None:
    model = plain()
    before = model.SerializeToString()
    ready = backend.prepare(model)
    assert np.array_equal(ready.run([X])[0], ready.run({"x": X})[0])
    assert model.SerializeToString() == before


def test_inputs_that_do_not_fit() -> None:
    ready = backend.prepare(plain())
    with pytest.raises(DataError, match=r"wrong number of inputs. Got: 2. Expected: 1: x"):
        ready.run([X, X])
    with pytest.raises(DataError, match=r"inputs of the model do not fit. Got: z. Expected: x"):
        ready.run({"z": X})


def test_what_is_no_model(tmp_path: Path) -> None:
    broken = plain()
    broken.graph.node[3].input[0] = "nothing"
    with pytest.raises(ModelError, match="no valid ONNX model"):
        backend.prepare(broken)
    wrong = plain()
    wrong.graph.node[1].attribute.append(helper.make_attribute("direction", "sideways"))
    with pytest.raises(UsageError, match="sideways"):
        backend.prepare(wrong)
    with pytest.raises(ModelError, match="No such model file"):
        backend.prepare(tmp_path / "missing.onnx")
    (tmp_path / "text.onnx").write_text("this is no model")
    with pytest.raises(ModelError, match="is no ONNX model"):
        backend.prepare(tmp_path / "text.onnx")
    onnx.save(plain(), str(tmp_path / "model.onnx"))
    assert backend.run_model(tmp_path / "model.onnx", [X])[0].shape == (2, 4)


def test_devices_and_what_is_compatible() -> None:
    assert backend.supports_device("CPU") and backend.supports_device("CPU:0") and not backend.supports_device("CUDA")
    with pytest.raises(UsageError, match=r"no such device for ONNX models. Got: CUDA"):
        backend.prepare(plain(), "CUDA")
    assert backend.is_compatible(plain()) and backend.is_compatible(in_a_branch())


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **options: Any) -> Any:
        if name == "onnx":
            raise ModuleNotFoundError("No module named 'onnx'", name="onnx")
        return real(name, *rest, **options)

    for name in [name for name in sys.modules if name.split(".")[:2] == ["recurra", "onnx"]]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(EnvironmentFailure, match=r'pip install "recurra\[onnx\]"'):
        importlib.import_module("recurra.onnx")
