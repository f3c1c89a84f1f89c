"""`recurra export`: a fitted model in a folder becomes a file that ONNX Runtime streams."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import recurra
from bad_input_cases import run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model."""
    place = tmp_path_factory.mktemp("place")
    (place / "text.txt").write_text("the cat sat on the mat.\n" * 40)
    recurra.fit(place / "text.txt", hidden=8, epochs=1, baselines=False, out=place / "language", quiet=True)
    return place / "language"


def test_a_fitted_model_streams_in_onnx_runtime(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    ending = run("export", folder, "--onnx", file, "--json")
    about = json.loads(ending.out)
    assert (ending.code, ending.err) == (0, "")
    assert about["bytes"] == file.stat().st_size and about["opset"] == 17
    assert about["inputs"][0] == {"name": "tokens", "dtype": "int64", "shape": ["batch", "time"]}
    assert [value["name"] for value in about["outputs"]] == ["logits", "next.0.h"]

    model = recurra.load(folder)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    tokens = np.array([model.task.encode(["the cat"]).inputs[0].tolist()])
    logits, state = np.zeros(()), np.zeros((1, 8), np.float32)
    for step in range(tokens.shape[1]):
        feeds = {"tokens": tokens[:, step : step + 1], "state.0.h": state}
        logits, state = (np.asarray(value) for value in session.run(None, feeds))
    codec: Any = model.task.codec
    likeliest = codec.decode([int(logits[0, -1].argmax())])
    assert likeliest == model.predict("the cat", top=1)[0]["next"][0]["token"]


def test_a_table_for_people_and_the_options(folder: Path, tmp_path: Path) -> None:
    ending = run("export", folder, "--onnx", tmp_path / "model.onnx", "--lengths", "--opset", 20)
    assert ending.code == 0
    assert "lengths" in ending.out and "batch, time" in ending.out and "next.0.h" in ending.out
    assert "ONNX opset 20" in ending.err


def test_errors(folder: Path, tmp_path: Path) -> None:
    for words, code, message in (
        ((folder,), 2, "--onnx"),
        ((folder, "--onnx", tmp_path / "x.onnx", "--opset", 3), 2, "The opset is out of range. Got: 3"),
        ((tmp_path / "none", "--onnx", tmp_path / "x.onnx"), 4, "none"),
        ((folder, "--onnx", tmp_path), 6, "Cannot write"),
    ):
        ending = run("export", *words)
        assert (ending.code, ending.out) == (code, "") and message in ending.err
    assert not (tmp_path / "x.onnx").exists()
