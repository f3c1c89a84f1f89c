"""The runner of the quality rows: what it runs, what it keeps, and how the page tells what is reached and what is missed."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from benchmarks.quality import __main__ as runner
from benchmarks.quality.page import page
from benchmarks.quality.rows import ROWS, Goal, Row, chosen
from benchmarks.quality.running import ROOT, Result, files, key, key_of, words

ROW = Row("small", "a.tsv", 5, (Goal("accuracy", "test", 0.9, 0.95, (("a linear model", 0.85),)),), seeds=(0, 1))


def result(seed: int, accuracy: float, **more: Any) -> Result:
    baselines = [
        {"name": "feed-forward network", "split": "test", "metrics": {"accuracy": 0.7}},
        {"name": "majority class", "split": "test", "metrics": {"accuracy": 0.6}},
    ]
    return {
        "row": "small", "seed": seed, "minutes": 5, "options": [], "kind": "fit", "code": "aa-bb", "threads": 2,
        "torch": "2.13", "date": "2026-01-02T03:04:05+00:00", "command": f"recurra fit a.tsv --seed {seed}",
        "model": {"cell": "gru", "layers": 1, "hidden": 8, "parameters": 1234}, "seconds": 300.0, "total_seconds": 320.0,
        "metrics": {"test": {"accuracy": accuracy}}, "baselines": baselines, **more,
    }  # fmt: skip


def test_what_is_reached_and_what_is_missed_is_told() -> None:
    text = page([ROW], [result(0, 0.90), result(1, 0.94)])
    line = "| small | 5 | 2 | test accuracy, % | **92.0** (90.0 to 94.0) | 90.0 reached | 95.0 **missed** | 70.0 | "
    assert f"{line}85.0, a linear model, before |" in text
    assert "`recurra fit a.tsv --seed 1`: gru 1×8, 1,234 parameters; trained 300 s" in text and "code aa-bb" in text


def test_the_last_run_of_a_seed_counts_and_runs_of_other_minutes_do_not() -> None:
    text = page([ROW], [result(0, 0.5), result(1, 0.9, minutes=1), result(0, 0.8), result(1, 0.9, options=["--x"])])
    assert "| 1 of 2 | test accuracy, % | **80.0** | 90.0 **missed**" in text


def test_of_some_metrics_less_is_better() -> None:
    goal = Goal("perplexity", "test", 160, 135, (("Kneser-Ney", 190.0),))
    row = replace(ROW, goals=(goal,), seeds=(0,), peer=True)
    peer = result(0, 0, kind="peer", name="a transformer", parameters=99, metrics={"test": {"perplexity": 170.0}})
    text = page([row], [result(0, 0, metrics={"test": {"perplexity": 140.0}}), peer])
    assert "**140.0** | 160.0 reached | 135.0 **missed** | – | 190.0, Kneser-Ney, before |" in text
    assert "The same minutes for a transformer: **test perplexity 170.0**" in text


def test_a_row_that_was_not_run_is_shown() -> None:
    assert "| small | 5 | 0 of 2 | test accuracy, % | not run | 90.0 | 95.0 | | 85.0, a linear model, before |" in page(
        [ROW], []
    )


def test_the_table_is_that_of_the_project() -> None:
    assert [row.name for row in chosen(["tinyshakespeare"])] == [f"tinyshakespeare-{n}" for n in (3, 20, 60)]
    assert chosen([]) == list(ROWS) and len({row.name for row in ROWS}) == len(ROWS)
    assert all(len(row.seeds) == 3 for row in ROWS if row.minutes <= 5)
    for goal in (goal for row in ROWS for goal in row.goals):
        assert goal.reaches(goal.aim, goal.bar)
    with pytest.raises(KeyError):
        chosen(["nothing"])


def test_the_page_in_docs_is_what_the_results_say() -> None:
    results = runner._read(ROOT / "benchmarks" / "quality" / "results.jsonl")
    assert (ROOT / "docs" / "quality.md").read_text(encoding="utf-8") == page(ROWS, results)


def test_the_same_run_is_known_again() -> None:
    found = result(1, 0.9)
    assert key_of(json.loads(json.dumps(found))) == key(ROW, 1, "fit", "aa-bb")
    assert key_of(found) != key(replace(ROW, options=("--cell", "lstm")), 1, "fit", "aa-bb")


def test_a_table_is_parted_by_its_rows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("ds,y\n" + "".join(f"2024-01-{day:02},{day}\n" for day in range(1, 31)))
    row = Row("a-96-3", "a.csv", 3, ROW.goals, rows=(20, 5, 4))
    found = files(row, tmp_path, tmp_path / "work")
    parts = [found[name].read_text().splitlines() for name in ("train", "valid", "test")]
    assert [len(part) for part in parts] == [21, 6, 5] and {part[0] for part in parts} == {"ds,y"}
    assert parts[1][1] == "2024-01-21,21" and parts[2][-1] == "2024-01-29,29"


def test_a_whole_text_is_parted_where_nothing_is_lost(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("零一二三四五六七八九" * 7, encoding="utf-8")
    row = Row("a-3", "a.txt", 3, ROW.goals, whole=True)
    found = files(row, tmp_path, tmp_path / "work")
    parts = [found[name].read_text(encoding="utf-8") for name in ("train", "valid")]
    assert "".join(parts) == "零一二三四五六七八九" * 7 and len(parts[1]) == 7
    assert words(row, 0, found, "out")[:4] == ["fit", str(found["train"]), "--valid", str(found["valid"])]
    with pytest.raises(FileNotFoundError, match="a-3 needs"):
        files(row, tmp_path / "nowhere", tmp_path)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of two rows, as small as can be."""
    folder, chance = tmp_path_factory.mktemp("data"), random.Random(0)
    (folder / "classify" / "trec").mkdir(parents=True)
    (folder / "lm").mkdir()
    for split, count in (("train", 60), ("test", 20)):
        rows = [
            (i % 2, chance.choice(["who is it", "who was she"] if i % 2 else ["how many", "how far"]))
            for i in range(count)
        ]
        text = "label\ttext\n" + "".join(f"{label}\t{question} {i}\n" for i, (label, question) in enumerate(rows))
        (folder / "classify" / "trec" / f"{split}.tsv").write_text(text)
    for split, count in (("train", 300), ("valid", 60), ("test", 60)):
        poems = ["".join(chance.choice("風月山水人花") for _ in range(5)) + "。" for _ in range(count)]
        (folder / "lm" / f"tang.{split}.txt").write_text("\n".join(poems), encoding="utf-8")
    return folder


def test_a_row_is_run_written_down_and_kept(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runner, "code", lambda: "aa-bb")
    results, target = tmp_path / "results.jsonl", tmp_path / "quality.md"
    asked = ["--data", data, "--minutes", 0.02, "--seeds", 1, "--threads", 1, "--work", tmp_path / "work"]
    arguments = [*map(str, asked), "--results", str(results), "--page", str(target)]
    assert runner.main(["trec", *arguments]) == 0
    [run] = map(json.loads, results.read_text(encoding="utf-8").splitlines())
    assert (run["row"], run["seed"], run["minutes"], run["kind"], run["code"]) == ("trec", 0, 0.02, "fit", "aa-bb")
    assert run["command"] == "recurra fit train.tsv --test test.tsv --minutes 0.02 --seed 0 --out trec --json"
    assert 0 <= run["metrics"]["test"]["accuracy"] <= 1
    assert {"feed-forward network", "linear model"} <= {baseline["name"] for baseline in run["baselines"]}
    text = target.read_text(encoding="utf-8")
    assert "| trec | 0.02 of 5 | 1 | test accuracy, % | **" in text and str(tmp_path) not in text
    capfd.readouterr()
    assert runner.main(["trec", *arguments]) == 0
    assert "trec, seed 0, fit: kept" in capfd.readouterr().err
    # finished, and not written down: what stands in the folder is taken
    results.unlink()
    assert runner.main(["trec", *arguments]) == 0
    [again] = map(json.loads, results.read_text(encoding="utf-8").splitlines())
    assert again["metrics"] == run["metrics"]


def test_a_run_that_fails_costs_no_other(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runner, "code", lambda: "aa-bb")
    paths = ["--results", str(tmp_path / "r"), "--page", str(tmp_path / "p"), "--work", str(tmp_path / "w")]
    assert runner.main(["sst2", "--data", str(data), "--seeds", "1", *paths]) == 1
    assert "sst2 needs" in capfd.readouterr().err
    assert "not run" in (tmp_path / "p").read_text(encoding="utf-8")
    assert runner.main(["nothing", "--data", str(data), *paths]) == 2


def test_the_transformer_beside_it_says_what_the_page_needs(data: Path) -> None:
    script = Path(runner.__file__).with_name("small_transformer.py")
    given = [str(data / "lm" / f"tang.{name}.txt") for name in ("train", "valid", "test")]
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script), *given, "--minutes", "0.05"],
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout)
    assert told["vocabulary"] == 9  # six characters, the stop, the newline, the unknown one
    assert told["steps"] >= 1 and told["parameters"] > 3_000_000
    row = replace(ROW, goals=(Goal("perplexity", "test", 160, 135),), seeds=(0,), peer=True)
    assert "The same minutes for a transformer of 4 blocks" in page([row], [result(0, 0, kind="peer", **told)])


@pytest.mark.parametrize("length", [2, 5, 6, 8, 9, 10, 13, 14, 30])
def test_the_transformer_is_measured_on_every_character_but_the_first(length: int) -> None:
    import torch
    from benchmarks.quality.small_transformer import Transformer, alphabet_of, evaluate

    model = Transformer(5, context=8, width=16, layers=1).eval()
    ids = torch.randint(5, (length,))
    by_hand = 0.0
    for place in range(1, length):
        first = max(0, (place - 1) // 4 * 4 - 4)
        with torch.no_grad():
            by_hand -= model(ids[None, first:place])[0, -1].log_softmax(0)[ids[place]].item()
    assert evaluate(model, ids) == pytest.approx(by_hand / (length - 1), rel=1e-5)
    assert alphabet_of("aab") == {"a": 1, "b": 2}
    many = "".join(map(chr, range(0x4E00, 0x4E00 + 1001)))
    assert alphabet_of(many + many[:3]) == {many[0]: 1, many[1]: 2, many[2]: 3}


def test_a_run_of_fewer_minutes_than_the_bar_allows_says_so() -> None:
    assert "| small | 5 of 20 | 0 of 2 |" in page([replace(ROW, within=20)], [])
