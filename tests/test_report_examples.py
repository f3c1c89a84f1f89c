"""What a report draws of sequences of numbers: rows of each class, pictures, and numbers told beside true ones."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
import torch

from recurra.data.codecs import LabelCodec, SeriesCodec
from recurra.data.datasets import LabelledDataset, LongColumns, RegressionDataset
from recurra.data.target_codec import TargetCodec
from recurra.fitting.kinds.drawn import CHANNELS, POINTS, SERIES, amounts, examples
from recurra.inspection import card, report
from recurra.layers import StackConfig
from recurra.models import Classifier, ClassifierConfig, Regressor, RegressorConfig
from test_report import HOSTILE, page_of

SERIES_ROW = {"name": "s1", "told": "a", "lines": ["0 1 - 2 3", "1 1 1 1 1"], "steps": 5}
DRAWN: dict[str, Any] = {
    "of": 3, "channels": ["x", "y"], "features": 6, "pictures": False,
    "classes": [
        {"label": "a", "rows": [SERIES_ROW, {**SERIES_ROW, "told": "b"}]},
        {"label": "b", "rows": [{**SERIES_ROW, "told": "b"}]},
    ],
}  # fmt: skip


def drawn(**changes: Any) -> dict[str, Any]:
    return {"kind": "classify", "examples": {**DRAWN, **changes}}


def test_rows_stand_under_their_label_and_the_mistaken_one_is_marked() -> None:
    page = page_of(drawn())
    assert len([1 for tag, _ in page.elements if tag == "figure"]) == 3 and len(page.of_class("mistaken")) == 1
    assert "s1: taken for b" in page.text and "Of 3 labels the 2 most frequent are drawn." in page.text
    assert "Lines: x, y." in page.text and "Of 6 features the first 4 are drawn." in page.text
    # a line is parted where a value is missing: two runs and a whole line, three times
    assert len([1 for tag, _ in page.elements if tag == "polyline"]) == 9


def test_a_picture_is_strips_of_its_shades() -> None:
    row = {"name": "row 2", "told": "7", "picture": ["0990", "5005"]}
    page = page_of(drawn(pictures=True, classes=[{"label": "7", "rows": [row]}]))
    paths = {held["opacity"]: held["d"] for tag, held in page.elements if tag == "path"}
    assert paths == {"0.56": "M0 1h1v1H0zM3 1h1v1H3z", "1.0": "M1 0h2v1H1z"}
    assert "features" not in page.text


@pytest.mark.parametrize(
    "changes",
    [
        {"classes": None},
        {"classes": [None, {"label": "a"}, {"label": "a", "rows": [None, {}]}]},
        {"classes": [{"label": "a", "rows": [{"lines": ["1 2", "1"]}, {"lines": [3]}, {"lines": [""]}]}]},
        {"classes": [{"label": "a", "rows": [{"picture": ["12", "1"]}, {"picture": ["ab"]}, {"picture": [1]}]}]},
    ],
)
def test_what_is_broken_is_left_out(changes: dict[str, Any]) -> None:
    assert "What they look like" not in page_of(drawn(**changes)).text


def test_no_markup_of_others_and_no_number_that_is_none() -> None:
    row = {**SERIES_ROW, "name": HOSTILE, "told": HOSTILE, "lines": ["nan inf x 1 2"]}
    page = page_of(drawn(channels=[HOSTILE], classes=[{"label": HOSTILE, "rows": [row]}]))
    assert not [1 for tag, _ in page.elements if tag in ("script", "img")]
    assert len([1 for tag, _ in page.elements if tag == "polyline"]) == 1


def test_a_regressor_is_drawn_a_dot_a_row() -> None:
    entry = {"name": "load", "true": [1.0, 2.0, None], "told": [1.5, 2.5, 3.0]}
    page = page_of({"kind": "regress", "amounts": [entry, {"name": "cut", "true": [1.0], "told": []}, None]})
    assert len([1 for tag, held in page.elements if tag == "circle" and held.get("opacity") == "0.6"]) == 2
    assert "load" in page.text and "cut" not in page.text
    assert "What is told" not in page_of({"kind": "regress", "amounts": []}).text


def test_sequences_of_numbers_have_steps_and_texts_tokens() -> None:
    data = {"data": {"name": "x", "train": {"rows": 2, "tokens": 9}}}
    numbers, words = ({"kind": "classify", "model": model, **data} for model in ({}, {"level": "words"}))
    assert "9 steps" in report.render(numbers) and "| split | rows | steps |" in card.render(numbers)
    assert "9 tokens" in report.render(words) and "| split | rows | tokens |" in card.render(words)


# ---- what is kept of a model and its validation data


class Told(Classifier):
    """Answers by the sign of the first number."""

    def forward(self, inputs: Any, state: Any = None, lengths: Any = None, resets: Any = None) -> Any:
        first = inputs[:, 0, 0]
        return torch.stack([first, -first], dim=1), state


def rows(*inputs: np.ndarray, labels: str, **more: Any) -> LabelledDataset:
    return LabelledDataset(list(inputs), list(labels), list(range(2, len(inputs) + 2)), "x.csv", **more)


def classifier(features: int, long: LongColumns | None = None) -> Told:
    codec = SeriesCodec(np.zeros(features), np.full(features, 2.0), long)
    config = ClassifierConfig(classes=2, features=features, missing="zero", stack=StackConfig(hidden=2))
    return Told(config, LabelCodec(["a", "b"]), codec).eval()


def test_some_of_each_class_are_kept_thinned_and_standardised() -> None:
    up, down = np.full((200, 6), 4.0, np.float32), np.full((3, 6), -1.0, np.float32)
    down[1, 1] = np.nan
    valid = rows(up, up, down, up, down, up, labels="aaabba")
    found = json.loads(json.dumps(examples(classifier(6), valid)))["examples"]
    first, second = found["classes"]
    assert found["of"] == 2 and found["features"] == 6 and first["label"] == "a" and len(first["rows"]) == SERIES
    # the one that is mistaken stands last
    assert [row["told"] for row in first["rows"]] == ["a", "a", "b"] and first["rows"][-1]["name"] == "row 4"
    assert [row["told"] for row in second["rows"]] == ["b", "a"]
    kept = first["rows"][0]
    assert len(kept["lines"]) == CHANNELS and kept["steps"] == 200
    assert kept["lines"][0].split() == ["2"] * POINTS
    assert first["rows"][-1]["lines"][1] == "-0.5 - -0.5"
    assert examples(classifier(6), LabelledDataset([up], None, [1], "x")) == {}


def test_names_of_series_and_columns_and_pictures_are_kept() -> None:
    long = LongColumns("id", None, ("p", "q"))
    valid = rows(np.ones((2, 2), np.float32), labels="a", ids=["s7"], long=long)
    found = examples(classifier(2, long), valid)["examples"]
    assert found["channels"] == ["p", "q"] and found["classes"][0]["rows"][0]["name"] == "s7"
    picture = np.array([[0, 255], [128, 255]], np.float32)
    found = examples(classifier(2), rows(picture, labels="a", pictures=True))["examples"]
    assert found["classes"][0]["rows"][0]["picture"] == ["09", "59"]


def test_the_numbers_told_are_kept_beside_the_true_ones() -> None:
    config = RegressorConfig(targets=1, features=1, stack=StackConfig(hidden=2))
    task = Regressor(config, TargetCodec(["load"], np.array([3.0]), np.ones(1)), SeriesCodec(np.zeros(1), np.ones(1)))
    torch.nn.init.zeros_(task.eval().head)
    inputs = [np.ones((2, 1), np.float32)] * 900
    valid = RegressionDataset(inputs, [(float(at),) for at in range(900)], ("load",), list(range(900)), "x")
    (found,) = amounts(task, valid)["amounts"]
    assert found["name"] == "load" and found["true"][:3] == [0.0, 3.0, 6.0] and set(found["told"]) == {3.0}
    assert len(found["told"]) == len(found["true"]) == 300 and not re.search("nan", json.dumps(found))
