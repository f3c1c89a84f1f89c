"""Tokens that a language model does not know: what they hide is charged for and told."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

import recurra
from bad_input_cases import run
from recurra.data.measures import SPELLING, language_measures
from recurra.data.text_codec import TextCodec
from recurra.fitting.fitted import Model
from recurra.layers import StackConfig
from recurra.models import LanguageModel, LanguageModelConfig

TEXT = "the cat sat on the mat, and the dog sat.\n" * 40


def model_of(level: str, size: int | None = None) -> Model:
    codec = TextCodec.learn([TEXT], level, size=size)
    torch.manual_seed(0)
    config = LanguageModelConfig(stack=StackConfig(hidden=8), vocabulary=codec.size, embedding=8)
    return Model(LanguageModel(config, codec))


def test_characters_behind_unknown_tokens_cost_what_spelling_them_does() -> None:
    measures = language_measures(nats=10 * math.log(2), tokens=10, characters=20, hidden=4)
    assert measures["bits_per_character"] == pytest.approx((10 + 4 * math.log2(1_114_112)) / 20)
    assert measures["loss"] == pytest.approx(math.log(2))


@pytest.mark.parametrize(("level", "length"), [("characters", 1.0), ("words", 4.5), ("bpe", 1.0)])
def test_how_much_an_unknown_token_hides(level: str, length: float) -> None:
    codec = TextCodec.learn([TEXT], level, size=None if level != "bpe" else 260)
    assert codec.unknown_length(["the zebra sat", "a, mouse and Noah\n" if level != "words" else "the lion"]) == length
    assert codec.unknown_length(["the cat sat"]) == 1.0


def test_words_are_counted_as_they_stand_in_the_text() -> None:
    codec = TextCodec.learn([TEXT], "words")
    ids = codec.encode("the zebra sat")
    assert codec.characters(ids, codec.unknown_length(["the zebra sat"])) == len(" the zebra sat")


@pytest.mark.parametrize("level", ["characters", "words"])
def test_fewer_tokens_make_no_better_model(level: str) -> None:
    few, all_ = model_of(level, 3), model_of(level)
    found = recurra.compare([few, all_], [TEXT], resamples=100, quiet=True)
    assert [model.name for model in found.models] == ["model 2", "model 1"]
    own = few.evaluate([TEXT], quiet=True)["bits_per_character"]
    assert found.models[1].metrics["bits_per_character"].value == pytest.approx(own, rel=0.1)
    [note] = [note for note in found.notes if "vocabulary of 3" in note]
    assert note.startswith("model 1: ") and f"{SPELLING:.1f} bits a character" in note


def test_evaluate_tells_the_share_of_unknown_tokens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = model_of("characters")
    model.save(tmp_path / "m")
    (tmp_path / "new.txt").write_text("他们说今天天气很好。" * 20, encoding="utf-8")
    ending = run("evaluate", tmp_path / "m", tmp_path / "new.txt", "--json")
    assert ending.code == 0 and "note: 100.0% of the tokens are not in the model's vocabulary" in ending.err
    assert json.loads(ending.out)["metrics"]["bits_per_character"] > 20
    model.evaluate([TEXT])
    model.evaluate(["他们"], quiet=True)
    assert capsys.readouterr().err == ""
    model.evaluate([TEXT + "好好好" * 20], dynamic=0.001)
    assert "3.5% of the tokens" in capsys.readouterr().err
