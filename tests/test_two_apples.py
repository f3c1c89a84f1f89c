"""The two apples on scenes held out of training: what came before decides, and only a state carries it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

import recurra
from recurra.data.datasets import LabelledDataset
from recurra.data.reading import read
from recurra.fitting.fitted import measure
from recurra.fitting.kinds import kind_of
from recurra.fitting.options import FitOptions
from recurra.training import train

SCENES = Path(__file__).parents[1] / "examples" / "two_apples"
FRUIT, PHONE = "快过圣诞节了，好想要一个苹果", "手机坏了，好想要一个苹果"


def rows(split: str) -> list[dict[str, str]]:
    with open(SCENES / f"{split}.tsv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> recurra.Model:
    """What the default `fit` makes of the training scenes."""
    return recurra.fit(
        SCENES / "train.tsv", test=SCENES / "test.tsv", text="text", label="label",
        out=tmp_path_factory.mktemp("apples") / "model", baselines=False, quiet=True,
    )  # fmt: skip


def test_the_recurrent_model_knows_which_is_meant(classifier: recurra.Model) -> None:
    assert classifier.metrics["test"]["accuracy"] >= 0.90
    scenes = rows("test")
    answers = classifier.predict([row["text"] for row in scenes])
    right = [answer["label"] == row["label"] for answer, row in zip(answers, scenes, strict=True)]
    assert np.mean(right) == pytest.approx(classifier.metrics["test"]["accuracy"])


def test_the_two_apples(classifier: recurra.Model) -> None:
    fruit, phone = classifier.predict([FRUIT, PHONE])
    assert (fruit["label"], phone["label"]) == ("苹果:水果", "苹果:手机")


def test_the_meaning_is_carried_by_the_state(classifier: recurra.Model) -> None:
    """The same ending pushed after two beginnings; and pushed after the other's state, it takes the other's meaning."""
    fruit, phone = classifier.session(), classifier.session()
    fruit.push("快过圣诞节了，")
    phone.push("手机坏了，")
    swapped = phone.fork()
    swapped.restore(fruit.snapshot())
    answers = [session.push("好想要一个苹果")["label"] for session in (fruit, phone, swapped)]
    assert answers == ["苹果:水果", "苹果:手机", "苹果:水果"]


def test_a_network_without_a_state_stays_at_chance() -> None:
    """It sees the whole ending that the two meanings share, knows the word from it, and can only guess the meaning."""
    scenes = {split: rows(split) for split in ("train", "test")}
    width = 6
    known = sorted({character for row in scenes["train"] for character in row["text"][-width:]})
    places = {character: place for place, character in enumerate(known)}

    def seen(split: str) -> tuple[np.ndarray, list[str]]:
        x = np.zeros((len(scenes[split]), 1, width * len(known)), dtype=np.float32)
        for number, row in enumerate(scenes[split]):
            for place, character in enumerate(row["text"][-width:]):
                x[number, 0, place * len(known) + places[character]] = 1.0
        return x, [row["label"] for row in scenes[split]]

    train_set, test_set = (read(seen(split))[0] for split in ("train", "test"))
    assert isinstance(test_set, LabelledDataset)
    task, recipe = kind_of(train_set).build(train_set, FitOptions(cell="feedforward", epochs=15))
    feed = task.feed(train_set, rows=recipe.rows, steps=1, training=True)
    train(task, feed, task.feed(test_set, rows=64, steps=1, training=False), recipe)
    accuracy = measure(task, test_set)[0]["accuracy"]
    assert 0.4 < accuracy < 0.6
    words = {row["label"]: row["word"] for row in scenes["test"]}
    answers = task.predict(list(test_set.inputs))
    of_the_word = [words[answer["label"]] == row["word"] for answer, row in zip(answers, scenes["test"], strict=True)]
    assert np.mean(of_the_word) > 0.99


def test_the_next_word_depends_on_the_context(tmp_path: Path) -> None:
    """After the same last words the language model ranks what comes next by what came before: no n-gram of them could."""
    text = tmp_path / "scenes.txt"
    text.write_text("\n".join(row["text"] for row in rows("train")), encoding="utf-8")
    model = recurra.fit(text, epochs=20, out=tmp_path / "model", baselines=False, quiet=True)

    def ranked(scene: str, top: int) -> dict[str, float]:
        answer = model.predict(scene, top=top)[0]
        return {item["token"]: item["probability"] for item in answer["next"]}

    near = [ranked(scene.split("好")[0], 8) for scene in (FRUIT, PHONE)]
    assert list(near[0]) != list(near[1])
    # five characters further on, the ending that both share has been read, and the context still tells
    far = [ranked(scene.removesuffix("苹果"), 10_000) for scene in (FRUIT, PHONE)]
    assert list(far[0]) != list(far[1])
    assert max(abs(far[0][token] - far[1][token]) for token in far[0]) > 1e-3


def test_the_rows_of_a_frame_are_answered(classifier: recurra.Model) -> None:
    import pandas

    wanted = classifier.predict([FRUIT, PHONE])
    assert classifier.predict(pandas.DataFrame({"text": [FRUIT, PHONE]})) == wanted
    assert classifier.predict({"text": [FRUIT, PHONE]}) == wanted


def test_a_session_answers_as_in_evaluation(classifier: recurra.Model) -> None:
    """Training mode, with its dropout, must not leak into answers."""
    session = classifier.session()
    wanted = classifier.session().push(FRUIT)
    classifier.task.train()
    try:
        assert session.push(FRUIT) == wanted
    finally:
        classifier.task.eval()
