"""Guessing: the task and the columns, from names and from contents, and how to say otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from recurra.data.guess import Guess, guess
from recurra.errors import DataError, UsageError

REVIEWS = [("a fine and moving film", "good"), ("dull from start to end", "bad")] * 4


def chosen(found: Guess) -> tuple[str, str | None, str | None]:
    return found.task, found.text, found.label


@pytest.mark.parametrize(
    "text, label",
    [("text", "label"), ("Sentence", "Category"), ("review", "sentiment"), ("内容", "标签"), ("评论", "类别")],
)
def test_columns_by_their_names(text: str, label: str) -> None:
    found = guess({"id": list(range(8)), label: [pair[1] for pair in REVIEWS], text: [pair[0] for pair in REVIEWS]})
    assert chosen(found) == ("classify", text, label)


def test_columns_by_their_contents() -> None:
    found = guess({"a": [1, 2] * 4, "b": [f"{text} {i}" for i, (text, _) in enumerate(REVIEWS)], "id": [7] * 8})
    assert chosen(found) == ("classify", "b", "a")
    assert "which has 2 different values" in " ".join(found.reasons)


def test_reasons_say_how_to_say_otherwise() -> None:
    reasons = " ".join(guess({"text": ["a", "b"], "label": [0, 1]}).reasons)
    for option in ("--task", "--text", "--label"):
        assert option in reasons


def test_what_is_asked_for_is_taken() -> None:
    columns = {"text": ["a b", "c d"], "title": ["x", "y"], "label": [0, 1], "topic": [1, 0]}
    assert chosen(guess(columns, text="title", label="topic")) == ("classify", "title", "topic")
    assert chosen(guess({"Zeta": ["a", "b"], "Kind": [0, 1]}, text="Zeta", label="Kind"))[1:] == ("Zeta", "Kind")
    assert chosen(guess(columns, task="language")) == ("language", "text", None)


def test_text_without_labels_is_language() -> None:
    assert chosen(guess({"text": ["a long text", "another"]})) == ("language", "text", None)
    assert chosen(guess(["one document", "two"])) == ("language", None, None)


def test_translations_are_no_classes() -> None:
    columns = {"source": [f"a sentence {i}" for i in range(30)], "target": [f"ein Satz {i}" for i in range(30)]}
    assert chosen(guess(columns)) == ("translate", "source", None)


def test_numeric_sequences_are_found() -> None:
    found = guess({"sequence": [[0.1, 0.2], [0.3]], "class": ["a", "b"]})
    assert chosen(found) == ("classify", "sequence", "class")
    assert guess((np.zeros((4, 3, 2)), [0, 1, 0, 1])).task == "classify"


def test_unknown_columns_are_named_with_the_likely_one() -> None:
    columns = {"sentence": ["a", "b"], "Label": [0, 1]}
    with pytest.raises(
        DataError, match=r"no column 'sentense'.*--text with one of: sentence, Label.*mean 'sentence'\?"
    ):
        guess(columns, text="sentense")
    with pytest.raises(DataError, match=r"no column 'lable'.*Did you mean 'Label'\?"):
        guess(columns, label="lable")


def test_unknown_tasks_and_doubled_columns_are_refused() -> None:
    with pytest.raises(UsageError, match=r"Got: 'clasify'.*Did you mean 'classify'\?"):
        guess(["a"], task="clasify")
    with pytest.raises(UsageError, match="cannot be both the text and the label"):
        guess({"text": ["a"], "label": [0]}, text="text", label="text")


def test_what_has_no_text_is_refused() -> None:
    with pytest.raises(DataError, match=r"no column of texts or numeric sequences.*columns Height, Weight"):
        guess({"Height": ["1.8", "1.7"], "Weight": ["80", "70"]})


def test_numbers_at_moments_are_forecast() -> None:
    assert guess({"Month": ["1949-01", "1949-02"], "Passengers": ["112", "118"]}).task == "forecast"


def test_classify_without_labels_is_refused() -> None:
    with pytest.raises(DataError, match="plain text without labels"):
        guess(["a", "b"], task="classify")
    with pytest.raises(DataError, match="no column that looks like a label"):
        guess({"text": ["a", "b"]}, task="classify")
    with pytest.raises(DataError, match="plain text without columns"):
        guess(["a"], text="text")


def test_language_from_numbers_is_refused() -> None:
    with pytest.raises(DataError, match="a language model needs text"):
        guess({"x": [[1.0], [2.0]]}, task="language")


def test_a_generator_is_refused_because_it_can_be_read_once() -> None:
    with pytest.raises(DataError, match="only once"):
        guess(text for text in ["a"])


def test_files_are_guessed_too(tmp_path: Path) -> None:
    path = tmp_path / "intents.jsonl"
    path.write_text("\n".join(json.dumps({"utterance": t, "intent": c}) for t, c in REVIEWS), encoding="utf-8")
    assert chosen(guess(path)) == ("classify", "utterance", "intent")
