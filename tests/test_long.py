"""Tables with a row a step, gathered to a row a series: order, holes, answers, and what is wrong named with its lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest
from typer.testing import CliRunner

import recurra
from recurra.cli.commands import app
from recurra.data.datasets import LabelledDataset, LongColumns, RegressionDataset
from recurra.data.layouts import FrameChoices
from recurra.data.reading import read
from recurra.data.sequence_codec import SeriesCodec
from recurra.errors import DataError, ModelError, UsageError

LONG = """unique_id,ds,a,b,label
x,1,1,10,up
x,2,2,,up
y,1,5,50,down
x,3,3,30,up
y,2,4,40,down
z,1,7,70,up
"""


def written(folder: Path, content: str, name: str = "long.csv") -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def rows_of(content: str, folder: Path, **choices: Any) -> tuple[LabelledDataset, list[str], list[str]]:
    dataset, found, problems = read(written(folder, content), **choices)
    assert isinstance(dataset, LabelledDataset)
    return dataset, found.reasons, [problem.message for problem in problems]


def test_a_row_a_step_becomes_a_row_a_series(tmp_path: Path) -> None:
    dataset, reasons, told = rows_of(LONG, tmp_path)
    assert dataset.ids == ["x", "y", "z"] and dataset.labels == ["up", "down", "up"] and dataset.lines == [2, 4, 7]
    np.testing.assert_array_equal(dataset.inputs[0], np.array([[1, 10], [2, np.nan], [3, 30]], np.float32))
    np.testing.assert_array_equal(dataset.inputs[1], np.array([[5, 50], [4, 40]], np.float32))
    assert dataset.long == LongColumns("unique_id", "ds", ("a", "b"))
    assert reasons[0].startswith("A row a step: 3 series by the column 'unique_id', in the order of 'ds'")
    assert any("1 series has missing values" in message for message in told)
    part = dataset.subset([2, 0], "part")
    assert part.ids == ["z", "x"] and part.long == dataset.long


def test_the_order_of_lines_does_not_matter_where_there_is_a_time(tmp_path: Path) -> None:
    header, *lines = LONG.strip().split("\n")
    dataset, _, told = rows_of("\n".join([header, *reversed(lines)]), tmp_path)
    straight, _, _ = rows_of(LONG, tmp_path)
    assert dataset.ids is not None and straight.ids is not None
    for place, name in enumerate(dataset.ids):
        np.testing.assert_array_equal(dataset.inputs[place], straight.inputs[straight.ids.index(name)])
    assert any("2 series are not in the order of time, so rows were sorted ('y', 'x')" in message for message in told)


def test_dates_and_fractions_are_moments(tmp_path: Path) -> None:
    dated = LONG.replace(",1,", ",2024-01-01,").replace(",2,", ",2024-01-02,", 1).replace(",3,3,", ",2024-01-03,3,")
    assert "2024-01-02" in dated
    fractions = LONG.replace("x,1,", "x,0.5,").replace("y,2,", "y,1.25,")
    for content in (dated.replace("y,2,", "y,2024-01-02,"), fractions):
        dataset, _, _ = rows_of(content, tmp_path)
        np.testing.assert_array_equal(np.asarray(dataset.inputs[0])[:, 0], np.array([1, 2, 3], np.float32))


AMBIGUOUS = "unique_id,ds,a,label\n" + "".join(
    f"s{row},{day}/02/2024,{row + at},{'up' if row % 2 else 'down'}\n"
    for row in range(6)
    for at, day in enumerate((12, 13, 14))
)


def test_dates_are_read_again_in_the_order_of_the_training_data(tmp_path: Path) -> None:
    dataset, _, _ = rows_of(AMBIGUOUS, tmp_path)
    assert dataset.long is not None and dataset.long.dates == "%d/%m/%Y"
    # in days that both orders know, the months would be sorted by what is their day
    later = "unique_id,ds,a\n" + "".join(f"z,{when}/2024,{at}\n" for at, when in enumerate(("11/01", "12/01", "01/02")))
    known, _, _ = read(written(tmp_path, later), task="classify", long=dataset.long, need_labels=False)
    np.testing.assert_array_equal(np.asarray(known.raw[0])[:, 0], np.array([0, 1, 2], np.float32))
    assert isinstance(known, LabelledDataset) and known.long == dataset.long
    other = later.replace("12/01", "01/13")
    with pytest.raises(
        DataError, match="'ds' is read as day/month/year, as in the training data, and '01/13/2024' can only"
    ):
        read(written(tmp_path, other), task="classify", long=dataset.long, need_labels=False)
    with pytest.raises(
        DataError, match="'ds' is written in two ways: as '12/02/2024', day/month/year, and as '02/13/2024'"
    ):
        rows_of(AMBIGUOUS.replace("s5,13/02/", "s5,02/13/"), tmp_path)


def test_frames_of_other_libraries_and_parquet_are_read_alike(tmp_path: Path) -> None:
    frame = polars.read_csv(written(tmp_path, LONG))
    frame.write_parquet(tmp_path / "long.parquet")
    for source in (frame, frame.to_pandas(), tmp_path / "long.parquet"):
        dataset, found, _ = read(source)
        assert isinstance(dataset, LabelledDataset) and found.task == "classify"
        assert dataset.ids == ["x", "y", "z"] and np.isnan(np.asarray(dataset.inputs[0])[1, 1])


def test_the_columns_may_be_named(tmp_path: Path) -> None:
    content = LONG.replace("unique_id,ds,a,b,label", "who,when,a,b,outcome")
    dataset, _, _ = rows_of(content, tmp_path, label="outcome", frame=FrameChoices(series="who", time="when"))
    assert dataset.long == LongColumns("who", "when", ("a", "b"))
    with pytest.raises(DataError, match=r"has no column 'whose'.*--series with one of.*Did you mean 'who'"):
        rows_of(content, tmp_path, label="outcome", frame=FrameChoices(series="whose"))
    with pytest.raises(UsageError, match="--series is for tables with a row a step"):
        read(written(tmp_path, "who,label\nx,a\ny,b\n"), task="classify", frame=FrameChoices(series="who"))


def test_what_is_no_number_is_told_and_an_infinity_refused(tmp_path: Path) -> None:
    dataset, _, told = rows_of(LONG.replace("x,3,3,30,", "x,3,three,30,") + ",4,1,1,up\n", tmp_path)
    assert np.isnan(np.asarray(dataset.inputs[0])[2, 0])
    assert any("'a' holds something that is no number (line 5)" in message for message in told)
    assert any("1 row names no series and was left out (line 8)" in message for message in told)
    with pytest.raises(DataError, match="series at line 4 has an infinity at step 2, feature 1"):
        rows_of(LONG.replace("y,2,4,", "y,2,inf,"), tmp_path)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("x,3,3,30,up", "x,3,3,30,down", r"1 of 3 series has more than one answer \('x': lines 2 and 5\)"),
        ("x,2,2,,up", "x,1,2,,up", r"series 'x' has a moment of 'ds' twice \(lines 2 and 3\)"),
        ("x,2,2,,up", "x,,2,,up", r"'ds' is empty \(line 3\): write the moment"),
        ("x,2,2,,up", "x,soon,2,,up", r"'ds' holds no moment \(line 3\)"),
    ],
)
def test_what_is_wrong_is_named_with_its_series_and_lines(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        rows_of(LONG.replace(old, new), tmp_path)


def test_an_answer_may_stand_in_one_row_of_a_series(tmp_path: Path) -> None:
    dataset, _, _ = rows_of(LONG.replace("x,2,2,,up", "x,2,2,,").replace("x,3,3,30,up", "x,3,3,30,"), tmp_path)
    assert dataset.labels == ["up", "down", "up"]


def test_series_of_one_step_are_series(tmp_path: Path) -> None:
    content = "unique_id,ds,a,label\n" + "".join(f"s{at},1,{at},{'up' if at % 2 else 'down'}\n" for at in range(6))
    dataset, _, _ = rows_of(content, tmp_path)
    assert dataset.ids == [f"s{at}" for at in range(6)] and all(np.asarray(row).shape == (1, 1) for row in dataset.raw)


def test_other_tables_are_no_rows_of_series(tmp_path: Path) -> None:
    # texts, series to forecast, answers that change from row to row
    for content, task in (
        ("id,text,label\n1,good,a\n1,bad,b\n2,fine,a\n3,poor,b\n", "classify"),
        ("unique_id,ds,y\n" + "".join(f"x,{at},{at % 7}.5\n" for at in range(40)), "forecast"),
        ("unique_id,ds,y,class\n" + "".join(f"x,{at},{at % 7}.5,{at % 3}\n" for at in range(40)), "forecast"),
    ):
        _, found, _ = read(written(tmp_path, content))
        assert found.task == task
    # a row each of its own, but for one that was written twice
    content = "id,review,a,b,label\n" + "".join(f"{at},text {at},1,{at},{'ab'[at % 2]}\n" for at in (*range(8), 7))
    dataset, _, _ = read(written(tmp_path, content))
    assert isinstance(dataset, LabelledDataset) and dataset.long is None and dataset.raw[0] == "text 0"
    numbers = "id,a,b,label\n" + "".join(f"{at},1,{at},{'ab'[at % 3 % 2]}\n" for at in (*range(8), 7))
    with pytest.raises(DataError, match="no column of texts or numeric sequences"):
        read(written(tmp_path, numbers))


def test_numbers_are_learnt_of_such_tables_too(tmp_path: Path) -> None:
    content = LONG.replace("label", "target").replace("up", "1.5").replace("down", "2")
    dataset, found, _ = read(written(tmp_path, content), task="regress")
    assert isinstance(dataset, RegressionDataset) and found.label == "target"
    assert dataset.targets == [(1.5,), (2.0,), (1.5,)] and dataset.ids == ["x", "y", "z"]


def test_a_codec_keeps_the_columns() -> None:
    codec = SeriesCodec(np.zeros(2), np.ones(2), LongColumns("who", None, ("a", "b")))
    written = json.loads(json.dumps(codec.to_json()))
    assert SeriesCodec.from_json(written).long == codec.long and "dates" not in written["long"]
    dated = {**written, "long": written["long"] | {"dates": "%m/%d/%Y"}}
    assert json.loads(json.dumps(SeriesCodec.from_json(dated).to_json())) == dated
    for damage in ({"series": 1}, {"channels": ["a"]}, {"channels": "ab"}, {"time": []}, {"dates": "%H"}):
        with pytest.raises(ModelError, match="columns of the codec are damaged"):
            SeriesCodec.from_json({**written, "long": written["long"] | damage})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> recurra.Model:
    folder = tmp_path_factory.mktemp("long")
    lines = [
        f"s{name},{at},{at * (1 if name % 2 else -1)},{name % 3},{'up' if name % 2 else 'down'}"
        for name in range(12)
        for at in range(3 + name % 4)
    ]
    path = written(folder, "unique_id,ds,a,b,label\n" + "\n".join(lines) + "\n")
    return recurra.fit(
        path, valid=path, out=folder / "model", epochs=1, members=1, hidden=4, probes=False, convolution=False,
        baselines=False, quiet=True,
    )  # fmt: skip


def test_a_model_finds_its_columns_again(model: recurra.Model, tmp_path: Path) -> None:
    """By their names, whatever their order, and whether or not answers stand beside them, torn ones too."""
    straight = written(tmp_path, "unique_id,ds,a,b\nx,1,1,2\nx,2,2,1\ny,1,0,1\n")
    turned = written(tmp_path, "label,b,a,more,ds,unique_id\nup,1,2,text,2,x\ndown,2,1,text,1,x\n,1,0,,1,y\n", "b.csv")
    assert model.folder is not None
    said = [CliRunner().invoke(app, ["predict", str(model.folder), str(path), "--json"]) for path in (straight, turned)]
    answers = [[json.loads(line) for line in one.stdout.splitlines()] for one in said]
    assert [answer["series"] for answer in answers[0]] == ["x", "y"]
    for one, other in zip(*answers, strict=True):
        assert one["probabilities"] == other["probabilities"] and one["series"] == other["series"]
    frame = polars.read_csv(straight)
    assert [answer["probabilities"] for answer in model.predict(frame)] == [
        each["probabilities"] for each in answers[0]
    ]


def test_a_column_that_is_missing_is_named(model: recurra.Model, tmp_path: Path) -> None:
    path = written(tmp_path, "unique_id,ds,b\nx,1,2\nx,2,1\n")
    with pytest.raises(DataError, match=r"lacks the column 'a', which the model reads\. Got: columns unique_id, ds, b"):
        model.evaluate(path)


def test_a_channel_without_values_is_named_by_its_column(model: recurra.Model) -> None:
    with pytest.raises(DataError, match=r"not finite\. Got: nan at step 1, feature 2"):
        model.predict([np.array([[1.0, np.nan], [1.0, 1.0]])])
