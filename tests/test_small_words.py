"""Small things that the commands say and show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bad_input_cases import run
from recurra.cli.talk import show_answer
from recurra.data.facts import facts_of, unit_of
from recurra.data.reading import read
from recurra.errors import UsageError
from recurra.fitting.fitted import Model
from recurra.fitting.kinds import KINDS
from recurra.fitting.options import FitOptions
from recurra.progress import Progress

PAIRS = {"source": [f"{n} a b c" for n in range(40)], "target": [f"{n} A B C" for n in range(40)]}
TAGGED = {"tokens": [["a", "b"], ["c"]] * 4, "tags": [["O", "B-X"], ["B-Y"]] * 4}


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("words") / "m"
    Model(KINDS["translate"].build(read(PAIRS)[0], FitOptions(hidden=4))[0]).save(folder)
    return folder


def test_the_best_translations_are_shown_where_they_are_asked_for(translator: Path) -> None:
    assert run("predict", translator, "3 a b c").out.count("\t") == 0
    ending = run("predict", translator, "3 a b c", "--top", 3)
    assert ending.out.count("\t") == 2 and ending.out.count("\n") == 1 and ending.err == ""


def test_a_beam_that_is_narrower_than_what_was_asked_for_is_told(translator: Path) -> None:
    ending = run("predict", translator, "3 a b c", "--top", 8, "--beam", 3, "--json")
    assert ending.code == 0 and len(json.loads(ending.out)["best"]) == 3
    assert "a beam of 3 has no more than 3 translations; for 8 of them take --beam 8" in ending.err
    assert run("predict", translator, "3 a b c", "--beam", 3, "--json").err == ""


@pytest.mark.parametrize("choice", [("--beam", 0), ("--length-penalty", "nan"), ("--text", "nope")])
def test_a_wrong_option_is_no_fault_of_the_input(translator: Path, choice: tuple[object, ...]) -> None:
    ending = run("predict", translator, "3 a b c", *choice)
    assert ending.code == 2 and "Input 1" not in ending.err


def test_a_column_of_what_is_no_file(translator: Path) -> None:
    message = "--text names a column of a file"
    assert message in run("predict", translator, "3 a", "--text", "nope").err
    assert message in run("predict", translator, "--text", "nope", stdin=b"3 a\n").err


@pytest.mark.parametrize(
    ("raw", "tokens", "line"),
    [
        ("a b c", "abc", "a [b c](x)"),
        ("abc", "abc", "a[bc](x)"),
        ("去北京", "去北京", "去[北京](x)"),
        (["a", "b", "c"], "abc", "a [b c](x)"),
        (["去", "北", "京"], "去北京", "去[北京](x)"),
        ("to b c", ["to", "b", "c"], "to [b c](x)"),
    ],
)
def test_tokens_stand_as_they_came(raw: Any, tokens: Any, line: str) -> None:
    answer = {"tokens": list(tokens), "tags": ["O", "B-x", "I-x"], "spans": [{"type": "x", "start": 1, "end": 3}]}
    assert show_answer(answer, raw) == line


@pytest.mark.parametrize(
    ("choices", "named"),
    [
        ({"summary": "max"}, "--summary is not for taggers"),
        ({"level": "bpe", "normalise": True}, "--level bpe and --normalise are not for taggers"),
    ],
)
def test_only_the_options_that_were_given_are_refused(choices: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        KINDS["tag"].build(read(TAGGED)[0], FitOptions(**choices))


def test_a_damaged_record_is_told(translator: Path) -> None:
    assert "record.json" not in run("info", translator).err
    whole = (translator / "record.json").read_text(encoding="utf-8")
    (translator / "record.json").write_text(whole[:1] + "?", encoding="utf-8")
    ending = run("info", translator)
    (translator / "record.json").write_text(whole, encoding="utf-8")
    assert ending.code == 0 and "record.json" in ending.err and "damaged" in ending.err


@pytest.mark.parametrize("name", ["a.conll", "a.bio", "a.bmes", "a.jsonl", "a.tsv.gz"])
def test_lines_of_files_are_numbered_in_lines(name: str) -> None:
    assert unit_of(name) == "line" and unit_of("a.parquet") == unit_of("data") == "row"


def test_shares_are_in_per_cent_in_a_validation(capsys: pytest.CaptureFixture[str]) -> None:
    names = ("f1", "precision", "recall", "accuracy", "label_accuracy", "macro_f1")
    with Progress() as progress:
        progress.validation({"loss": 0.25, "bleu": 12.5, **dict.fromkeys(names, 0.5)}, best=True)
    told = capsys.readouterr().err
    assert told.count("50.0 %") >= len(names) and "loss 0.250" in told and "bleu 12.500" in told
    assert "0.500" not in told


def test_a_row_that_is_nearly_a_copy() -> None:
    dataset, _, _ = read({"text": ["a b", "A  b", "c"] * 1, "label": ["x", "x", "y"]})
    told = [problem.message for problem in facts_of(dataset).problems]
    assert any(
        message.startswith("1 row is a copy of an earlier one but for case, width and space (") for message in told
    )
