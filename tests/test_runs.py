"""The listing of runs: what is found and what is not, what each state is told by, the order, and what differs."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import recurra
from bad_input_cases import USAGE, cut, run
from recurra.errors import EnvironmentFailure, UsageError
from recurra.files import is_held, sole_writer
from recurra.fitting.runs import differing


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three finished runs: a language model, and two classifiers that differ in size and rate."""
    folder = tmp_path_factory.mktemp("fitted")
    rows = "".join(f"a film of {i} acts\t{'good' if i % 2 else 'bad'}\n" for i in range(40))
    (folder / "rows.tsv").write_text("text\tlabel\n" + rows)
    (folder / "text.txt").write_text("the cat sat on the mat.\n" * 40)
    common = {"epochs": 2, "baselines": False, "quiet": True}
    recurra.fit(folder / "text.txt", hidden=8, out=folder / "language", **common)
    recurra.fit(folder / "rows.tsv", hidden=8, out=folder / "small", test=folder / "rows.tsv", **common)
    recurra.fit(folder / "rows.tsv", hidden=9, rate=0.02, out=folder / "deep" / "large", **common)
    return folder


@pytest.fixture
def place(fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder of this test's own with these runs."""
    folder = tmp_path / "place"
    shutil.copytree(fitted, folder)
    monkeypatch.chdir(folder)
    return folder


def by_name(folder: str | Path = ".") -> dict[str, dict[str, Any]]:
    return {run["name"]: run for run in recurra.runs(folder)}


def unfinished(name: str) -> list[dict[str, Any]]:
    """Make a finished run one that was stopped; the lines of its metrics."""
    Path(name, "record.json").unlink()
    Path(name, "training").mkdir()
    return [json.loads(line) for line in Path(name, "metrics.jsonl").read_text().splitlines()]


def test_a_finished_run(place: Path) -> None:
    record = json.loads(Path("small/record.json").read_text())
    small = by_name()["small"]
    assert small == {
        "name": "small", "path": "small", "state": "finished", "reason": None, "kind": "classify", "cell": "gru",
        "layers": 1, "hidden": 8, "parameters": record["model"]["parameters"], "data": "rows.tsv",
        "step": record["history"][-1]["step"], "epoch": 2.0, "seconds": record["seconds"], "date": record["date"],
        "metric": "accuracy", "valid": record["metrics"]["valid"]["accuracy"],
        "test": record["metrics"]["test"]["accuracy"], "metrics": record["metrics"], "arguments": small["arguments"],
    }  # fmt: skip
    assert {key: small["arguments"][key] for key in ("rate", "epochs", "seed", "hidden", "classes", "summary")} == {
        "rate": record["recipe"]["rate"], "epochs": 2, "seed": 0, "hidden": 8, "classes": 2, "summary": "last",
    }  # fmt: skip
    language = by_name()["language"]
    assert (language["metric"], language["test"]) == ("loss", None)
    assert language["valid"] == recurra.load("language").metrics["valid"]["loss"]


@pytest.mark.parametrize("name", ["language", "small"])
def test_a_stopped_run_is_told_by_its_metrics(place: Path, name: str) -> None:
    parameters = by_name()[name]["parameters"]
    lines = unfinished(name)
    stopped = by_name()[name]
    assert (stopped["state"], stopped["parameters"]) == ("stopped", parameters)
    assert (stopped["step"], stopped["seconds"]) == (lines[-1]["step"], lines[-1]["seconds"])
    values = [line["valid"][stopped["metric"]] for line in lines if line.get("valid")]
    assert stopped["valid"] == (min(values) if name == "language" else max(values))
    assert (stopped["data"], stopped["test"]) == (None, None)
    assert stopped["arguments"]["hidden"] == 8 and "rate" not in stopped["arguments"]
    assert stopped["date"].endswith("+00:00")
    assert f"stopped at step {lines[-1]['step']}" in run("runs").out


def test_lines_that_were_cut_are_left_out(place: Path) -> None:
    lines = unfinished("small")
    with open("small/metrics.jsonl", "a") as file:
        file.write('[1]\n{"step": 99, "valid": {"accuracy": true}, "seconds": "x"}\n{"step": 100, "va')
    stopped = by_name()["small"]
    assert (stopped["step"], stopped["seconds"]) == (99, None)
    assert stopped["valid"] == max(line["valid"]["accuracy"] for line in lines if line.get("valid"))


def test_a_killed_run_and_a_model_saved_by_itself(place: Path) -> None:
    Path("small/record.json").unlink()
    assert by_name()["small"]["state"] == "stopped"
    Path("small/metrics.jsonl").unlink()
    assert by_name()["small"]["state"] == "finished"
    recurra.load("language").save("copy")
    assert by_name()["copy"]["valid"] == by_name()["language"]["valid"]


def test_a_run_under_way_holds_its_folder(place: Path) -> None:
    unfinished("small")
    with sole_writer(Path("small")), sole_writer(Path("deep/new")):
        found = by_name()
        assert found["small"]["state"] == "running"
        assert (found["deep/new"]["state"], found["deep/new"]["kind"]) == ("running", None)
        assert "running" in run("runs").out
    assert by_name()["small"]["state"] == "stopped"
    # what a crash has left holds nothing
    Path("deep/.new.lock").touch()
    Path(".small.lock").touch()
    assert by_name()["small"]["state"] == "stopped" and "deep/new" not in by_name()


def test_the_question_holds_nothing(tmp_path: Path) -> None:
    target = tmp_path / "run"
    assert not is_held(target)
    assert list(tmp_path.iterdir()) == []
    with sole_writer(target):
        assert is_held(target)
        with pytest.raises(UsageError, match="Another run"), sole_writer(target):
            pass
    (tmp_path / ".run.lock").touch()
    assert not is_held(target)
    with sole_writer(target):
        assert is_held(target)


DAMAGE: list[tuple[str, Callable[[], object], str]] = [
    ("config cut", cut("small/config.json", 0.5), "config.json is damaged"),
    ("config a list", lambda: Path("small/config.json").write_text("[]"), "config.json is damaged. Got: list"),
    ("config without end", lambda: Path("small/config.json").write_text("[" * 100_000), "config.json is damaged"),
    ("no config", lambda: Path("small/config.json").unlink(), "config.json is missing"),
    ("another kind", lambda: Path("small/config.json").write_text('{"kind": ["x"]}'), "no configuration"),
    ("weights cut", cut("small/weights.safetensors", 0.9), "weights.safetensors is damaged"),
    ("no weights", lambda: Path("small/weights.safetensors").unlink(), "weights.safetensors is missing"),
    ("record cut", cut("small/record.json", 0.9), "record.json is damaged"),
    ("record a number", lambda: Path("small/record.json").write_text("5"), "record.json is damaged"),
]


@pytest.mark.parametrize(("make", "reason"), [case[1:] for case in DAMAGE], ids=[case[0] for case in DAMAGE])
def test_a_damaged_run_is_named_and_stops_nothing(place: Path, make: Callable[[], object], reason: str) -> None:
    make()
    found = recurra.runs(".")
    assert [each["name"] for each in found if each["state"] == "damaged"] == ["small"]
    assert found[-1]["name"] == "small" and reason in found[-1]["reason"]
    assert len(found) == 3
    ending = run("runs")
    assert ending.code == 0
    assert reason in ending.out and "language" in ending.out
    assert json.loads(run("runs", "--json").out.splitlines()[-1])["state"] == "damaged"


def test_a_record_of_nonsense_is_only_talk(place: Path) -> None:
    huge = "9" * 400
    Path("small/record.json").write_text(
        f'{{"metrics": {{"valid": 5, "test": {{"accuracy": {huge}}}}}, "history": [3], "data": {{"name": 5}}, '
        f'"seconds": "x", "date": 7}}'
    )
    small = by_name()["small"]
    assert small["state"] == "finished"
    assert {small[name] for name in ("valid", "test", "step", "seconds", "date", "data")} == {None}
    assert run("runs").code == run("runs", "--json").code == 0


def test_where_runs_are_looked_for(place: Path) -> None:
    for name in ("deep/er/third", "deep/er/est/fourth", ".hidden/run", "small/inside"):
        shutil.copytree("language", name)
    Path("foreign").mkdir()
    shutil.copy("language/config.json", "foreign/config.json")
    os.symlink("..", "deep/loop")
    os.symlink("language", "another name")
    assert set(by_name()) == {"language", "small", "deep/large"}
    os.symlink("../small", "deep/linked")
    assert set(by_name()) == {"language", "small", "deep/large"}
    assert set(by_name("deep")) == {"large", "linked", "er/third"}
    assert set(by_name("small")) == {"small"}
    with pytest.raises(UsageError, match="no folder nowhere"):
        recurra.runs("nowhere")


def test_a_folder_that_cannot_be_read(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(EnvironmentFailure, match="Permission denied"):
        recurra.runs(".")


def test_the_best_come_first_within_a_kind(place: Path) -> None:
    values = {"a": 0.5, "b": 0.9, "c": math.nan, "d": 0.7}
    for name, value in values.items():
        for kind, metric in (("language", "loss"), ("small", "accuracy")):
            shutil.copytree(kind, f"{kind}-{name}")
            record = json.loads(Path(kind, "record.json").read_text())
            record["metrics"]["valid"][metric] = value
            Path(f"{kind}-{name}", "record.json").write_text(json.dumps(record))
    for name in ("language", "small", "deep"):
        shutil.rmtree(name)
    assert [each["name"] for each in recurra.runs(".")] == [
        *("small-b", "small-d", "small-a", "small-c"), *("language-a", "language-d", "language-b", "language-c"),
    ]  # fmt: skip


def test_what_differs(place: Path) -> None:
    found = recurra.runs(".")
    assert differing(found) == {"classify": ["hidden", "rate"], "language": []}
    told = run("runs").out
    # a table of the language model, and two of the classifiers
    assert [line.split("  ")[0] for line in told.splitlines() if line.startswith(("run ", "differs in"))] == [
        "run", "differs in", "run",
    ]  # fmt: skip
    assert "deep/large       9   0.02" in told and "small            8  0.004" in told
    lines = [json.loads(line) for line in run("runs", "--json").out.splitlines()]
    assert {each["name"]: each["differs"] for each in lines} == {
        "deep/large": {"hidden": 9, "rate": 0.02}, "small": {"hidden": 8, "rate": 0.004}, "language": {},
    }  # fmt: skip
    # what is not known of a run is no difference
    unfinished("small")
    assert differing(recurra.runs("."))["classify"] == ["hidden"]


def test_the_table(place: Path) -> None:
    told = run("runs")
    assert (told.code, told.err) == (0, "")
    small = by_name()["small"]
    (line,) = [line for line in told.out.splitlines() if line.startswith("small ") and "finished" in line]
    for words in ("classify", f"gru 1×8, {small['parameters']:,}", "rows.tsv", f"{small['valid'] * 100:.1f} %",
                  f"{small['test'] * 100:.1f} %", small["date"][:10]):  # fmt: skip
        assert words in line


def test_a_place_without_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert recurra.runs() == []
    ending = run("runs", "--json")
    assert ending.code == USAGE
    assert "There are no runs in ." in json.loads(ending.out)["error"]["message"]


def test_names_cannot_command_the_terminal(place: Path) -> None:
    shutil.copytree("small", "a\x1b[2Jb")
    assert "\x1b" not in run("runs").out
