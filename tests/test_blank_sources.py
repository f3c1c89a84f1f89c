"""Sources of which there is nothing to say, and answers too short for BLEU."""

from __future__ import annotations

from typing import Any

import pytest

import recurra
from recurra.data.reading import read
from recurra.fitting.fitted import Model
from recurra.fitting.kinds import KINDS
from recurra.fitting.options import FitOptions

SHORT = {"source": [f"{n} a" for n in range(40)], "target": [f"{n} B" for n in range(40)]}


def model_of(**choices: Any) -> Model:
    return Model(KINDS["translate"].build(read(SHORT)[0], FitOptions.from_user(hidden=4, **choices))[0])


@pytest.mark.parametrize("choices", [{}, {"level": "characters"}, {"form": "word-by-word", "level": "characters"}])
@pytest.mark.parametrize("blank", ["", "   ", "\t\u3000"])
def test_blanks_are_an_empty_source(choices: dict[str, Any], blank: str) -> None:
    model = model_of(**choices)
    full, alone = model.predict(["3 a", blank])[1], model.predict(blank)[0]
    assert full["translation"] == alone["translation"] == ""
    session = recurra.Session(model.task)
    assert session.push(blank)["translation"] == "" and session.steps == 0


def test_answers_without_four_words_have_no_bleu_and_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    model = model_of(form="word-by-word", level="words")
    assert model.evaluate(SHORT)["bleu"] == 0.0
    assert "no answer has four words" in capsys.readouterr().err
    assert any("no answer has four words" in note for note in recurra.compare([model] * 2, SHORT, quiet=True).notes)
    long = {name: [f"{text} {text} {text}" for text in texts] for name, texts in SHORT.items()}
    model.evaluate(long)
    assert "four words" not in capsys.readouterr().err
