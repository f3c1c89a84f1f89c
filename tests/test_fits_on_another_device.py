"""Whole fits on a device other than the CPU: the same weights and figures, broken off and gone on with too.

The device is a pretended one (`pretended.py`) whose kernels are those of the CPU, so all is equal to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import recurra
from pretended import THERE, pretended
from recurra.errors import Interrupted
from recurra.fitting.stopping import Stopping

TEXTS = [f"{one} {what}" for one in ("apple", "phone") for what in ("is here", "was good", "so new")] * 2
CLASSES = ["food"] * 3 + ["thing"] * 3
RANDOM = np.random.default_rng(0)
SERIES = [RANDOM.normal(size=(8, 2)) for _ in range(12)]
TIMES = np.arange(50)
FRAME = pd.DataFrame(
    {"unique_id": ["a"] * 50 + ["b"] * 50, "ds": [*TIMES] * 2, "y": [*np.sin(TIMES), *np.cos(TIMES / 2)]}
)
LINES = ["abcabd acb " * 40] * 2

FITS: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "next word": ("language", LINES, {"average": 0.9, "dropout": 0.1}),
    "in parts": ("language", LINES, {"accumulate": 2, "precision": "bfloat16", "optimiser": "muon", "recompute": 8}),
    "text": ("classify", (TEXTS, CLASSES * 2), {"dropout": 0.1, "summary": "attention", "class_weights": "balanced"}),
    "beside n-grams": ("classify", (TEXTS, CLASSES * 2), {"ngrams": True}),
    "feed-forward": ("classify", (TEXTS, CLASSES * 2), {"cell": "feedforward", "baselines": True}),
    "series": ("classify", (SERIES, ["a", "b"] * 6), {"members": 2, "probes": False, "augment": True}),
    "numbers": ("regress", (SERIES, [float(one.sum()) for one in SERIES]), {"members": 1, "probes": False}),
    "tags": ("tag", ([["a", "b", "c"], ["d", "e"]] * 6, [["B-x", "I-x", "O"], ["O", "B-y"]] * 6), {}),
    "translation": ("translate", (["abc", "de"] * 6, ["cb", "ed"] * 6), {}),
    "word by word": ("translate", (["a b", "c"] * 6, ["x y", "z"] * 6), {"form": "word-by-word", "cell": "slstm"}),
    "forecasts": ("forecast", FRAME, {"horizon": 4}),
    "plain forecasts": ("forecast", FRAME, {"horizon": 4, "parts": "plain", "output": "quantiles"}),
    "smoothed forecasts": ("forecast", FRAME, {"horizon": 4, "parts": "smoothed", "season": 6}),
}  # fmt: skip


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def fit(name: str, out: str, device: str, **more: Any) -> recurra.Model:
    task, data, choices = FITS[name]
    choices = {"hidden": 4, "layers": 1, "epochs": 2, "rows": 4, "baselines": False, **choices, **more}
    return recurra.fit(data, task=task, out=out, device=device, quiet=True, **choices)


@pytest.mark.parametrize("name", FITS)
def test_a_fit_is_that_of_the_cpu(name: str) -> None:
    here = fit(name, "here", "cpu")
    with pretended():
        fitted = fit(name, "there", THERE.type)
    assert fitted.fingerprint == here.fingerprint
    assert fitted.metrics == here.metrics
    assert recurra.load("there").fingerprint == here.fingerprint


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Have a run stop after so many steps."""

    def after(steps: int) -> None:
        # each step asks twice
        asked = count(1)
        monkeypatch.setattr(Stopping, "__call__", lambda self: (next(asked) + 1) // 2 == steps)

    return after


@pytest.mark.parametrize("name", ["next word", "in parts", "tags"])
def test_a_run_that_was_stopped_goes_on_there(name: str, stop_after: Callable[[int], None]) -> None:
    here = fit(name, "here", "cpu")
    with pretended():
        stop_after(3)
        with pytest.raises(Interrupted, match="Go on with"):
            fit(name, "there", THERE.type)
        assert Path("there/training").exists()
        fitted = fit(name, "there", THERE.type)
    assert fitted.fingerprint == here.fingerprint


def test_a_run_goes_on_on_another_device(stop_after: Callable[[int], None]) -> None:
    """Which device it is decides nothing, so a run that was begun on one ends on the other."""
    here = fit("next word", "here", "cpu", dropout=0.0)
    for out, first, second in (("up", "cpu", THERE.type), ("down", THERE.type, "cpu")):
        with pretended():
            stop_after(3)
            with pytest.raises(Interrupted):
                fit("next word", out, first, dropout=0.0)
            assert fit("next word", out, second, dropout=0.0).fingerprint == here.fingerprint


def test_a_search_there_gives_a_model_here() -> None:
    task, data, _ = FITS["next word"]
    choices: dict[str, Any] = {"task": task, "hidden": 4, "layers": 1, "minutes": 0.005, "trials": 2, "quiet": True}
    with pretended():
        found = recurra.tune(data, out="search", device=THERE.type, **choices)
    assert all(trial.trouble is None for trial in found.trials)
    assert recurra.load(found.model.folder or "").fingerprint == found.model.fingerprint
