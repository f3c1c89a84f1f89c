"""Tags and labels that a tagger does not know: there is no loss then, and `evaluate`, `compare` and `fit` say so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import recurra
from recurra.data.intervals import resampled
from recurra.data.reading import read
from recurra.fitting.fitted import Model, measure
from recurra.fitting.kinds import KINDS
from recurra.fitting.options import FitOptions
from recurra.fitting.sets import gather
from recurra.models import Tagger

KNOWN = {"tokens": [["a", "b"], ["c"]] * 4, "tags": [["O", "B-X"], ["B-Y"]] * 4, "label": ["p", "q"] * 4}
NEW_TAG = {"tokens": [["a", "b"], ["c"]], "tags": [["O", "B-X"], ["B-Z"]], "label": ["p", "q"]}
NEW_LABEL = {**NEW_TAG, "tags": [["O", "B-X"], ["B-Y"]], "label": ["p", "r"]}


def model_of(seed: int = 0) -> Model:
    dataset, _, _ = read(KNOWN)
    return Model(KINDS["tag"].build(dataset, FitOptions(hidden=4, seed=seed))[0])


@pytest.mark.parametrize(("data", "what"), [(NEW_TAG, "tags"), (NEW_LABEL, "labels")])
def test_no_loss_where_the_model_holds_the_truth_for_impossible(
    data: dict, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model = model_of()
    assert isinstance(model.task, Tagger)
    assert model.evaluate(KNOWN)["loss"] > 0 and "have not" not in capsys.readouterr().err
    assert "loss" not in model.evaluate(data)
    assert f"has {what} that the training data have not (" in capsys.readouterr().err


def test_models_are_compared_without_a_loss() -> None:
    found = recurra.compare([model_of(), model_of(1)], NEW_TAG, resamples=100, quiet=True)
    assert all("loss" not in model.metrics and "f1" in model.metrics for model in found.models)
    assert sum("tags that the training data have not" in note for note in found.notes) == 2
    # of the rows drawn, some have only tags that are known
    assert "loss" in measure(model_of().task, read(KNOWN)[0])[0]


def test_a_metric_that_some_draws_do_not_have_is_left_out() -> None:
    rows = {"odd": np.array([0.0, 1.0, 0.0])}
    found = resampled(rows, lambda sums: {"odd": 1.0} | ({} if sums["odd"] else {"even": 1.0}), 50)
    assert set(found) == {"odd"}


def test_fit_goes_on_without_a_loss_and_says_why(tmp_path: Path) -> None:
    model = recurra.fit(
        KNOWN, valid=NEW_TAG, out=tmp_path / "m", hidden=4, epochs=2, baselines=False, quiet=True
    )  # fmt: skip
    assert "loss" not in model.metrics["valid"] and "f1" in model.metrics["valid"]
    assert next(row["best"] for row in model.record["history"])
    page = (tmp_path / "m" / "report.html").read_text(encoding="utf-8")
    assert "no loss is told" in page


def test_a_tag_that_is_only_in_the_part_held_back_is_named() -> None:
    rows = {"tokens": [["a", str(n)] for n in range(60)], "tags": [["O", f"B-{n}"] for n in range(60)]}
    problems = gather(rows, None, None, FitOptions(task="tag")).problems
    assert any("has tags that the training data have not" in problem.message for problem in problems)
