"""Checks the two-apples scenes: counts, balance, shared endings and no leak from train to test.

It reads the files only and knows nothing of the models that learn from them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "two_apples"
LONGEST_SHARED_RUN = 6  # characters of context that a train and a test scene may have in common
SHORTEST_ENDING = 6  # a model that sees this many last characters sees only the ending


class Scene(NamedTuple):
    label: str
    text: str
    word: str


def read_rows(name: str, header: list[str]) -> list[list[str]]:
    content = (FOLDER / name).read_bytes().decode("utf-8")
    assert "\r" not in content and '"' not in content
    assert content.endswith("\n")
    rows = [line.split("\t") for line in content[:-1].split("\n")]
    assert rows[0] == header
    assert all(len(row) == len(header) and all(row) for row in rows)
    return rows[1:]


def read_scenes(name: str) -> list[Scene]:
    return [Scene(*row) for row in read_rows(name, ["label", "text", "word"])]


@pytest.fixture(scope="module")
def sides() -> dict[str, list[Scene]]:
    return {"train": read_scenes("train.tsv"), "test": read_scenes("test.tsv")}


@pytest.fixture(scope="module")
def endings() -> dict[str, str]:
    return {ending: word for word, ending in read_rows("endings.tsv", ["word", "ending"])}


def split_scene(scene: Scene, endings: dict[str, str]) -> tuple[str, str]:
    """The context and the ending of a scene; fails unless exactly one ending fits."""
    fitting = [ending for ending in endings if scene.text.endswith(ending)]
    assert len(fitting) == 1, f"{scene.text}: {fitting}"
    return scene.text.removesuffix(fitting[0]), fitting[0]


def test_there_are_enough_scenes_and_half_are_held_out(sides: dict[str, list[Scene]]) -> None:
    assert len(sides["train"]) + len(sides["test"]) >= 640
    assert len(sides["train"]) == len(sides["test"])


def test_no_scene_appears_twice(sides: dict[str, list[Scene]]) -> None:
    counts = Counter(scene.text for side in sides.values() for scene in side)
    assert [text for text, count in counts.items() if count > 1] == []


def test_no_context_appears_under_two_endings(sides: dict[str, list[Scene]], endings: dict[str, str]) -> None:
    counts = Counter(split_scene(scene, endings)[0] for side in sides.values() for scene in side)
    assert [context for context, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("side", ["train", "test"])
def test_words_are_several_with_two_balanced_meanings_each(sides: dict[str, list[Scene]], side: str) -> None:
    meanings: dict[str, Counter[str]] = defaultdict(Counter)
    for scene in sides[side]:
        assert scene.label.split(":")[0] == scene.word
        meanings[scene.word][scene.label] += 1
    assert len(meanings) >= 8
    for word, counts in meanings.items():
        assert len(counts) == 2, word
        assert len(set(counts.values())) == 1, counts
    assert max(meanings, key=lambda word: meanings[word].total()) == "苹果"
    assert meanings["苹果"].total() >= 80


@pytest.mark.parametrize("side", ["train", "test"])
def test_every_ending_serves_both_meanings_equally(
    sides: dict[str, list[Scene]], endings: dict[str, str], side: str
) -> None:
    used: dict[str, Counter[str]] = defaultdict(Counter)
    for scene in sides[side]:
        context, ending = split_scene(scene, endings)
        assert context.strip("，。！？"), scene.text
        assert endings[ending] == scene.word
        used[ending][scene.label] += 1
    assert used.keys() == endings.keys()
    for ending, counts in used.items():
        assert len(counts) == 2 and len(set(counts.values())) == 1, (ending, counts)


def test_endings_hold_the_word_and_hide_the_context(endings: dict[str, str]) -> None:
    for ending, word in endings.items():
        assert word in ending
        assert len(ending) >= SHORTEST_ENDING
    # two endings of different words must differ in the window, or the window would not name the word
    windows = {(ending[-SHORTEST_ENDING:], word) for ending, word in endings.items()}
    assert len({window for window, _ in windows}) == len(windows)


def test_no_long_run_of_context_is_on_both_sides(sides: dict[str, list[Scene]], endings: dict[str, str]) -> None:
    length = LONGEST_SHARED_RUN + 1
    runs: dict[str, set[str]] = {}
    for side, scenes in sides.items():
        contexts = [split_scene(scene, endings)[0] for scene in scenes]
        runs[side] = {text[i : i + length] for text in contexts for i in range(len(text) - length + 1)}
    assert len(runs["train"]) > 1000
    assert sorted(runs["train"] & runs["test"]) == []


def test_scene_lengths_are_those_of_short_scenes(sides: dict[str, list[Scene]]) -> None:
    lengths = [len(scene.text) for side in sides.values() for scene in side]
    assert min(lengths) >= 8
    assert max(lengths) <= 40
    assert len(set(lengths)) > 15


def test_the_two_canonical_scenes_are_held_out(sides: dict[str, list[Scene]]) -> None:
    labels = {scene.text: scene.label for scene in sides["test"]}
    assert labels["快过圣诞节了，好想要一个苹果"] == "苹果:水果"
    assert labels["手机坏了，好想要一个苹果"] == "苹果:手机"
