"""`compare`: figures that are those of `evaluate`, intervals of them and of differences, and what cannot be compared."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import recurra
from bad_input_cases import run
from recurra.data.batches import BlockFeed
from recurra.data.datasets import TextDataset
from recurra.data.intervals import mcnemar
from recurra.data.reading import read
from recurra.errors import UsageError
from recurra.fitting.per_row import per_row, text_blocks

SMALL = {"hidden": 8, "baselines": False, "quiet": True}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good and an untrained classifier, another of other labels; language models over characters, words and pieces."""
    folder = tmp_path_factory.mktemp("compare")
    random = np.random.default_rng(0)
    words = {"好": ["好吃", "很快", "满意", "热情"], "差": ["难吃", "太慢", "凉了", "不好"]}
    rows = [(label, "，".join(random.choice(words[label], 3))) for label in words for _ in range(60)]
    (folder / "rows.tsv").write_text("label\ttext\n" + "".join(f"{a}\t{b}\n" for a, b in rows), encoding="utf-8")
    (folder / "other.tsv").write_text("label\ttext\n" + "".join(f"{a}!\t{b}\n" for a, b in rows), encoding="utf-8")
    names = ["the cat", "a dog", "the old king"]
    lines = [f"{random.choice(names)} sat, {random.integers(100)} times, on the mat." for _ in range(400)]
    (folder / "text.txt").write_text("\n".join(lines), encoding="utf-8")
    recurra.fit(folder / "rows.tsv", out=folder / "good", epochs=15, **SMALL)
    recurra.fit(folder / "rows.tsv", out=folder / "poor", epochs=1, rate=1e-6, seed=3, **SMALL)
    recurra.fit(folder / "other.tsv", out=folder / "other", epochs=1, **SMALL)
    for name, choices in [("letters", {}), ("few", {"rate": 1e-5}), ("words", {"level": "words"})]:
        recurra.fit(folder / "text.txt", out=folder / name, epochs=1, rows=4, steps=32, **choices, **SMALL)
    return folder


@pytest.fixture(autouse=True)
def inside(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


@pytest.mark.parametrize(("model", "data"), [("good", "rows.tsv"), ("letters", "text.txt"), ("words", "text.txt")])
def test_the_rows_add_up_to_the_whole(model: str, data: str) -> None:
    loaded = recurra.load(model)
    dataset, _, _ = read(data, task=loaded.kind, need_labels=False)
    sums = per_row(loaded.task, dataset)
    total = {name: torch.as_tensor(values.sum(axis=0)) for name, values in sums.items()}
    assert loaded.task.metrics(total) == pytest.approx(loaded.evaluate(data), rel=1e-5)


def test_blocks_are_the_text_and_cut_no_token() -> None:
    dataset, _, _ = read("text.txt")
    assert isinstance(dataset, TextDataset)
    blocks = text_blocks(dataset)
    assert "".join(blocks) == dataset.documents[0]
    assert len(blocks) > 40 and all(block.endswith("\n") for block in blocks[:-1])
    assert text_blocks(TextDataset(["one line\n", "two"], "a")) == ["one line\n\ntwo"]


def test_a_feed_of_blocks() -> None:
    feed = BlockFeed([torch.tensor(part, dtype=torch.int64) for part in ([5], [], [6, 7], [8, 9, 4])])
    batches = list(feed.batches(0))
    assert [batch.inputs.tolist() for batch in batches] == [[[5, 6]], [[7, 8, 9]]]
    assert [batch.targets.tolist() for batch in batches if batch.targets is not None] == [[[6, 7]], [[8, 9, 4]]]
    assert [batch.carries for batch in batches] == [False, True]
    assert len(feed) == 2 and feed.spans == [(1, 1), (1, 1), (1, 3), (3, 6)]


def test_a_better_model_is_better_beyond_luck() -> None:
    found = recurra.compare(["poor", "good"], "rows.tsv", quiet=True)
    assert [model.name for model in found.models] == ["good", "poor"]
    good, poor = found.models
    assert (found.metric, found.rows, found.unit) == ("accuracy", 120, "rows")
    assert good.metrics["accuracy"].value == recurra.load("good").evaluate("rows.tsv")["accuracy"]
    for model in found.models:
        estimate = model.metrics["accuracy"]
        assert estimate.low <= estimate.value <= estimate.high and model.speed > 0
    assert good.verdict == "the best here" and "hardly luck" in poor.verdict
    assert poor.differences["accuracy"].high < 0
    [pair] = found.agreements
    assert pair.both_right + pair.only_one + pair.only_other + pair.both_wrong == 120
    assert pair.only_one - pair.only_other == round(-120 * poor.differences["accuracy"].value)
    assert pair.chance == mcnemar(pair.only_one, pair.only_other) < 0.01


def test_one_row_tells_no_better_model() -> None:
    line = Path("rows.tsv").read_text(encoding="utf-8").splitlines()[:2]
    Path("one.tsv").write_text("\n".join(line) + "\n", encoding="utf-8")
    told = [model.verdict for model in recurra.compare(["good", "poor"], "one.tsv", quiet=True).models]
    assert "cannot be told of one row" in told[1]


def test_agreement_is_counted_by_hand() -> None:
    found = recurra.compare(["good", "poor"], "rows.tsv", quiet=True).agreements[0]
    dataset, _, _ = read("rows.tsv")
    answers = [[answer["label"] for answer in recurra.load(name).predict(dataset.raw)] for name in ("good", "poor")]
    assert found.same == np.mean([one == other for one, other in zip(*answers, strict=True)])


def test_a_model_against_itself_differs_in_nothing() -> None:
    found = recurra.compare(["good", "good"], "rows.tsv", quiet=True)
    assert [model.name for model in found.models] == ["good (1)", "good (2)"]
    assert found.models[1].differences["accuracy"].as_dict() == {"value": 0, "low": 0, "high": 0}
    assert "can be luck" in found.models[1].verdict
    assert found.agreements[0].same == 1 and found.agreements[0].chance == 1


def test_the_same_seed_draws_the_same() -> None:
    one, again, other = (recurra.compare(["good", "poor"], "rows.tsv", seed=s, quiet=True) for s in (1, 1, 2))
    assert one.models[1].metrics == again.models[1].metrics != other.models[1].metrics


def test_language_models_of_one_vocabulary_are_compared_by_all() -> None:
    found = recurra.compare(["few", "letters"], "text.txt", quiet=True)
    assert set(found.models[0].metrics) == {"loss", "perplexity", "bits_per_character", "accuracy"}
    assert (found.models[0].name, found.metric, found.unit) == ("letters", "bits_per_character", "characters")
    assert "hardly luck" in found.models[1].verdict and found.agreements == []
    for name, value in recurra.load("few").evaluate("text.txt").items():
        assert found.models[1].metrics[name].value == pytest.approx(value, rel=1e-5)


def test_language_models_of_other_vocabularies_by_the_characters_of_the_text() -> None:
    found = recurra.compare(["letters", "words"], "text.txt", quiet=True)
    assert {name for model in found.models for name in model.metrics} == {"bits_per_character"}
    assert any("read different tokens" in note for note in found.notes)
    words = recurra.load("words")
    dataset, _, _ = read("text.txt")
    sums = per_row(words.task, dataset)
    assert sums["unknown"].sum() > 0
    bits = sums["nats"].sum() / math.log(2) + sums["hidden"].sum() * math.log2(0x110000)
    value = next(model.metrics["bits_per_character"].value for model in found.models if model.name == "words")
    assert isinstance(dataset, TextDataset)
    first = 1 + len("the") if dataset.documents[0].startswith("the") else 1 + len("a")
    assert value == pytest.approx(bits / (dataset.characters - first))


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (["good"], "There is nothing to compare"),
        (["good", "letters"], "good is a classifier, letters a language model"),
        (
            ["good", "other"],
            "Models with different labels cannot be compared. Got: only one of good and other knows '好'",
        ),
    ],
)
def test_what_cannot_be_compared(models: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        recurra.compare(models, "rows.tsv", quiet=True)
    ending = run("compare", *models, "rows.tsv")
    assert ending.code == 2 and message in ending.err


def test_the_command_line() -> None:
    ending = run("compare", "good", "poor", "rows.tsv")
    assert ending.code == 0
    for part in ("accuracy, %", "rows/s", "difference from good", "hardly luck", "McNemar", "1,000 resamples"):
        assert part in ending.out
    found = json.loads(run("compare", "good", "poor", "rows.tsv", "--json", "--resamples", 200).out)
    assert found["models"][0]["metrics"]["accuracy"]["low"] <= found["models"][0]["metrics"]["accuracy"]["value"]
    assert found["agreements"][0]["chance"] < 0.01


def test_taggers_are_compared_by_their_spans(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    rows = []
    for _ in range(60):
        place, end = random.choice(["北京", "上海", "长安"]), random.choice(["很大", "真冷", "下雨"])
        rows.append({"tokens": list(place + end), "tags": ["B-L", "I-L", "O", "O"]})
    (tmp_path / "rows.jsonl").write_text(
        "\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8"
    )
    for name, choices in [("good", {"epochs": 6}), ("poor", {"epochs": 1, "rate": 1e-6})]:
        recurra.fit(tmp_path / "rows.jsonl", out=tmp_path / name, **choices, **SMALL)
    found = recurra.compare([tmp_path / "poor", tmp_path / "good"], tmp_path / "rows.jsonl", quiet=True)
    assert (found.kind, found.metric, found.rows, found.agreements) == ("tag", "f1", 60, [])
    assert [Path(model.name).name for model in found.models] == ["good", "poor"]
    wanted = recurra.load(tmp_path / "poor").evaluate(tmp_path / "rows.jsonl")
    assert {name: value.value for name, value in found.models[1].metrics.items()} == pytest.approx(wanted, rel=1e-5)
    assert "hardly luck" in found.models[1].verdict


def test_translators_are_compared_by_bleu(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    numbers = {"eins": "one", "zwei": "two", "drei": "three", "vier": "four"}
    drawn = [random.choice(list(numbers), 5) for _ in range(80)]
    lines = ["source\ttarget", *(" ".join(row) + "\t" + " ".join(numbers[word] for word in row) for row in drawn)]
    (tmp_path / "rows.tsv").write_text("\n".join(lines), encoding="utf-8")
    for name, rate in [("good", 0.02), ("poor", 1e-6)]:
        choices = {"form": "word-by-word", "level": "words", "epochs": 20 if name == "good" else 1}
        recurra.fit(tmp_path / "rows.tsv", out=tmp_path / name, rate=rate, **choices, **SMALL)
    found = recurra.compare([tmp_path / "poor", tmp_path / "good"], tmp_path / "rows.tsv", resamples=100, quiet=True)
    assert (found.kind, found.metric, found.rows) == ("translate", "bleu", 80)
    assert [Path(model.name).name for model in found.models] == ["good", "poor"]
    wanted = recurra.load(tmp_path / "good").evaluate(tmp_path / "rows.tsv")
    assert {name: value.value for name, value in found.models[0].metrics.items()} == pytest.approx(wanted, rel=1e-5)
    assert "hardly luck" in found.models[1].verdict
