"""Missing values and channels that a model of numbers cannot read: said before a training, with the rows they stand in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import recurra
from recurra.data.codecs import LabelCodec, SeriesCodec
from recurra.data.datasets import LabelledDataset
from recurra.errors import DataError
from recurra.fitting.kinds import KINDS
from recurra.fitting.options import FitOptions
from recurra.fitting.sets import Sets, settled
from recurra.layers import StackConfig
from recurra.models import Classifier, ClassifierConfig, ClassifierEnsemble, ClassifierEnsembleConfig

HOLE = np.array([[1.0], [np.nan], [0.5]], np.float32)


def rows(*inputs: np.ndarray, name: str = "x.csv") -> LabelledDataset:
    labels = ["a" if place % 2 else "b" for place in range(len(inputs))]
    return LabelledDataset(list(inputs), labels, list(range(2, len(inputs) + 2)), name)


def numbers(count: int, features: int = 1) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.normal(size=(3, features)).astype(np.float32) for _ in range(count)]


def test_holes_that_only_validation_data_have_are_filled_and_told() -> None:
    whole, holed = rows(*numbers(4)), rows(*numbers(2), HOLE)
    options, told = settled(Sets(whole, holed, None, [], []), FitOptions())
    assert options.missing == "previous" and "the training data none" in told[0]
    for sets in (Sets(whole, whole, None, [], []), Sets(holed, holed, None, [], [])):
        assert settled(sets, FitOptions()) == (FitOptions(), [])
    chosen = FitOptions(missing="zero")
    assert settled(Sets(whole, holed, None, [], []), chosen) == (chosen, [])


@pytest.mark.parametrize("members", [1, 2])
def test_what_a_model_cannot_read_is_said_with_its_rows(members: int) -> None:
    codec, labels = SeriesCodec(np.zeros(1), np.ones(1)), LabelCodec(("a", "b"))
    config = ClassifierConfig(classes=2, features=1, stack=StackConfig(hidden=3))
    several = ClassifierEnsembleConfig(member=config, members=members)
    one = Classifier(config, labels, codec)
    task = one if members == 1 else ClassifierEnsemble(several, lambda: Classifier(config, labels, codec))
    good, wide = numbers(1)[0], numbers(1, features=2)[0]
    assert KINDS["classify"].unanswerable(task, rows(good, good)) == []
    (problem,) = KINDS["classify"].unanswerable(task, rows(good, HOLE, good, HOLE))
    assert problem.fatal and problem.lines == (3, 5)
    assert problem.message.startswith(
        "2 lines of x.csv cannot be read (lines 3 and 5): The sequence holds a value that"
    )
    assert "Got: nan at step 2, feature 1" in problem.message and "--missing previous" in problem.message
    (problem,) = KINDS["classify"].unanswerable(task, rows(wide))
    assert "another number of features. Got: 2. Expected: 1. Give the channels of the training data" in problem.message


def test_a_check_finds_channels_that_are_not_those_of_the_training_data() -> None:
    labels = ["a", "b"] * 10
    found = recurra.check((numbers(20), labels), valid=(numbers(20, features=2), labels), quiet=True)
    assert "20 rows of the data cannot be read" in str(found.error) and "Expected: 1" in str(found.error)


def test_a_row_of_the_training_data_without_a_channel_is_named() -> None:
    inputs = numbers(20, features=2)
    inputs[3] = np.array([[np.nan, 1.0], [np.nan, 2.0]], np.float32)
    inputs[5] = np.array([[0.5, np.nan], [1.0, 2.0]], np.float32)
    found = recurra.check((inputs, ["a", "b"] * 10), valid=(numbers(20, features=2), ["a", "b"] * 10), quiet=True)
    assert "1 row of the data cannot be read (row 4): The sequence has no value of feature 1" in str(found.error)


@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("task", ["classify", "regress"])
def test_a_value_out_of_all_proportion_is_named(task: str, members: int, tmp_path: Path) -> None:
    inputs = numbers(40)
    answers = [float(row.sum()) for row in inputs] if task == "regress" else ["ab"[place % 2] for place in range(40)]
    model = recurra.fit(
        (inputs, answers),
        task=task,
        out=tmp_path / "m",
        epochs=1,
        hidden=4,
        members=members,
        baselines=False,
        quiet=True,
    )
    some = [inputs[place].copy() for place in range(30)]
    some[2][1] = 9e14  # far, and still a number that all parts can compute with
    told = model.predict(some)[2]
    assert np.isfinite([told["value"]] if task == "regress" else list(told["probabilities"].values())).all()
    for value in (1e17, 1e38):
        some[2][1] = value
        with pytest.raises(DataError, match=r"Input 3: .*1e\+(17|38) at step 2, feature 1.*give or take"):
            model.predict(some)
        with pytest.raises(DataError, match=r"1 row of the data cannot be read \(row 3\).* at step 2, feature 1"):
            model.evaluate((some, answers[:30]))
    with pytest.raises(DataError, match=r"^The sequence holds"):
        model.predict([some[2]])
