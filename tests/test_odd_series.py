"""Series as people have them, from the command line: each is forecast, told of, or refused with the way to mend it."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest

import recurra
from recurra.cli.main import main

HOURS = [str(datetime(2024, 1, 1) + timedelta(hours=hour)) for hour in range(300)]
FIT = ("--horizon", "6", "--hidden", "4", "--epochs", "1", "--no-baselines", "--fresh")


def value(hour: int) -> float:
    return 10 + 3 * math.sin(hour * math.pi / 6) + 0.1 * (hour * 7 % 5)


def rows(count: int = 90) -> list[str]:
    return [f"{HOURS[hour]},{value(hour):.3f}" for hour in range(count)]


def written(path: Path, body: Sequence[str], head: str = "ds,y") -> str:
    path.write_text("\n".join([head, *body]) + "\n", encoding="utf-8")
    return str(path)


def changed(at: int, row: str) -> list[str]:
    return [*rows()[:at], row, *rows()[at + 1 :]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """A command as a person types it, in this process: its exit code, what it says and what it writes."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str, given: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["recurra", *words])
        monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(given.encode())))
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return int(ended.value.code or 0), said.err, said.out

    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model of two series with the columns unique_id, ds, y."""
    place = tmp_path_factory.mktemp("odd")
    body = [f"{name},{row}" for name in "ab" for row in rows()]
    data = written(place / "two.csv", body, "unique_id,ds,y")
    recurra.fit(data, out=place / "m", horizon=6, hidden=4, epochs=1, quiet=True, baselines=False)
    return str(place / "m")


REFUSED = [
    ("infinite", changed(20, f"{HOURS[20]},inf"), r"lacks 1 value in its values (line 22)", "--fill"),
    ("repeated", [*rows(), rows()[20]], "moments more than once (line 92)", "remove all but one"),
    ("two formats", changed(20, "01/01/2024 20:00,10"), "written in two ways", "write all moments alike"),
    ("another frequency", [*rows(60), *(f"{HOURS[60 + 2 * at]},10" for at in range(20))], "every 2 hours", "--fill gaps"),
    ("nothing", [f"{hour}," for hour in HOURS[:90]], "no series has any values", ""),
    ("too short", rows(5), "no longer than the horizon of 6", "a smaller --horizon"),
    ("a header", [], "has a header and no rows", "rows below it"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "body", "said", "mend"), REFUSED, ids=[case[0] for case in REFUSED])
def test_what_cannot_be_learnt_from(what: str, body: list[str], said: str, mend: str, run, tmp_path: Path) -> None:
    code, told, _ = run("fit", written(tmp_path / "d.csv", body), "--out", "m", "--task", "forecast", *FIT)
    assert code == 3 and said in told and mend in told, told
    assert not (tmp_path / "m").exists()


def test_what_can_be_learnt_from_is_told(run, tmp_path: Path) -> None:
    """A constant series, one that is too short, one without values, rows out of order: one fit, a sentence each."""
    mixed = [f"a,{row}" for row in reversed(rows())] + [f"still,{hour},7" for hour in HOURS[:90]]
    mixed += [f"none,{hour}," for hour in HOURS[:90]] + [f"short,{row}" for row in rows(4)]
    data = written(tmp_path / "d.csv", mixed, "unique_id,ds,y")
    code, told, _ = run("fit", data, "--out", "m", *FIT)
    assert code == 0, told
    for said in (
        "series 'a' is not in the order of time", "series 'still' is constant at 7", "series 'none' has no values",
        "1 series is no longer than the horizon of 6 ('short'", "which is little to tell intervals from",
    ):  # fmt: skip
        assert said in told, told
    code, told, table = run("predict", "m", data)
    lines = [line.split(",") for line in table.splitlines()[1:]]
    assert code == 0 and "series 'none' has no values" in told and len(lines) == 18
    assert all(abs(float(line[2]) - 7) < 0.01 for line in lines if line[0] == "still")
    assert all(math.isfinite(float(number)) for line in lines for number in line[2:])


def test_columns_at_prediction(folder: str, run, tmp_path: Path) -> None:
    body = [f"a,{row}" for row in rows()]
    code, told, _ = run("predict", folder, written(tmp_path / "d.csv", body, "unique_id,ds,sales"))
    assert code == 3 and "has no column 'y'" in told and "sales" in told
    body = [f"new,{row}" for row in rows(30)]
    code, told, table = run("predict", folder, written(tmp_path / "d.csv", body, "unique_id,ds,y"))
    assert code == 0 and "1 series is new to the model ('new')" in told and table.count("new,") == 6
    holed = [row if at != 9 else row.rsplit(",", 1)[0] + "," for at, row in enumerate(body)]
    data = written(tmp_path / "h.csv", holed, "unique_id,ds,y")
    code, told, _ = run("predict", folder, data)
    assert code == 3 and "lacks 1 value" in told and "--fill" in told
    code, told, table = run("predict", folder, data, "--fill", "linear")
    assert code == 0 and "filled (linear)" in told and table.count("new,") == 6
    code, told, _ = run("evaluate", folder, data, "--label", "y")
    assert code == 2 and "no columns to choose" in told


def test_rolling_forecasts_of_what_training_has_not_seen(folder: str, run, tmp_path: Path) -> None:
    body = [f"{name},{row}" for name in ("new", "b") for row in rows(60)]
    data = written(tmp_path / "d.csv", body, "unique_id,ds,y")
    code, told, table = run("evaluate", folder, data, "--windows", "3", "--step", "2", "--out", "cv.csv")
    assert code == 0 and "1 series is new" in told and "last season again" in table
    lines = (tmp_path / "cv.csv").read_text().splitlines()
    assert lines[0].startswith("unique_id,ds,cutoff,y,mean,lo-80") and len(lines) == 1 + 2 * 3 * 6


BESIDE = [("--lookback", "24"), ("--accumulate", "2"), ("--fill", "gaps")]


@pytest.mark.parametrize("options", BESIDE, ids=" ".join)
def test_columns_of_each_kind(options: tuple[str, str], run, tmp_path: Path) -> None:
    """Known ahead, past and static columns with a look-back, with batches put together, and with gaps as an input."""
    body = [f"{name},{row},{at % 7 == 0:d},{20 + at % 3},{size}" for name, size in (("a", 1), ("b", 5))
            for at, row in enumerate(rows())]  # fmt: skip
    if options[1] == "gaps":
        body = [row for at, row in enumerate(body) if at % 90 not in (20, 21)]
    data = written(tmp_path / "d.csv", body, "unique_id,ds,y,promo,heat,size")
    code, told, _ = run("fit", data, "--out", "m", "--ahead", "promo", "--static", "size", *FIT, *options)
    assert code == 0, told
    code, told, table = run("predict", "m", data)
    assert code == 0 and len(table.splitlines()) == 13, told
    less = written(tmp_path / "l.csv", [row.rsplit(",", 2)[0] for row in body], "unique_id,ds,y,promo")
    code, told, _ = run("predict", "m", less)
    assert code == 3 and "has no column 'heat'" in told
