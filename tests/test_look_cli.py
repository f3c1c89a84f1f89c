"""`recurra look` on the command line: what it says, what it writes, and what it answers to mistakes."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from networks import NETWORKS
from recurra.cli.main import main
from recurra.fitting import Model
from recurra.look import live

MODELS = {
    "texts": "classify-text-gru",
    "language": "language-gru",
    "series": "forecast-smoothed",
    "both": "classify-both-ways",
    "pairs": "translate-gru",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with untrained models, and rows to look at."""
    folder = tmp_path_factory.mktemp("place")
    for name, network in MODELS.items():
        Model(next(one for one in NETWORKS if one.name == network).build()).save(folder / name)
    (folder / "rows.tsv").write_text("text\tlabel\nabcd\ta\nefgh\tb\n")
    lines = [f"{series},{day},{day % 3},1,2,3\n" for series in "ab" for day in range(1, 13)]
    (folder / "series.csv").write_text("unique_id,ds,y,p,q,k\n" + "".join(lines))
    return folder


@pytest.fixture(autouse=True)
def inside(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str, stdin: str = "") -> int:
    """The exit code of `recurra look ...`."""
    monkeypatch.setattr(sys, "argv", ["recurra", "look", *arguments])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
    with pytest.raises(SystemExit) as ending:
        main()
    return int(ending.value.code or 0)


def test_it_says_answers_and_reasons(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "texts", "abcd", "efcd", "--out", "two.html") == 0
    said, told = capsys.readouterr()
    lines = said.splitlines()
    assert lines[0] == "abcd  (4 steps)" and "efcd  (4 steps)" in lines
    assert sum("of the signal is left" in line for line in lines) == 2
    assert Path("two.html").stat().st_size > 10_000 and "two.html: " in told and "made the folder" not in told
    assert run(monkeypatch, "texts", "abcd", "--why", "0", "--out", "a/new/one.svg") == 0
    assert "note: made the folder a/new, which was not there" in capsys.readouterr().err


def test_rows_of_a_file(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "texts", "rows.tsv", "--row", "2", "--row", "1", "--why", "0", "--json") == 0
    assert [scene["title"] for scene in json.loads(capsys.readouterr().out)["scenes"]] == ["efgh", "abcd"]
    assert (
        run(monkeypatch, "texts", "rows.tsv", "--corpus", "rows.tsv", "--why", "0", "--out", "one.json", "--json") == 0
    )
    brief = json.loads(capsys.readouterr().out)
    assert brief["out"] == "one.json" and brief["scenes"][0]["title"] == "abcd"
    corpus = json.loads(Path("one.json").read_text())["corpus"]
    assert corpus["read"] == 2 and corpus["alike"][0]["text"] == "abcd"


@pytest.mark.parametrize(
    "given", ["series.csv", '[{"y": 1, "p": 1, "q": 2, "k": 3}, {"y": 2, "p": 1, "q": 2, "k": 3}]']
)
def test_series_are_read_as_they_are_forecast(
    given: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "series", given, "--json", "--why", "1") == 0
    scene = json.loads(capsys.readouterr().out)["scenes"][0]
    assert scene["inputs"]["columns"] == ["value", "p", "q", "k"] and len(scene["answer"]["mean"]) == 6


def test_a_browser_is_asked_to_show_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: bool(opened.append(address)))
    assert run(monkeypatch, "texts", "abcd", "--open", "--why", "0") == 0
    assert opened[0].startswith("file://") and opened[0].endswith("look.html")
    assert "no browser was found" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["texts"], 2, "nothing to look at"),
        (["texts", "a", "b", "c"], 2, "3 inputs"),
        (["texts", "abcd", "--row", "1"], 2, "--row names a row of a file"),
        (["texts", "rows.tsv", "--row", "9"], 2, "no such row. Got: --row 9. Expected: 1 to 2"),
        (["texts", "rows.tsv", "rows.tsv", "--row", "1", "--row", "2"], 2, "Two inputs come of one file"),
        (["texts", "missing.tsv"], 3, "No such data file"),
        (["texts", "abcd", "--out", "x.gif"], 2, "a file ending in .html, .svg, .png, .json"),
        (["texts", "abcd", "--out", "x.json", "--open"], 2, "--open shows a page or a picture"),
        (["texts", ""], 3, "nothing to look at"),
        (["missing", "abcd"], 4, "missing"),
        (["texts", "--live", "--out", "x.html"], 2, "--live reads stdin"),
        (["both", "--live"], 2, "needs the whole sequence"),
    ],
)
def test_mistakes_are_told(
    arguments: list[str], code: int, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *arguments) == code
    assert words in capsys.readouterr().err


def test_a_stream_is_followed_a_line_at_a_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "language", "--live", stdin="ab\ncd\n") == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("2  0.h ") and second.startswith("5  0.h ") and "(moved " in first
    assert run(monkeypatch, "language", "--live", "--json", stdin="ab\n") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["step"] == 2 and said["state"]["1.h"]["moved"] > 0 and len(said["next"]) == 5


def test_states_as_long_as_what_was_read_are_followed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "pairs", "--live", "--json", stdin="ab\nabc\n") == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["state"]["source"]["moved"] == first["state"]["source"]["norm"] > 0
    assert second["state"]["source"]["moved"] == second["state"]["source"]["norm"] and second["step"] > first["step"]


def test_a_terminal_shows_the_state_moving(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("recurra.cli.looking.sys.stdout.isatty", lambda: True, raising=False)
    assert run(monkeypatch, "language", "--live", stdin="abc\n") == 0
    said = capsys.readouterr().out
    assert "step 3  abc" in said and "0.h" in said


def test_bars_tell_size_and_sign() -> None:
    assert live.bars(np.array([0.0, 1.0, -0.5, 0.01]), 8) == [(" ", 0), ("█", 1), ("▄", -1), ("▁", 1)]
    assert live.bars(np.array([0.1, -4.0, 2.0, 0.0]), 2) == [("█", -1), ("▄", 1)]
    assert live.line([]) == ""
