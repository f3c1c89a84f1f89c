"""The table of kernels for GPUs: every kind of row, tiny, on the processor; what fails or is left out is told."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("triton", reason="Triton is made for Linux alone")

from benchmarks import gpu as command

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="the interpreter is chosen where there is no GPU")
BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(autouse=True)
def _place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    for name in ("RECURRA_GPU", "TRITON_INTERPRET"):  # (put back after what the command sets)
        monkeypatch.setenv(name, "1")


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "gpu.jsonl").read_text(encoding="utf-8").splitlines()]


def test_every_kind_of_row(tmp_path: Path) -> None:
    assert command.main(["--dry", "--out", str(tmp_path)]) == 0
    about, *rows = lines(tmp_path)
    assert about["dry"] and set(about["rates"]) == {"float32", "tf32", "bfloat16", "bytes"}
    assert len(rows) == 27
    for row in rows:
        measured = [one for one in row["figures"] if "published" not in one]
        assert measured and all(one["milliseconds"] > 0 for one in measured)
        # (the row of another result says so)
        bounds = {"bfloat16": 2e-2, "tf32": 2e-3}
        wrong = [one for one in measured if not one["error"] < bounds.get(one["contestant"].split(", ")[-1], 1e-5)]
        assert all("another result" in one["contestant"] for one in wrong), wrong
    first = (tmp_path / "gpu.md").read_text(encoding="utf-8")
    assert "| lstm, bfloat16, forward, B=2, T=2, H=18 | FlashRNN, cuda_fused | 4.87, published |" in first


def test_who_fails_is_told_and_the_rest_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu_layers = importlib.import_module("gpu_layers")

    monkeypatch.setattr(gpu_layers, "by_torch", lambda *_: lambda _: torch.zeros(2).view(3))
    monkeypatch.setattr(gpu_layers, "resets", lambda *_: 1 / 0)
    assert command.main(["--dry", "--out", str(tmp_path), "--only", "elman, forward,|gru, resets"]) == 1
    _, resets, elman = lines(tmp_path)
    assert resets["figures"] == [{"contestant": "", "failed": "ZeroDivisionError: division by zero"}]
    assert [("failed" in one, "error" in one) for one in elman["figures"]] == [(False, True), (True, False)] * 2 + [
        (False, True)
    ]
    assert "not run: ZeroDivisionError" in (tmp_path / "gpu.md").read_text(encoding="utf-8")


def test_no_row_is_begun_when_the_time_is_over(tmp_path: Path) -> None:
    assert command.main(["--dry", "--out", str(tmp_path), "--seconds", "0"]) == 0
    assert len(lines(tmp_path)) == 1
    assert "left out from: lstm, bfloat16, forward" in (tmp_path / "gpu.md").read_text(encoding="utf-8")


def test_a_test_that_does_not_end_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(command, "TESTS", (("parts that meet", ("--version",), 0), ("more", ("--version",), 60)))
    assert command.main(["--out", str(tmp_path)]) == 1
    assert [line["tests"] for line in lines(tmp_path)] == [{"parts that meet": "not done after 0 s"}]


def test_without_a_gpu_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--out", str(tmp_path / "never")]) == 6
    assert "There is no CUDA device here" in capsys.readouterr().err and not (tmp_path / "never").exists()


def test_a_checkout_that_is_not_installed_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    source = str(BENCHMARKS.parent / "src")
    monkeypatch.setattr(sys, "path", ["elsewhere"])
    monkeypatch.setenv("PYTHONPATH", "before")
    command.from_the_checkout()
    assert sys.path == ["elsewhere"]
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    command.from_the_checkout()
    # (and the tests that it begins)
    assert sys.path == ["elsewhere", source] and os.environ["PYTHONPATH"] == os.pathsep.join(("before", source))
