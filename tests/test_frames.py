"""Tables of series: how they are recognised, what is named by its lines, and how holes are filled."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from recurra.data.dates import moments_of
from recurra.data.layouts import FrameChoices
from recurra.data.reading import read
from recurra.data.series import SeriesDataset
from recurra.data.steps import Step, step_of, text_of
from recurra.errors import DataError, UsageError

HOURS = [f"2024-03-01 {hour:02}:00:00" for hour in range(24)] + [f"2024-03-02 {hour:02}:00:00" for hour in range(24)]
DAYS = [f"2024-{month:02}-{day:02}" for month in (1, 2) for day in range(1, 29)]


def written(path: Path, rows: list[str]) -> Path:
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def series_of(source: object, **choices: object) -> tuple[SeriesDataset, list[str]]:
    dataset, guess, problems = read(source, frame=FrameChoices(**choices))  # pyright: ignore[reportArgumentType]
    assert guess.task == "forecast" and isinstance(dataset, SeriesDataset)
    return dataset, [problem.message for problem in problems]


def wide(path: Path, changed: dict[int, str] | None = None, dropped: set[int] | None = None) -> Path:
    rows = [f"{moment},{place % 6},{place}.5" for place, moment in enumerate(HOURS)]
    for place, row in (changed or {}).items():
        rows[place] = row
    return written(path, ["date,a,b", *(row for place, row in enumerate(rows) if place not in (dropped or set()))])


def test_wide(tmp_path: Path) -> None:
    dataset, told = series_of(wide(tmp_path / "a.csv"))
    assert [one.name for one in dataset.series] == ["a", "b"] and not told
    assert dataset.step.words == "1 hour" and dataset.season == 6 and len(dataset.series[0]) == 48
    assert dataset.series[1].values[:2].tolist() == [0.5, 1.5]


def test_long_with_what_stands_beside(tmp_path: Path) -> None:
    rows = ["unique_id,ds,y,promo,shelf,heat"]
    for name, base in (("x", 10), ("z", 90)):
        for month in range(1, 13):
            y = f"{base + month}" if month < 11 else ""
            rows.append(f"{name},2024-{month:02}-01,{y},{month % 2},{base},{month}.5")
    path = written(tmp_path / "long.csv", rows)
    dataset, told = series_of(path, ahead=("promo",), static=("shelf",), horizon=2)
    assert dataset.step.words == "1 month" and dataset.columns == (("heat",), ("promo",), ("shelf",)) and not told
    first = dataset.series[0]
    assert first.values.tolist() == [11.0 + month for month in range(10)]
    assert first.ahead[:, 0].tolist() == [1.0, 0.0] * 6 and len(first.past) == 10 and first.static.tolist() == [10.0]


def test_a_row_a_series(tmp_path: Path) -> None:
    head = ",".join(f"V{place}" for place in range(1, 31))
    rows = [
        f"{name}," + ",".join(str(place % 4 + 5) for place in range(size)) for name, size in (("H1", 29), ("H2", 20))
    ]
    rows[1] += "," * 9
    dataset, _ = series_of(written(tmp_path / "m4.csv", [head, *rows]))
    assert [(one.name, len(one)) for one in dataset.series] == [("H1", 29), ("H2", 20)]
    assert not dataset.step.dated and dataset.season == 4


NAMED = [
    ("missing value", {5: f"{HOURS[5]},,5.5"}, set(), "series 'a' lacks 1 value in its values (line 7)"),
    ("missing moment", {}, {5, 6}, "series 'a' lacks 2 moments, after line 6"),
    ("repeated", {5: f"{HOURS[4]},1,1"}, set(), "series 'a' has moments more than once (line 7)"),
    ("infinite", {5: f"{HOURS[5]},inf,5.5"}, set(), "'a' is infinite (line 7), taken for missing"),
    ("two formats", {5: "01/03/2024 05:00,1,1"}, set(), "is written in two ways"),
    ("uneven", {5: "2024-03-01 05:20:00,1,1"}, set(), "series 'a' is not measured every 1 hour (line 7)"),
]


@pytest.mark.parametrize(("what", "changed", "dropped", "said"), NAMED, ids=[case[0] for case in NAMED])
def test_what_is_wrong_is_named(
    what: str, changed: dict[int, str], dropped: set[int], said: str, tmp_path: Path
) -> None:
    path = wide(tmp_path / "a.csv", changed, dropped)
    _, _, problems = read(path, lenient=True)
    assert any(said in problem.message for problem in problems), [problem.message for problem in problems]
    with pytest.raises(DataError):
        read(path)


def test_a_new_step_is_told_from_holes(tmp_path: Path) -> None:
    path = wide(tmp_path / "a.csv", dropped={place for place in range(30, 48) if place % 2})
    with pytest.raises(DataError, match="measured every 1 hour, and from line 32 on every 2 hours"):
        read(path)


FILLED = [("previous", 3.0), ("linear", 3.5), ("zero", 0.0)]


@pytest.mark.parametrize(("way", "value"), FILLED)
def test_holes_are_filled_as_asked(way: str, value: float, tmp_path: Path) -> None:
    path = wide(tmp_path / "a.csv", {10: f"{HOURS[10]},,10.5"}, {11})
    dataset, told = series_of(path, fill=way)
    # 3 before and 0 after: places 10 and 11 of a season of six
    wanted = {"linear": 2.0}.get(way, value)
    assert dataset.series[0].values[10] == pytest.approx(wanted)
    assert any("filled" in message for message in told) and len(dataset.series[0]) == 48


def test_gaps_become_an_input(tmp_path: Path) -> None:
    dataset, _ = series_of(wide(tmp_path / "a.csv", dropped={10, 11, 12}), fill="gaps")
    assert len(dataset.series[0]) == 45 and dataset.columns[0] == ("gap",)
    assert dataset.series[0].past[10, 0] == 2.0  # log2 of four hours


def test_odd_series_are_named(tmp_path: Path) -> None:
    rows = ["unique_id,ds,y"]
    rows += [f"still,2024-01-{day:02},7" for day in range(1, 20)]
    rows += [f"none,2024-01-{day:02}," for day in range(1, 5)]
    rows += [f"short,2024-01-{day:02},{day}" for day in range(1, 4)]
    rows += [f"back,2024-01-{day:02},{day % 5}" for day in (2, 1, *range(3, 20))]
    dataset, told = series_of(written(tmp_path / "a.csv", rows), horizon=5)
    assert [one.name for one in dataset.series] == ["still", "short", "back"]
    for said in (
        "series 'still' is constant at 7", "series 'none' has no values and is left out",
        "1 series is no longer than the horizon of 5 ('short'", "series 'back' is not in the order of time (line 29)",
    ):  # fmt: skip
        assert any(said in message for message in told), told


ROLES = [
    ({"static": ("y",)}, "'y' cannot be --static.*what is to be forecast.*--target"),
    ({"past": ("ds",)}, "'ds' cannot be --past.*the moments.*--time"),
    ({"ahead": ("unique_id",)}, "'unique_id' cannot be --ahead.*the series.*--series"),
    ({"static": ("unique_id",)}, "'unique_id' cannot be --static.*the series.*--series"),
    ({"series": "shelf", "static": ("shelf",)}, "'shelf' cannot be --static.*the series"),
    ({"past": ("heat",), "ahead": ("heat",)}, "'heat' cannot be --ahead.*it is --past too"),
]


@pytest.mark.parametrize(("choices", "said"), ROLES, ids=[str(case[0]) for case in ROLES])
def test_a_column_has_one_role(choices: dict[str, object], said: str) -> None:
    columns = {"unique_id": ["a"] * 20 + ["b"] * 20, "ds": DAYS[:20] * 2, "y": [float(day % 7) for day in range(40)]}
    columns |= {"shelf": [1.0] * 20 + [2.0] * 20, "heat": [20.0 + day % 3 for day in range(40)]}
    with pytest.raises(UsageError, match=said):
        series_of(columns, **choices)


def test_a_table_with_a_column_a_series_has_no_static_columns(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no --static columns.*--target"):
        series_of(wide(tmp_path / "a.csv"), static=("b",))


def test_frames_of_any_library() -> None:
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    columns = {"ds": pandas.date_range("2024-01-01", periods=40, freq="D"), "y": np.arange(40) % 7}
    for frame in (pandas.DataFrame(columns), polars.from_pandas(pandas.DataFrame(columns))):
        dataset, _ = series_of(frame)
        assert dataset.step.words == "1 day" and dataset.season == 7
        assert dataset.series[0].values.tolist() == [float(day % 7) for day in range(40)]
    assert series_of(polars.from_pandas(pandas.DataFrame(columns)).to_arrow())[0].season == 7


def test_months_end_where_they_end() -> None:
    moments = moments_of(["2024-01-31", "2024-02-29", "2024-03-31"]).moments
    assert moments is not None
    step = step_of([moments], dated=True)
    assert step == Step(1, 0, True)
    assert [text_of(moment, step) for moment in step.after(int(moments[-1]), 2)] == ["2024-04-30", "2024-05-31"]


def test_an_infinity_is_named_where_it_leaves_a_hole(tmp_path: Path) -> None:
    rows = [f"2024-01-{day:02},{'inf' if day == 9 else day}" for day in range(1, 29)]
    path = tmp_path / "endless.csv"
    path.write_text("\n".join(["ds,y", *rows]) + "\n")
    with pytest.raises(DataError, match=r"lacks 1 value.*line 10.*'y' is infinite \(line 10\)"):
        read(path, task="forecast", frame=FrameChoices(horizon=2))


def test_rows_of_pandas_that_name_no_series_are_left_out() -> None:
    pandas = pytest.importorskip("pandas")
    days = pandas.date_range("2024-01-01", periods=30)
    frame = pandas.DataFrame({"unique_id": [None] * 30 + ["b"] * 30, "ds": [*days, *days], "y": [*range(60)]})
    dataset, told = series_of(frame)
    assert [one.name for one in dataset.series] == ["b"] and any("30 rows name no series" in line for line in told)


def test_columns_of_one_name_are_named() -> None:
    pandas, pyarrow = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    frame = pandas.DataFrame([[day, day, day] for day in range(30)], columns=["ds", "y", "y"])
    for one in (frame, pyarrow.table([frame["ds"]] * 3, names=["ds", "y", "y"])):
        with pytest.raises(DataError, match=r"columns of the same name\. Got: 'y'"):
            series_of(one)


def test_a_series_too_far_from_zero_for_single_precision_is_told() -> None:
    """At a hundred million single precision goes in steps of eight."""
    values = 3 * np.sin(np.arange(60) * np.pi / 6)
    for level, told in ((1e4, False), (1e8, True), (-1e9, True)):
        _, said = series_of({"ds": list(range(60)), "y": (level + values).tolist()})
        assert any("single precision" in line and "off its values" in line for line in said) == told, said
    assert not any("single precision" in line for line in series_of({"ds": list(range(60)), "y": [1e9] * 60})[1])


@pytest.mark.parametrize(("form", "meant"), [("%Y%m%d", "2024-01-01"), ("%Y%m", "2024-01")])
def test_dates_written_as_numbers_are_no_series_full_of_holes(form: str, meant: str) -> None:
    days = [datetime(2024 + month // 12, month % 12 + 1, 1) for month in range(30)]
    numbers = [int(day.strftime(form)) for day in days]
    with pytest.raises(DataError, match=f"dates written as numbers.*write {meant}"):
        series_of({"ds": numbers, "y": list(range(30))}, fill="linear")
    assert len(series_of({"ds": list(range(200001, 200011)), "y": list(range(10))}, horizon=2)[0].series[0]) == 10
