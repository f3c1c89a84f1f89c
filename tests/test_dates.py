"""How dates were read stays with the model, and series of weekdays know no weekend."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recurra
from recurra.data.dates import moments_of
from recurra.data.layouts import FrameChoices
from recurra.data.reading import read
from recurra.data.series import SeriesDataset
from recurra.data.series_codec import SERIES_FILE, ForecastCodec
from recurra.data.steps import DAY, Step, datetime_of, step_of
from recurra.errors import DataError, ModelError
from recurra.fitting.following import Follower
from recurra.fitting.options import FitOptions
from recurra.fitting.sets import gather
from test_following import forecaster

FIRST = date(2024, 1, 1)  # a Monday
WEEKDAYS = [day for day in (FIRST + timedelta(days=place) for place in range(140)) if day.weekday() < 5]
QUICK: dict[str, Any] = {"horizon": 4, "hidden": 4, "epochs": 1, "quiet": True, "baselines": False}


def table(days: list[date], form: str = "%Y-%m-%d", **beside: list[Any]) -> dict[str, list[Any]]:
    values = [float((day - FIRST).days % 7 + (day - FIRST).days % 3) for day in days]
    return {"ds": [f"{day:{form}}" for day in days], "y": values, **beside}


def dataset_of(columns: dict[str, list[Any]], **choices: Any) -> SeriesDataset:
    dataset = read(columns, task="forecast", frame=FrameChoices(horizon=4, **choices))[0]
    assert isinstance(dataset, SeriesDataset)
    return dataset


def said_of(columns: dict[str, list[Any]], **choices: Any) -> str:
    problems = read(columns, task="forecast", frame=FrameChoices(horizon=4, **choices), lenient=True)[2]
    return "; ".join(problem.message for problem in problems)


# ---- the order of day and month


@pytest.fixture(scope="module")
def american(tmp_path_factory: pytest.TempPathFactory) -> recurra.Model:
    """A model of days that were written month first."""
    days = [FIRST + timedelta(days=place) for place in range(60)]
    return recurra.fit(table(days, "%m/%d/%Y"), out=tmp_path_factory.mktemp("dates") / "m", **QUICK)


def test_rows_that_could_be_read_in_two_ways_are_read_as_those_before(american: recurra.Model) -> None:
    task = recurra.load(str(american.folder)).task
    for days in ([date(2024, 3, 1), date(2024, 3, 2)], [date(2024, 3, 1)]):
        follower = Follower(task)
        follower.update(table(days, "%m/%d/%Y"))
        assert follower.forecast(horizon=1)["ds"][0].date() == days[-1] + timedelta(days=1)
        following = [days[-1] + timedelta(days=1)]
        follower.update(table(following, "%m/%d/%Y"))  # a row alone goes a short way
        assert follower.forecast(horizon=1)["ds"][0].date() == days[-1] + timedelta(days=2)
    frame = american.forecast(table([date(2024, 3, 1), date(2024, 3, 2)], "%m/%d/%Y %H:%M"))
    assert frame["ds"][0].date() == date(2024, 3, 3)
    # what can be read in one way only may be written otherwise
    assert american.forecast(table([date(2024, 3, 1), date(2024, 3, 2)]))["ds"][0].date() == date(2024, 3, 3)


def test_rows_that_contradict_the_reading_are_named(american: recurra.Model) -> None:
    days = [date(2024, 3, 11) + timedelta(days=place) for place in range(4)]
    for some in (days, days[2:]):
        with pytest.raises(
            DataError, match=r"month/day/year, as in the training.*'13/03/2024' can only be day/month/year"
        ):
            american.forecast(table(some, "%d/%m/%Y"))
    with pytest.raises(DataError, match=r"other steps.*1 month.*1 day.*read as month/day/year"):
        american.forecast(table(days[:2], "%d/%m/%Y"))
    with pytest.raises(
        DataError, match=r"two ways: as '01/03/2024', day/month/year, and as '03/25/2024', month/day/year \(row 21"
    ):
        read(
            {"ds": [*(f"{day:02d}/03/2024" for day in range(1, 21)), "03/25/2024"], "y": [1.0, 2.0, 3.0] * 7},
            task="forecast", frame=FrameChoices(horizon=2),
        )  # fmt: skip


def test_a_model_saved_without_a_reading_loads_and_keeps_its_hash(tmp_path: Path) -> None:
    codec = forecaster(beside=False).codec
    told = json.loads(codec.to_text())
    assert "dates" not in told and "weekdays" not in told["step"]
    for more in ({}, {"dates": "%m/%d/%Y"}):
        (tmp_path / SERIES_FILE).write_text(json.dumps(told | more), encoding="utf-8")
        assert ForecastCodec.load(tmp_path).dates == more.get("dates")
    (tmp_path / SERIES_FILE).write_text(json.dumps(told | {"dates": "%H"}), encoding="utf-8")
    with pytest.raises(ModelError, match="damaged"):
        ForecastCodec.load(tmp_path)


def test_further_files_are_read_as_the_training_file(tmp_path: Path) -> None:
    days = [FIRST + timedelta(days=place) for place in range(67)]
    sets = gather(
        table(days[:60], "%m/%d/%Y"), table(days[60:], "%m/%d/%Y"), None, FitOptions(task="forecast", horizon=4)
    )
    assert isinstance(sets.valid, SeriesDataset) and isinstance(sets.train, SeriesDataset)
    assert sets.valid.series[0].seen == 60 and sets.train.dates == "%m/%d/%Y"


# ---- weekdays


def test_weekdays_are_a_step() -> None:
    moments = moments_of(WEEKDAYS).moments
    assert moments is not None
    step = step_of([moments], dated=True)
    assert step == Step(0, DAY, True, weekdays=True) and (step.words, step.season) == ("1 weekday", 5)
    assert step.places(moments).tolist() == list(range(len(WEEKDAYS)))
    assert step.after(int(moments[0]), len(moments) - 1) == moments[1:].tolist()
    saturday = int(moments[4]) + DAY
    assert step.places(np.array([moments[0], saturday, moments[5]])).tolist() == [0, 4.5, 5]
    assert step_of([moments[:5]], dated=True) == Step(0, DAY, True)  # within a week nobody knows
    every = np.arange(moments[0], moments[0] + 30 * DAY, DAY)
    assert step_of([moments, every], dated=True) == Step(0, DAY, True)
    at_four = [datetime_of(moment) for moment in step.after(int(moments[4]) + 16 * DAY // 24, 2)]
    assert [f"{moment:%a %H}" for moment in at_four] == ["Mon 16", "Tue 16"]
    with pytest.raises(DataError, match="calendar"):
        step.after(int(moments[0]), 3_000_000)


def test_weekends_lack_nothing_and_holidays_do() -> None:
    assert said_of(table(WEEKDAYS)) == ""
    worked = [day for place, day in enumerate(WEEKDAYS) if place not in (20, 33, 34)]
    assert "lacks 3 moments, after rows 20 and 32" in said_of(table(worked))
    filled = dataset_of(table(worked), fill="linear")
    assert (len(filled.series[0]) == len(WEEKDAYS) and filled.season == 5) or filled.season >= 1
    assert [datetime_of(int(moment)).date() for moment in filled.series[0].moments] == WEEKDAYS
    gaps = dataset_of(table(worked), fill="gaps").series[0].past[:, 0]
    assert gaps[20] == 1 and gaps[32] == np.log2(3) and not np.delete(gaps, [20, 32]).any()


def test_other_frequencies_of_weekdays_are_told() -> None:
    weekly = [day for place, day in enumerate(WEEKDAYS) if place < 60 or place % 5 == 0]
    assert "every 1 weekday, and from row 61 on every 5 weekdays" in said_of(table(weekly))
    model = FrameChoices(step=Step(0, DAY, True, weekdays=True)).step
    saturdays = [FIRST + timedelta(days=place) for place in range(14)]
    assert "not measured every 1 weekday (rows 6, 7, 13 and 14)" in said_of(table(saturdays), step=model)
    daily = dataset_of(table(WEEKDAYS[:10]), step=Step(0, DAY, True), fill="previous")
    assert daily.step == Step(0, DAY, True) and len(daily.series[0]) == 12


def test_forecasts_go_on_over_weekdays(tmp_path: Path) -> None:
    promo = [float(place % 5 == 0) for place in range(len(WEEKDAYS))]
    columns = table(WEEKDAYS, promo=promo)
    columns["y"][-4:] = [None] * 4  # what is known ahead stands in rows whose value is empty
    model = recurra.fit(columns, out=tmp_path / "m", ahead="promo", **QUICK)
    model = recurra.load(tmp_path / "m")
    assert model.forecast(columns)["ds"].dt.date().to_list() == WEEKDAYS[-4:]
    follower = model.follow(table(WEEKDAYS[:93], promo=promo[:93]))
    for size in (1, 3):  # Thursday alone, and Friday to Tuesday
        at = follower.forecast(horizon=1)["ds"][0].date()
        first = WEEKDAYS.index(at)
        follower.update(table(WEEKDAYS[first : first + size], promo=promo[first : first + size]))
    assert follower.forecast(horizon=2)["ds"].dt.date().to_list() == WEEKDAYS[97:99]
    follower.push([[1.0, 0.0]])
    follower.save(tmp_path / "s.state")
    again = model.follow(path=tmp_path / "s.state")
    assert again.forecast(horizon=2)["ds"].dt.date().to_list() == WEEKDAYS[98:100]
    with pytest.raises(DataError, match=r"does not go on where it ended.*1 weekday after"):
        again.update(table(WEEKDAYS[99:], promo=promo[99:]))


# ---- ways of writing


@pytest.mark.parametrize(
    "form",
    [
        "%d %b %Y", "%d-%b-%Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y 12:00", "%m/%d/%Y %I:%M %p", "%Y-%m-%d %I:%M:%S %p",
        "%d.%m.%Y %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S.%f", "%Y/%m/%d %H:%M", "%Y年%m月%d日", "%Y-%m-%dT%H:%MZ",
    ],
)  # fmt: skip
def test_a_quarter_of_days_is_read_as_it_is_written(form: str) -> None:
    days = [datetime(2024, 1, 1, 12) + timedelta(days=day) for day in range(91)]
    read = moments_of([day.strftime(form) for day in days])
    assert read.moments is not None and not read.wrong
    assert set(np.diff(read.moments)) == {86_400_000_000}
    first = datetime(1970, 1, 1) + timedelta(microseconds=int(read.moments[0]))
    assert first.date() == days[0].date()


def test_months_and_quarters() -> None:
    months = [datetime(2023 + month // 12, month % 12 + 1, 1) for month in range(24)]
    for form in ("%b %Y", "%B %Y", "%b-%Y", "%Y-%m"):
        assert moments_of([month.strftime(form) for month in months]).moments is not None, form
    read = moments_of(["1990Q1", "1990Q2", "1990Q3", "1990Q4", "1991Q1"])
    assert read.moments is not None and step_of([read.moments], dated=True).words == "3 months"


def test_numbers_that_dashes_part_are_no_dates() -> None:
    assert moments_of([f"{one}-{one + 1}-A" for one in range(9)]).moments is None
