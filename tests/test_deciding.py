"""What decides the task: the names of columns, and options that one task alone has."""

from __future__ import annotations

from pathlib import Path

import pytest

from recurra.data.guess import guess
from recurra.data.reading import read
from recurra.errors import UsageError
from recurra.fitting.kinds import KINDS
from recurra.fitting.options import FitOptions
from recurra.fitting.sets import read_all
from recurra.fitting.telling import same_again

NAMES, VERBS = ("cat", "dog", "bird", "mouse", "horse"), ("eats", "sees", "likes")
SOURCES = [f"{a} {verb} {b}" for a in NAMES for verb in VERBS for b in NAMES]


def test_columns_named_source_and_target_make_a_translator() -> None:
    # as many capitals as there are words: with other names these would be tags
    targets = [text.upper() for text in SOURCES]
    found = guess({"source": SOURCES, "target": targets})
    assert (found.task, found.text, found.target) == ("translate", "source", "target")
    assert guess({"tokens": SOURCES, "tags": targets}).task == "tag"
    assert guess({"source": SOURCES, "target": targets}, tags="target").task == "tag"


def test_labels_under_the_name_of_a_target_stay_labels() -> None:
    assert guess({"source": SOURCES, "target": ["good", "bad", "bad"] * 25}).task == "classify"


@pytest.mark.parametrize(
    ("choice", "because"),
    [
        ({"form": "word-by-word"}, "--form makes"),
        ({"shared": False}, "--separate makes"),
        ({"shared": True, "beam": 2}, "--shared and --beam make"),
    ],
)
def test_options_of_one_task_decide_it(choice: dict, because: str) -> None:
    data = {"en": SOURCES, "label": [text.upper() for text in SOURCES]}
    _, guess, _ = read_all(data, None, None, FitOptions(**choice))
    assert guess.task == "translate"
    assert [reason for reason in guess.reasons if reason.startswith("Task")] == [
        f"Task: translate, since {because} sense for that alone."
    ]


def test_options_that_contradict_one_another_decide_nothing() -> None:
    data = {"text": SOURCES, "label": ["a", "b", "c"] * 25}
    for choice in ({"form": "attention", "consistency": 1.0}, {"consistency": 1.0, "target": "label"}):
        options = FitOptions(**choice)
        assert read_all(data, None, None, options)[1].task in ("classify", "translate")
        with pytest.raises(UsageError, match="is for --task"):
            for kind in KINDS.values():
                kind.check(options)


def test_an_option_is_named_as_it_is_typed() -> None:
    from recurra.fitting.options import typed

    assert (typed("shared", True), typed("shared", False)) == ("--shared", "--separate")
    assert (typed("bidirectional", False), typed("baselines", False)) == ("--causal", "--no-baselines")
    assert typed("length_penalty", 0.5) == "--length-penalty"
    with pytest.raises(UsageError, match="--separate is for --task translate"):
        KINDS["tag"].check(FitOptions(shared=False))
    command = same_again("a.tsv", {"valid": None}, FitOptions(shared=False, bidirectional=False))
    assert command == "recurra fit a.tsv --causal --separate"
    given = FitOptions(minutes=2, rate=0.0025)
    assert same_again("a.tsv", {}, given) == "recurra fit a.tsv --minutes 2 --rate 0.0025"
    assert same_again(["a"], {}, given) == "recurra.fit(data, minutes=2, rate=0.0025)"


def test_word_by_word_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text("source\ttarget\n" + "".join(f"{text}\t{text.upper()}\n" for text in SOURCES), encoding="utf-8")
    dataset, _, _ = read(path)
    task, _ = KINDS["translate"].build(dataset, FitOptions(form="word-by-word", hidden=8))
    assert task.kind == "translate"
