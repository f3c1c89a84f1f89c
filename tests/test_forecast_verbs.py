"""Forecasts in a person's hands: fit, forecast, follow, cross-validate, and the same from the command line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest

import recurra
from recurra.data.layouts import FrameChoices
from recurra.data.reading import read
from recurra.data.series import SeriesDataset
from recurra.errors import DataError, StateError, UsageError
from recurra.fitting.kinds.forecast import Forecast
from recurra.fitting.options import FitOptions
from recurra.inspection.verdict import judge

FIRST = datetime(2024, 1, 1)


def frame(rows: int = 200, first: int = 0, ahead: int = 0) -> polars.DataFrame:
    """Two series of hours with a season of 12, and a column that is known ahead."""
    parts = []
    for name, base in (("a", 10.0), ("b", 100.0)):
        at = np.arange(first, first + rows + ahead)
        noise = np.random.default_rng(5).standard_normal(5000)[at]
        promo = (at % 17 == 0).astype(float)
        values = base * (1 + 0.3 * np.sin(2 * np.pi * at / 12)) + base * 0.2 * promo + 0.02 * base * noise
        parts.append(
            {
                "unique_id": [name] * len(at),
                "ds": [FIRST + timedelta(hours=int(hour)) for hour in at],
                "y": [float(value) if place < rows else None for place, value in enumerate(values)],
                "promo": promo.tolist(),
            }
        )
    return polars.DataFrame({key: parts[0][key] + parts[1][key] for key in parts[0]})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> recurra.Model:
    folder = tmp_path_factory.mktemp("fitted") / "m"
    return recurra.fit(
        frame(), out=folder, horizon=6, hidden=8, epochs=2, ahead="promo", quiet=True, baselines=False, fresh=True
    )


def test_what_fit_says(model: recurra.Model) -> None:
    about = model.task.summary()
    assert (model.kind, about["season"], about["step"], about["series"]) == ("forecast", 24, "1 hour", 2)
    assert {"mse", "mae", "smape", "mase", "owa", "coverage80", "loss"} <= set(model.metrics["valid"])
    assert len(model.record["forecasts"]["per_step"]["mse"]) == 6
    assert any("corrected on this very set" in note for note in model.record["notes"])
    page = Path(str(model.folder), "report.html").read_text(encoding="utf-8")
    row = {"name": "last value again", "split": "valid", "metrics": {"mse": 9.0}}
    # series have values, and no tokens
    assert re.search(r"on validation data \(\d+ values\)", judge({**model.record, "baselines": [row]}).sentence)
    assert ">now</text>" in page and re.search(r"2 series, \d+ values", page)
    again = recurra.load(str(model.folder))
    assert again.fingerprint == model.fingerprint == model.record["fingerprint"]


def test_frames_in_frames_out(model: recurra.Model) -> None:
    pandas, pyarrow = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    given = frame(ahead=6)
    found = model.forecast(given, levels=(80,))
    assert isinstance(found, polars.DataFrame) and found.columns == ["unique_id", "ds", "mean", "lo-80", "hi-80"]
    assert found["ds"][0] == FIRST + timedelta(hours=200) and len(found) == 12
    assert (found["lo-80"] <= found["hi-80"]).all()
    for kind, other in ((pandas.DataFrame, given.to_pandas()), (pyarrow.Table, given.to_arrow())):
        answer = model.forecast(other, levels=(80,))
        assert isinstance(answer, kind)
        mean = answer["mean"].to_list() if kind is pandas.DataFrame else answer["mean"].to_pylist()
        assert mean == found["mean"].to_list()


def test_what_is_known_ahead_changes_the_forecast(model: recurra.Model) -> None:
    with_promo = model.forecast(frame(ahead=6))
    known = dict(model.task.named_parameters())["known"].data
    known.fill_(0.5)
    changed = frame(ahead=6).with_columns(promo=polars.when(polars.col("y").is_null()).then(1.0).otherwise("promo"))
    assert model.forecast(changed)["mean"].to_list() != model.forecast(frame(ahead=6))["mean"].to_list()
    known.zero_()
    assert len(with_promo) == 12


def test_updates_equal_the_whole_history(model: recurra.Model, tmp_path: Path) -> None:
    whole = model.forecast(frame(203))
    follower = model.follow(frame(150))
    follower.update(frame(50, first=150))
    follower.save(tmp_path / "f.state")
    follower = model.follow(path=tmp_path / "f.state")
    for hour in range(200, 203):
        follower.update(frame(1, first=hour))
    assert follower.forecast().equals(whole)
    with pytest.raises(DataError, match="does not go on where it ended"):
        follower.update(frame(1, first=210))
    other = recurra.load(str(model.folder))
    other.task.share.fill_(0.5)  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]
    with pytest.raises(StateError):
        other.follow(path=tmp_path / "f.state")


def test_a_series_never_seen(model: recurra.Model) -> None:
    new = (
        frame(60)
        .filter(polars.col("unique_id") == "a")
        .with_columns(unique_id=polars.lit("z"), y=polars.col("y") * 1000)
    )
    found = model.forecast(new)
    assert found["unique_id"].to_list() == ["z"] * 6
    assert 1_000 < found["mean"].mean() < 30_000  # pyright: ignore[reportOperatorIssue]


def test_cross_validation_is_what_forecasts_would_have_been(model: recurra.Model) -> None:
    found = model.cross_validation(frame(), windows=3, step=4)
    assert len(found) == 2 * 3 * 6 and found["cutoff"].n_unique() == 3
    cut = found["cutoff"].max()
    last = found.filter(polars.col("cutoff") == cut)
    assert cut == FIRST + timedelta(hours=193)
    known = frame().with_columns(y=polars.when(polars.col("ds") <= cut).then("y").otherwise(None))
    assert last["mean"].to_list() == pytest.approx(model.forecast(known)["mean"].to_list(), rel=1e-5)
    metrics = model.evaluate(frame(), windows=3, step=4)
    apart = (found["y"] - found["mean"]).abs() / (found["y"].abs() + found["mean"].abs())
    assert metrics["smape"] == pytest.approx(200 * apart.mean(), rel=1e-4)  # pyright: ignore[reportOperatorIssue]


def called(*words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "recurra", *words], input=given, capture_output=True, text=True)


def test_from_the_command_line(model: recurra.Model, tmp_path: Path) -> None:
    data, out, where = tmp_path / "d.csv", tmp_path / "out.parquet", str(model.folder)
    frame(ahead=6).write_csv(data)
    done = called("predict", where, str(data), "--levels", "90", "--out", str(out))
    assert done.returncode == 0, done.stderr
    mean = model.forecast(frame(ahead=6))["mean"].to_list()
    assert polars.read_parquet(out)["mean"].to_list() == pytest.approx(mean, rel=1e-4)
    done = called("predict", where, "-", given=data.read_text())
    assert (
        done.stdout.splitlines()[0] == "unique_id,ds,mean,lo-80,hi-80,lo-95,hi-95"
        and len(done.stdout.splitlines()) == 13
    )
    done = called("evaluate", where, str(data), "--windows", "2", "--json")
    told: dict[str, Any] = json.loads(done.stdout)
    assert {one["name"] for one in told["baselines"]} == {"last value again", "last season again"}
    rows = "".join(json.dumps({"y": 10.0 + hour, "unique_id": "a", "promo": 0}) + "\n" for hour in range(3))
    done = called("stream", where, "--json", given=rows + "nothing\n")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [len(line["mean"]) for line in lines[:3]] == [6] * 3 and "error" in lines[3] and done.returncode == 3


def test_loading_loads_no_compiler(model: recurra.Model) -> None:
    """torch's compiler takes longer to load than all that a prediction does."""
    said = (
        "import sys, recurra; recurra.load(sys.argv[1]); print('torch._dynamo' in sys.modules, 'sympy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", said, str(model.folder)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_a_test_set_goes_on_where_the_training_data_end(tmp_path: Path) -> None:
    """As in the M4 competition: a row a series, and of each just as many values as are to be forecast."""
    from recurra.data.stretches import origins_of
    from recurra.fitting.options import FitOptions
    from recurra.fitting.sets import gather

    for name, first, size in (("train", 0, 60), ("test", 60, 6)):
        head = ",".join(f'"V{place}"' for place in range(1, size + 2))
        rows = [f'"H{row}",' + ",".join(str(100 * row + (first + at) % 12) for at in range(size)) for row in (1, 2)]
        (tmp_path / f"{name}.csv").write_text("\n".join([head, *rows]) + "\n")
    options = FitOptions.from_user(task="forecast", horizon=6)
    sets = gather(tmp_path / "train.csv", None, tmp_path / "test.csv", options)
    test, valid = sets.test, sets.valid
    assert isinstance(test, SeriesDataset) and isinstance(valid, SeriesDataset)
    assert [(len(one), one.seen) for one in test.series] == [(66, 60)] * 2 and [one.seen for one in valid.series] == [
        54
    ] * 2
    assert origins_of(test.series[0], test, 6).tolist() == [59]
    assert test.series[0].values[59:62].tolist() == [111.0, 100.0, 101.0]


def test_choices_that_make_no_sense(model: recurra.Model, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--horizon is for --task forecast"):
        recurra.fit([("a text", "x"), ("b text", "y")] * 9, horizon=3, task="classify", out=tmp_path / "x", quiet=True)
    with pytest.raises(UsageError):
        model.forecast(frame(), levels=(100,))
    with pytest.raises(DataError, match="has no column 'promo'"):
        recurra.fit(frame(), out=tmp_path / "y", valid=frame().drop("promo"), horizon=6, ahead="promo", quiet=True)


def test_check_tells_what_fit_would_do() -> None:
    found = recurra.check(frame(), horizon=6, quiet=True)
    assert found.ok and found.plan["kind"] == "forecast" and found.sets["train"].size["rows"] == 2
    broken = frame().with_columns(y=polars.when(polars.col("ds") == FIRST).then(None).otherwise("y"))
    gone = frame().filter(polars.col("ds") != FIRST + timedelta(hours=7))
    assert recurra.check(broken, quiet=True).ok
    found = recurra.check(gone, quiet=True)
    assert not found.ok and "lacks 1 moment" in str(found.error) and "--fill" in str(found.error)
    assert recurra.check(gone, fill="linear", quiet=True).ok


def test_forecasts_are_not_learnt_by_heart_however_many_the_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recurra.fitting.kinds.forecast.USUAL_FORECASTS", 8_000)
    series, _, _ = read(frame(400), task="forecast", frame=FrameChoices(horizon=6))
    assert isinstance(series, SeriesDataset)
    assert isinstance(series, SeriesDataset)
    for lookback in (12, None):
        recipe = Forecast().build(series, FitOptions(hidden=8, minutes=60.0, lookback=lookback))[1]
        assert (recipe.minutes, recipe.epochs) == (60.0, 10)


@pytest.mark.parametrize(("minutes", "passes"), [(60.0, 12), (None, 4)])
def test_many_series_are_gone_over_more_often_where_there_is_time(
    monkeypatch: pytest.MonkeyPatch, minutes: float | None, passes: int
) -> None:
    monkeypatch.setattr("recurra.fitting.kinds.forecast.USUAL_FORECASTS", 1)
    monkeypatch.setattr("recurra.fitting.kinds.forecast.MANY", 2)
    series, _, _ = read(frame(400), task="forecast", frame=FrameChoices(horizon=6))
    assert isinstance(series, SeriesDataset)
    assert Forecast().build(series, FitOptions(hidden=8, minutes=minutes))[1].epochs == passes
