"""Models on a device other than the CPU, looked into, measured as streams, compared, and learning while they are measured.

The device is a pretended one (`pretended.py`); what is told of a model there is what is told of it here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import recurra
from pretended import pretended
from recurra.data.datasets import LabelledDataset, RegressionDataset, TextDataset
from recurra.fitting.fitted import Model
from recurra.fitting.forecasting import series_in
from recurra.training.streamed import streamed
from test_following import forecaster, table
from test_other_device import FORMS, SERIES, TEXTS, close, made, there

LOOKED_AT = [
    "language-gru", "classify-text-gru", "classify-gru-attention", "classify-spelled", "classify-beside-ngrams",
    "regress-fronted", "tag-gru", "translate-gru", "word-by-word",
]  # fmt: skip


def told(model: Model, *raw: Any, **more: Any) -> dict[str, Any]:
    """A look as plain values, without the file of the state, whose header has its entries in any order."""
    found = model.look(*raw, **more).to_dict()
    for scene in found["scenes"]:
        del scene["file"]
    return found


@pytest.mark.parametrize("name", LOOKED_AT)
def test_a_look_is_that_of_the_cpu(name: str) -> None:
    raw = FORMS.get(name, ["a b c", "d"])
    here = Model(made(name))
    expected = told(here, *raw[:2])
    with pretended():
        close(told(Model(there(here.task)), *raw[:2]), expected)


@pytest.mark.parametrize("options", [{}, {"smoothing": True, "beside": False}, {"lookback": 24}], ids=str)
def test_a_look_at_a_forecast(options: dict[str, Any]) -> None:
    model = forecaster(**options)
    here = Model(model)
    series = series_in(model, table(20, beside=options.get("beside", True))).series[0]
    expected = told(here, series)
    with pretended():
        close(told(Model(there(here.task)), series), expected)


def test_a_look_with_a_corpus() -> None:
    here = Model(made("language-gru"))
    expected = told(here, "abc", corpus=["abcd", "acd"])
    with pretended():
        close(told(Model(there(here.task)), "abc", corpus=["abcd", "acd"]), expected)


ROWS = list(range(1, 25))
STREAMED: dict[str, Callable[[], Any]] = {
    "language-gru": lambda: TextDataset(["abcdabdcba" * 200], "texts"),
    "classify-text-gru": lambda: LabelledDataset(TEXTS * 12, ["a", "b"] * 12, ROWS, "rows"),
    "regress-fronted": lambda: RegressionDataset(SERIES * 12, [(1.0, 2.0), (0.5, 3.0)] * 12, ("a", "b"), ROWS, "rows"),
}


@pytest.mark.parametrize("name", STREAMED)
def test_measured_as_a_stream(name: str) -> None:
    here, data = made(name), STREAMED[name]()
    expected = streamed(here, data, 16) | {"seconds": 0.0}
    with pretended():
        close(streamed(there(here), data, 16) | {"seconds": 0.0}, expected)


def test_learning_while_measured() -> None:
    here = Model(made("language-gru"))
    expected = here.evaluate(["abcdab" * 30], dynamic=0.001, cache=True, quiet=True)
    with pretended():
        close(Model(there(here.task)).evaluate(["abcdab" * 30], dynamic=0.001, cache=True, quiet=True), expected)


def test_models_compared() -> None:
    tasks, data = [made("classify-text-gru"), made("classify-beside-ngrams")], (TEXTS * 6, ["a", "b"] * 6)

    def compared(tasks: list[Any]) -> dict[str, Any]:
        found = recurra.compare([Model(task) for task in tasks], data, quiet=True).as_dict()
        for one in found["models"]:
            del one["speed"]
        return found

    expected = compared(tasks)
    with pretended():
        close(compared([there(task) for task in tasks]), expected)
