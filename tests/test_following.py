"""Followers: a row that comes alone, by whichever way, leaves the state of reading the whole history, bit for bit."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest
import torch

from recurra.data.reading import read
from recurra.data.series import SeriesDataset
from recurra.data.series_codec import ForecastCodec
from recurra.errors import DataError
from recurra.fitting.following import Follower
from recurra.fitting.options import FitOptions
from recurra.layers import StackConfig
from recurra.models import Forecaster, ForecasterConfig
from recurra.models.stepping import RowStepper
from recurra.state import leaves

FIRST = datetime(2024, 1, 1)
COLUMNS = {"ahead": "promo", "past": "heat", "static": "size"}


def table(rows: int, first: int = 0, names: str = "ab", beside: bool = True) -> dict[str, list[Any]]:
    """Rows of series one after another, with a column of each kind beside them where that is wanted."""
    found: dict[str, list[Any]] = {name: [] for name in ("unique_id", "ds", "y", "promo", "heat", "size")}
    for place, name in enumerate(names):
        for hour in range(first, first + rows):
            row = (name, FIRST + timedelta(hours=hour), 50 * (place + 1) + hour % 12 + 0.25 * (hour % 5))
            more = (float(hour % 7 == 0), 20 + hour % 3, 4.5 + place)
            for column, value in zip(found, (*row, *more), strict=True):
                found[column].append(value)
    return found if beside else {column: found[column] for column in ("unique_id", "ds", "y")}


def joined(tables: list[dict[str, list[Any]]]) -> dict[str, list[Any]]:
    return {name: [value for one in tables for value in one[name]] for name in tables[0]}


def forecaster(beside: bool = True, cell: str = "gru", layers: int = 1, **options: Any) -> Forecaster:
    torch.manual_seed(3)
    names = COLUMNS if beside else {}
    choices = FitOptions.from_user(task="forecast", horizon=6, season=12, **names).frame()
    dataset = read(table(60, beside=beside), task="forecast", frame=choices)[0]
    assert isinstance(dataset, SeriesDataset)
    codec = ForecastCodec.learn(dataset, 12)
    settings = {"segment": 4, "chunk": 3, "lags": 12, "season": 12, "embedding": 3, "horizon": 6, "block": 6, **options}
    model = Forecaster(
        ForecasterConfig(
            stack=StackConfig(cell=cell, hidden=7, layers=layers), series=2, columns=len(codec.centres),
            ahead=codec.ahead, **settings,
        ),
        codec,
    )  # fmt: skip
    model.reader.scales.copy_(torch.tensor(codec.scales))
    return model.eval()


FORMS: list[tuple[dict[str, Any], str]] = [
    ({"beside": False}, "ab"), ({}, "ab"), ({}, "xa"), ({"beside": False, "segment": 1}, "xy"),
    ({"cell": "lstm", "layers": 2}, "ab"), ({"cell": "minlstm", "logarithm": True}, "ab"),
    ({"smoothing": True, "beside": False}, "ab"), ({"lookback": 24}, "ab"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "names"), FORMS, ids=str)
def test_a_row_by_any_way_is_the_whole_history(options: dict[str, Any], names: str) -> None:
    model, beside = forecaster(**options), options.get("beside", True)
    whole, follower = Follower(model), Follower(model)
    whole.update(table(46, names=names, beside=beside))
    follower.update(table(38, names=names, beside=beside))
    for hour in range(38, 46):
        row = table(1, hour, names, beside)
        if hour % 3 == 0:
            follower.update(row)
        elif hour % 3 == 1:
            follower.update(polars.DataFrame(row)[::-1])
        elif beside:
            follower.push(list(zip(row["y"], row["heat"], row["promo"], row["size"], strict=True)))
        else:
            follower.push(row["y"])
    assert follower.names == whole.names == list(names)
    for name, leaf in leaves(whole.state).items():
        assert torch.equal(leaf, leaves(follower.state)[name]), name
    assert follower.forecast().equals(whole.forecast())


def test_one_row_goes_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    follower = Follower(forecaster())
    follower.update(table(30))
    monkeypatch.setattr(Follower, "_read", None)
    for hour, kind in ((30, dict), (31, polars.DataFrame)):
        follower.update(kind(table(1, hour)))
    assert isinstance(follower._stepper, RowStepper)
    kept, was = follower.state, {name: leaf.clone() for name, leaf in leaves(follower.state).items()}
    follower.update(table(1, 32))
    for name, leaf in leaves(kept).items():
        assert torch.equal(leaf, was[name]), name  # a state that was handed out is never written


WRONG: list[tuple[str, Any, str]] = [
    ("ds", FIRST, "does not go on where it ended"),
    ("y", None, "is left out"),
    ("heat", None, "lacks 1 value in 'heat'"),
    ("heat", float("inf"), "lacks 1 value in 'heat'"),
    ("ds", None, "'ds' is empty"),
]


@pytest.mark.parametrize(("column", "value", "said"), WRONG, ids=str)
def test_a_row_that_is_wrong_is_named(column: str, value: Any, said: str) -> None:
    follower = Follower(forecaster())
    follower.update(table(30))
    before = leaves(follower.state)
    row = table(1, 30)
    row[column][0] = value
    if column == "y":
        follower.update(row)  # a series without a value is left out, the other one goes on
        assert follower.state.read.tolist() == [30, 31]
        return
    with pytest.raises(DataError, match=said):
        follower.update(row)
    assert all(torch.equal(leaf, leaves(follower.state)[name]) for name, leaf in before.items())


def test_what_is_pushed_must_fit() -> None:
    follower = Follower(forecaster())
    follower.update(table(30))
    for values in ([1.0, 2.0], [[1.0, 20.0, 0.0, 4.5]], [[1.0, "x", 0.0, 4.5]] * 2, [[1.0, 20.0], [2.0, 20.0]]):
        with pytest.raises(DataError, match="each a value and then heat, promo, size"):
            follower.push(values)
    with pytest.raises(DataError, match="not finite"):
        follower.push([[1.0, 20.0, 0.0, np.nan]] * 2)


def test_what_is_known_ahead_stays_known() -> None:
    """Promotions given ahead of time still count after rows have come, until their own rows come."""
    model = forecaster()
    known = dict(model.named_parameters())["known"].data
    known.fill_(0.3)
    ahead = table(6, 30)
    ahead["y"] = [None] * 12
    ahead["heat"] = [None] * 12
    given = {name: values + ahead[name] for name, values in table(30).items()}
    follower, whole = Follower(model), Follower(model)
    follower.update({name: values[:] for name, values in given.items()})
    for hour in (30, 31):
        follower.update(table(1, hour))
    rest = {name: [values[place] for place in (*range(2, 6), *range(8, 12))] for name, values in ahead.items()}
    whole.update({name: values + rest[name] for name, values in table(32).items()})
    found = follower.forecast(horizon=4)
    assert found.equals(whole.forecast(horizon=4))
    blind = Follower(model)
    blind.update(table(32))
    assert not found.equals(blind.forecast(horizon=4))


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("way", ["previous", "linear", "zero"])
def test_what_is_missing_between_updates_is_filled(way: str, beside: bool, tmp_path: Path) -> None:
    """Rows without a value, or no rows at all, and then one that comes: the state of all of them at once."""
    model = forecaster(beside)
    hours = [table(1, hour, beside=beside) for hour in range(30, 34)]
    for hour in hours[:2]:
        hour["y"] = [None, None]
    whole, waiting, skipping = (Follower(model) for _ in range(3))
    parts = [table(30, beside=beside), *hours]
    whole.update(joined(parts), fill=way)
    waiting.update(table(30, beside=beside))
    read = waiting.state.read.tolist()
    waiting.update(hours[0], fill=way)
    assert waiting.state.read.tolist() == read and "has no new value" in waiting.notes[0]
    waiting.save(tmp_path / "a.state")
    waiting = Follower.load(model, tmp_path / "a.state")
    if beside:  # what stands beside the values came with these rows, so they are given again
        waiting.update(joined(hours[:3]), fill=way)
    else:
        waiting.update(hours[2], fill=way)
        skipping.update(table(29, beside=False))
        skipping.update(table(1, 29, beside=False))
        with pytest.raises(DataError, match="or say what stands there with fill"):
            skipping.update(hours[2])
        skipping.update(hours[2], fill=way)
        skipping.update(hours[3])
    waiting.update(hours[3])
    for follower in (waiting,) if beside else (waiting, skipping):
        assert all(torch.equal(leaf, leaves(follower.state)[name]) for name, leaf in leaves(whole.state).items())
        assert follower.forecast().equals(whole.forecast())


def test_a_forecast_is_of_the_library_of_the_rows() -> None:
    pandas = pytest.importorskip("pandas")
    follower = Follower(forecaster(beside=False))
    follower.update(pandas.DataFrame(table(30, beside=False)))
    follower.push([60.0, 110.0])
    assert isinstance(follower.forecast(), pandas.DataFrame)
    assert isinstance(follower.forecast(like=polars.DataFrame()), polars.DataFrame)


def test_an_update_of_an_infinity_says_so() -> None:
    follower = Follower(forecaster(beside=False))
    follower.update(table(30, beside=False))
    row = table(1, 30, beside=False)
    row["y"] = [float("inf")] * 2
    with pytest.raises(DataError, match="no series has any values; 'y' is infinite"):
        follower.update(row)
