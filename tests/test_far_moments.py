"""Moments and numbers far from the others: each is named, none ends in a fault of the program or in days of filling."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.test_following import forecaster, table

import recurra
from recurra.data.dates import moments_of
from recurra.data.layouts import FrameChoices
from recurra.data.reading import read
from recurra.data.steps import Step
from recurra.errors import DataError, StateError, UsageError
from recurra.fitting.following import Follower
from recurra.fitting.forecasting import columns_of, cross_validation
from recurra.models import fingerprint
from recurra.state import save_state

DAYS = [str(date(2024, 1, 1) + timedelta(days=day)) for day in range(60)]


def _moments(values: list[Any]) -> np.ndarray:
    found = moments_of(values)[0]
    assert found is not None
    return found


def said_of(ds: list[Any], choices: FrameChoices, **beside: list[float]) -> list[str]:
    columns = {"ds": ds, "y": [float(place % 7) for place in range(len(ds))], **beside}
    return [problem.message for problem in read(columns, task="forecast", frame=choices)[2]]


@pytest.mark.parametrize("fill", [None, "previous"])
def test_a_hole_that_nobody_can_fill_is_named(fill: str | None) -> None:
    seconds = [f"2024-01-01 00:00:{second:02d}" for second in range(59)]
    for ds in ([*range(59), 10**12], [*seconds, "9999-01-01 00:00:00"]):
        with pytest.raises(DataError, match="after row 59: too many to fill"):
            read({"ds": ds, "y": [1.0, 2.0] * 30}, task="forecast", frame=FrameChoices(fill, 6))


def test_numbers_that_are_no_moments_are_named() -> None:
    assert moments_of([*range(9), 1e300])[1] == [9]
    assert moments_of([1e300] * 9)[0] is None
    exact = [1_700_000_000_000_000_000 + place for place in range(9)]
    found = moments_of(exact)[0]
    assert found is not None and found.tolist() == exact


def test_an_offset_that_leads_out_of_the_calendar_is_named() -> None:
    good = [f"2024-01-{day:02d}T00:00:00+14:00" for day in range(1, 10)]
    assert moments_of([*good, "0001-01-01T00:00:00+14:00"])[1] == [9]
    zone = timezone(timedelta(hours=14))
    dates = [datetime(2024, 1, day, tzinfo=zone) for day in range(1, 10)]
    assert moments_of([*dates, datetime(1, 1, 1, tzinfo=zone)])[1] == [9]


def test_no_step_leads_beyond_the_calendar() -> None:
    last = (datetime(9999, 12, 31) - datetime(1970, 1, 1)) // timedelta(microseconds=1)
    december = last - 30 * 86_400_000_000
    assert Step(1, 0, True).after(december - 30 * 86_400_000_000, 1) == [december]
    for step in (Step(0, 86_400_000_000, True), Step(1, 0, True)):
        with pytest.raises(DataError, match="calendar"):
            step.after(last, 1)


def test_of_two_ways_to_read_a_date_the_one_with_even_steps_is_taken() -> None:
    months = [f"{place % 12 + 1}/1/{2000 + place // 12}" for place in range(40)]
    plain = [f"{2000 + place // 12}-{place % 12 + 1:02d}-01" for place in range(40)]
    assert np.array_equal(_moments(months), _moments(plain))
    days = [f"{day}/1/2024" for day in range(1, 13)]
    assert np.array_equal(_moments(days), _moments([f"2024-01-{day:02d}" for day in range(1, 13)]))


def test_a_static_column_that_changes_is_told() -> None:
    choices = FrameChoices(None, 6, static=("size",))
    said = said_of(DAYS, choices, size=[1.0] * 59 + [2.0])
    assert any("'size' changes" in one for one in said), said
    assert not any("changes" in one for one in said_of(DAYS, choices, size=[1.0] * 60))


def test_a_follower_takes_no_endless_number() -> None:
    follower = Follower(forecaster(beside=False))
    follower.update(table(40, beside=False))
    with pytest.raises(DataError, match="not finite"):
        follower.push([1e300, 1.0])
    assert np.isfinite(follower.forecast()["mean"].to_numpy()).all()


def test_horizons_levels_and_steps_out_of_range_are_refused() -> None:
    task = forecaster(beside=False)
    follower = Follower(task)
    follower.update(table(40, beside=False))
    for horizon in (0, 1.5, 10**8):
        with pytest.raises(UsageError, match="horizon"):
            follower.forecast(horizon=horizon)  # pyright: ignore[reportArgumentType]
    for levels in (80, "80", ("80",)):
        with pytest.raises(UsageError, match=r"[Ll]evel"):
            follower.forecast(levels=levels)  # pyright: ignore[reportArgumentType]
    assert len(follower.forecast(horizon=int(np.int64(3)))) == 6
    assert "lo-80" in columns_of(np.zeros((1, 30)), np.array([80]))  # pyright: ignore[reportArgumentType]
    for step in (0, -1):
        with pytest.raises(UsageError, match="--step"):
            cross_validation(task, table(40, beside=False), windows=3, step=step)


@pytest.mark.parametrize(
    "told",
    [
        {"names": ["a"], "last": [1, 2], "ahead": {"a": []}},
        {"names": ["a", "a"], "last": [1, 2], "ahead": {"a": []}},
        {"names": ["a", "b"], "last": [1, 10**26], "ahead": {"a": [], "b": []}},
        {"names": ["a", "b"], "last": [1, 2], "ahead": {}},
    ],
)
def test_a_state_whose_names_are_not_those_of_its_rows_is_refused(told: dict[str, Any], tmp_path: Path) -> None:
    task = forecaster(beside=False)
    follower = Follower(task)
    follower.update(table(40, beside=False))
    save_state(tmp_path / "bad.state", follower.state, fingerprint(task), {"follower": json.dumps(told)})
    with pytest.raises(StateError, match="no file of a follower"):
        Follower.load(task, tmp_path / "bad.state")


def test_an_amount_that_is_endless_is_no_amount(tmp_path: Path) -> None:
    rows = [np.random.default_rng(place).normal(size=(6, 1)) for place in range(40)]
    amounts = [1e300, *(float(row.sum()) for row in rows[1:])]
    found = recurra.fit(
        (rows, amounts), task="regress", out=tmp_path / "m", epochs=1, hidden=4, baselines=False, quiet=True
    )
    assert np.isfinite(found.metrics["valid"]["mse"])
