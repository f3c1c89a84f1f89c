"""Decimal commas: read where they can be nothing else, refused with their lines where they could."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import pytest

from recurra.data.datasets import RegressionDataset
from recurra.data.decimals import with_points
from recurra.data.layouts import FrameChoices
from recurra.data.reading import read
from recurra.data.series import SeriesDataset
from recurra.errors import DataError

DAYS = [str(date(2024, 1, 1) + timedelta(days=place)) for place in range(30)]

COLUMNS = [
    (["3,5", "4", ""], ["3.5", "4", ""]),
    (["-0,125", "1.234,5", "1.234"], ["-0.125", "1234.5", "1234"]),
    (["1,500", "12,250"], None),  # could be thousands
    (["1,500", "1,5e3"], ["1.500", "1.5e3"]),
    (["3,5", "3.5"], None),
    (["3,5", "much"], None),
    (["1,2,3", "3,5"], None),
    (["3", "4"], None),
    (["", ""], None),
]


@pytest.mark.parametrize(("given", "wanted"), COLUMNS, ids=[str(case[0]) for case in COLUMNS])
def test_columns_of_decimal_commas(given: list[str], wanted: list[str] | None) -> None:
    assert with_points(given) == wanted


def written(path: Path, values: Sequence[str], mark: str, head: str | None) -> Path:
    rows = [f"{day}{mark}{value}{mark}{place}" for place, (day, value) in enumerate(zip(DAYS, values, strict=True))]
    path.write_text("\n".join([*([head.replace("|", mark)] if head else []), *rows]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("head", ["ds|y|z", None])
@pytest.mark.parametrize(("name", "mark"), [("a.csv", ";"), ("a.csv", "\t"), ("a.tsv", "\t")])
def test_where_no_comma_parts_the_columns_they_are_read(name: str, mark: str, head: str | None, tmp_path: Path) -> None:
    path = written(tmp_path / name, [f"{place % 5},5" for place in range(30)], mark, head)
    dataset, _, problems = read(path, task="forecast", frame=FrameChoices(horizon=3))
    assert isinstance(dataset, SeriesDataset)
    assert dataset.series[0].values[:3].tolist() == [0.5, 1.5, 2.5]
    assert any("has decimal commas: '0,5' is read as 0.5" in problem.message for problem in problems)


@pytest.mark.parametrize(("mark", "value"), [(",", '"0,5"'), (";", "1,500")])
def test_where_they_could_be_something_else_they_are_refused(mark: str, value: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", ["1.5"] * 9 + [value] * 2 + ["2.5"] * 19, mark, "ds|y|z")
    shown = value.strip('"')
    with pytest.raises(DataError, match=rf"'y' has numbers with commas, as '{shown}' \(lines 11 and 12\)"):
        read(path, frame=FrameChoices(horizon=3, fill="previous"))


def test_amounts_to_learn(tmp_path: Path) -> None:
    rows = [(f"the number {place}", f"{place},25") for place in range(30)]
    path = tmp_path / "a.csv"
    path.write_text("text;score\n" + "".join(f"{text};{score}\n" for text, score in rows), encoding="utf-8")
    dataset = read(path)[0]
    assert isinstance(dataset, RegressionDataset) and dataset.targets is not None and dataset.targets[2] == (2.25,)
    path.write_text("text,score\n" + "".join(f'{text},"{score}"\n' for text, score in rows), encoding="utf-8")
    with pytest.raises(DataError, match=r"holds no numbers.*'0,25'.*Write decimal points"):
        read(path, task="regress", label="score")
