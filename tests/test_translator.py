"""The translator: losses by hand, measures that add up, padding, states that are handed over half-way, and its folder."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import recurra
from networks import CODEC, NETWORKS
from recurra.data.batches import Batch
from recurra.data.datasets import PairDataset
from recurra.data.text_codec import TextCodec
from recurra.data.translation_measures import words_of
from recurra.errors import DataError, StateError, UsageError
from recurra.layers import StackConfig
from recurra.models import (
    Beam,
    Translator,
    TranslatorConfig,
    WordByWord,
    WordByWordConfig,
    fingerprint,
    load_model,
    save_model,
)
from recurra.state import load_state, merge, save_state, select
from recurra.training import Recipe, evaluate, train
from tolerances import assert_close

SOURCES, TARGETS = ["abc", "", "hgfedcba", "b"], ["cba", "a", "abcdefgh", "bb"]
PAIRS = PairDataset(SOURCES, TARGETS, [1, 2, 3, 4], "pairs")


def translator(**options: Any) -> Translator:
    torch.manual_seed(0)
    separate = options.pop("separate", False)
    config = TranslatorConfig(
        encoder=StackConfig(hidden=6, bidirectional=True),
        stack=StackConfig(hidden=7, layers=2, dropout=options.pop("dropout", 0.0)),
        source_vocabulary=CODEC.size,
        target_vocabulary=CODEC.size,
        embedding=8,
        shared=not separate,
        **options,
    )
    model = Translator(config, CODEC, TextCodec.learn(["abcdefgh"], "characters") if separate else CODEC)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model.eval()


def batch_of(model: Any) -> Batch:
    return next(iter(model.feed(PAIRS, rows=4, steps=0, training=False).batches(0)))


def test_a_batch_has_both_sides_with_an_end() -> None:
    batch = batch_of(translator())
    rows = [[token for token in row if token >= 0] for row in batch.targets.tolist()]  # pyright: ignore
    assert batch.lengths is not None and sorted(batch.lengths.tolist()) == [0, 1, 3, 8]
    for row, length in zip(rows, batch.lengths.tolist(), strict=True):
        place = [len(text) for text in SOURCES].index(length)
        assert row == [*CODEC.encode(TARGETS[place]), CODEC.size]


@pytest.mark.parametrize("options", [{}, {"tied": False}, {"separate": True}])
def test_the_loss_is_that_of_each_pair_alone(options: dict[str, Any]) -> None:
    """The logits of all steps in one call, and of one token after another, each pair by itself."""
    model = translator(**options)
    total = 0.0
    for source, target in zip(SOURCES, TARGETS, strict=True):
        state, before = model.begin(source), model.end
        for token in [*CODEC.encode(target), model.end]:
            logits, state = model(torch.tensor([[before]]), state)
            total -= float(logits.detach()[0, 0].log_softmax(dim=-1)[token])
            before = token
    batch = batch_of(model)
    loss, count, _ = model.step_loss(batch)
    assert count == sum(map(len, TARGETS)) + 4
    assert_close(loss.detach(), torch.tensor(total))
    sums, _ = model.step_measure(batch)
    assert_close(sums["nats"].float(), torch.tensor(total))
    assert int(sums["count"]) == count


def test_smoothing_changes_the_gradient_and_not_the_value() -> None:
    model = translator(smoothing=0.2)
    batch = batch_of(model)
    plain, _, _ = model.step_loss(batch)
    model.train()
    smoothed, count, _ = model.step_loss(batch)
    assert_close(smoothed.detach(), plain.detach())
    found = torch.autograd.grad(smoothed, list(model.parameters()))
    # by torch's own label smoothing, over all logits
    inputs, lengths = model._shifted(batch.targets)  # pyright: ignore
    logits, _ = model(inputs, model.encode_source(batch.inputs, batch.lengths), lengths)
    wanted = F.cross_entropy(
        logits.flatten(0, 1), batch.targets.flatten(), reduction="sum", ignore_index=-1, label_smoothing=0.2  # pyright: ignore
    )  # fmt: skip
    for one, other in zip(found, torch.autograd.grad(wanted, list(model.parameters())), strict=True):
        assert_close(one, other, "gradients")
    assert count == 18


def test_what_pads_a_source_changes_nothing() -> None:
    model = translator()
    alone = [model.predict([text])[0] for text in SOURCES]
    assert model.predict(SOURCES) == alone
    states = [model.begin(text) for text in SOURCES]
    together = merge(states)
    assert together.source.shape[1] == 8 and together.lengths.tolist() == [3, 0, 8, 1]
    assert [found[0] for found in model.translate(together)] == [model.translate(state)[0][0] for state in states]


def test_an_empty_source_is_answered_with_nothing_and_none_is_the_empty_one() -> None:
    model = translator()
    answer = model.predict("")[0]
    assert answer["translation"] == "" and len(answer["best"]) == 1
    tokens = torch.tensor([[model.end, 1, 2]])
    assert torch.equal(model(tokens)[0], model(tokens, model.begin(""))[0])


def test_a_long_source_is_read_to_its_end() -> None:
    model = translator(ratio=0.01)
    long = "abcdefgh" * 500
    answer = model.predict([long, long[:-1] + "a"], top=2)
    assert answer[0] != answer[1]
    assert len(answer[0]["best"]) == 2 and len(answer[0]["translation"]) <= 50


def test_answers_are_the_best_first() -> None:
    model = translator(beam=4)
    answer = model.predict("abc", top=3)[0]
    scores = [each["score"] for each in answer["best"]]
    assert len(scores) == 3 and scores == sorted(scores, reverse=True)
    assert (answer["translation"], answer["score"]) == (answer["best"][0]["text"], scores[0])
    assert model.predict("abc", beam=1)[0]["best"][0]["score"] <= scores[0] + 1e-6
    assert len(model.predict("abc", beam=1)[0]["best"]) == 1
    with pytest.raises(UsageError, match="beam"):
        model.predict("abc", beam=0)
    with pytest.raises(UsageError, match="no such choice"):
        model.predict("abc", width=3)


def test_a_translation_is_handed_over_half_way(tmp_path: Path) -> None:
    """Stopped after two tokens, written to a file, read by another process's model, gone on with: the same answer."""
    model = translator()
    save_model(model, tmp_path / "model")
    whole = model.translate(model.begin("hgfedcba"), beam=Beam(1))[0][0].tokens
    assert len(whole) > 3
    session = recurra.Session(model, model.begin("hgfedcba"))
    session.advance([model.end, whole[0]])
    session.save(tmp_path / "half.state")
    other = load_model(tmp_path / "model")
    assert isinstance(other, Translator)
    gone_on = recurra.Session.load(other, tmp_path / "half.state")
    rest = other.translate(gone_on.state, last=torch.tensor([whole[1]]), beam=Beam(1))[0][0]
    assert [*whole[:2], *rest.tokens][: len(whole)] == whole
    with pytest.raises(StateError, match="another model"):
        load_state(tmp_path / "half.state", model.initial_state(1), "0" * 64)


def test_a_state_with_a_source_of_another_width_is_refused(tmp_path: Path) -> None:
    model = translator()
    state = model.begin(["abc", "ab"])
    assert select(state, [1]).source.shape == (1, 3, 12)
    wrong = type(state)(state.source[..., :5], state.lengths, state.first, state.rest)
    save_state(tmp_path / "wrong", wrong, fingerprint(model))
    with pytest.raises(StateError, match=r"source.*does not fit"):
        recurra.Session.load(model, tmp_path / "wrong")
    with pytest.raises(StateError, match=r"source.*does not fit"):
        recurra.Session(model, wrong)


def test_measures_are_those_of_sacrebleu_and_add_up() -> None:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    model = translator(scored="char")
    targets = ["abcdefgh abcd", "hgfedcba hgf", "aabbccddee", "abcabcabc"]
    data = PairDataset(["abcd", "gh", "ab", "c"], targets, [1, 2, 3, 4], "pairs")
    found, _ = evaluate(model, model.feed(data, rows=4, steps=0, training=False))
    apart, _ = evaluate(model, model.feed(data, rows=1, steps=0, training=False))
    assert found == pytest.approx(apart)
    said = [answer["translation"] for answer in model.predict(data.sources)]
    assert found["bleu"] == pytest.approx(BLEU(tokenize="char").corpus_score(said, [targets]).score)
    assert found["chrf"] == pytest.approx(CHRF().corpus_score(said, [targets]).score)
    quick, _ = evaluate(model, model.feed(data, rows=4, steps=0, training=False), quick=True)
    assert quick["loss"] == pytest.approx(found["loss"]) and quick["chrf"] != found["chrf"]


@pytest.mark.parametrize(("texts", "words"), [
    (["a man is here .", "who ?"], "none"), (["A man is here.", "Who?"], "13a"), (["一个人在这里。"], "zh"),
    (["ここに人がいます。"], "char"), (["words without an end"], "13a"),
])  # fmt: skip
def test_how_texts_are_cut_for_bleu(texts: list[str], words: str) -> None:
    assert words_of(texts) == words


@pytest.mark.parametrize("separate", [False, True])
def test_its_folder_gives_it_back(tmp_path: Path, separate: bool) -> None:
    model = translator(separate=separate)
    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert fingerprint(loaded) == fingerprint(model)
    assert loaded.predict(SOURCES) == model.predict(SOURCES)
    assert (tmp_path / "model" / "tokenizer.target.json").exists() == separate


def test_what_does_not_fit_is_refused() -> None:
    model = translator()
    with pytest.raises(DataError, match="reads text"):
        model.predict([3])
    with pytest.raises(UsageError, match="decoder cannot be bidirectional"):
        Translator(model.config.model_copy(update={"stack": StackConfig(bidirectional=True)}), CODEC, CODEC)
    with pytest.raises(UsageError, match="vocabulary of the target"):
        Translator(model.config.model_copy(update={"target_vocabulary": 3}), CODEC, CODEC)
    with pytest.raises(StateError, match="another kind"):
        model(torch.tensor([[1]]), next(each for each in NETWORKS if each.name == "gru").build().initial_state(1))


def test_training_lowers_the_loss_of_copies_turned_round() -> None:
    """With all its dropout; in parts as in one, so that workers may share the rows."""
    model = translator(dropout_tokens=0.1, dropout_inputs=0.1, dropout_outputs=0.1, dropout=0.1)
    feed = model.feed(PAIRS, rows=4, steps=0, training=True)
    valid = model.feed(PAIRS, rows=4, steps=0, training=False)
    before, _ = evaluate(model, valid, quick=True)
    weights = []
    for parts in (1, 2):
        model = translator(dropout_tokens=0.1, dropout_inputs=0.1, dropout_outputs=0.1, dropout=0.1)
        train(model, feed, valid, Recipe(epochs=30, rate=0.02, rows=4, accumulate=parts))
        weights.append(model.bias.detach())
    after, _ = evaluate(model, valid, quick=True)
    assert after["loss"] < 0.7 * before["loss"]
    assert_close(weights[0], weights[1], "weights")


# ---- word by word


def word_by_word() -> WordByWord:
    torch.manual_seed(0)
    source, target = TextCodec.learn(["a b c d"], "words"), TextCodec.learn(["ein zwei drei vier"], "words")
    config = WordByWordConfig(
        stack=StackConfig(hidden=16), source_vocabulary=source.size, target_vocabulary=target.size, embedding=8
    )
    return WordByWord(config, source, target)


def test_word_by_word_says_a_word_for_each(tmp_path: Path) -> None:
    model = word_by_word()
    data = PairDataset(["a b", "c d a", "b", "d c b a"], ["ein zwei", "drei vier ein", "zwei", "vier drei zwei ein"],
                       [1, 2, 3, 4], "pairs")  # fmt: skip
    feed = model.feed(data, rows=2, steps=0, training=True)
    train(model, feed, model.feed(data, rows=2, steps=0, training=False), Recipe(epochs=60, rate=0.02, rows=2))
    assert [answer["translation"] for answer in model.predict(["b a", "d", ""])] == ["zwei ein", "vier", ""]
    assert evaluate(model, feed)[0]["accuracy"] == 1.0
    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert isinstance(loaded, WordByWord) and loaded.predict(["b a"]) == model.predict(["b a"])
    with pytest.raises(UsageError, match="nothing is searched for"):
        model.predict("a", beam=3)


def test_word_by_word_needs_equal_lengths() -> None:
    data = PairDataset(["a b", "c d a"], ["ein zwei", "drei vier"], [4, 9], "pairs")
    with pytest.raises(DataError, match=r"line 9.*3 words in the source, 2 in the target.*--form"):
        word_by_word().feed(data, rows=2, steps=0, training=True)


# ---- from data to a model


def test_the_example_translates_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(__file__).parent.parent / "examples" / "translation.py"
    spec = importlib.util.spec_from_file_location("translation_example", path)
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    assert [example.chinese(number) for number in (0, 15, 20, 2007, 40_005, 90_010)] == [
        "零", "十五", "二十", "二千零七", "四万零五", "九万零一十",
    ]  # fmt: skip
    assert example.main(pairs=400, epochs=8) > 0.5
    assert "四 …" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["attention", "word-by-word"])
def test_fit_and_its_folder(tmp_path: Path, form: str) -> None:
    digits = ["one", "two", "three", "four"]
    said = {"one": "eins", "two": "zwei", "three": "drei", "four": "vier"}
    sources = [" ".join(digits[(n // 4**k) % 4] for k in range(3)) for n in range(64)]
    rows = [(source, " ".join(said[word] for word in source.split())) for source in sources]
    model = recurra.fit(rows, task="translate", form=form, hidden=16, epochs=2, out=tmp_path / "model", quiet=True)
    assert model.kind == "translate" and {"bleu", "chrf", "loss", "accuracy"} <= model.metrics["valid"].keys()
    names = {row["name"] for row in model.record["baselines"]}
    assert names == {"copy of the source", "word for word", "feed-forward network"}
    word = next(row for row in model.record["baselines"] if row["name"] == "word for word")
    assert word["metrics"]["bleu"] == pytest.approx(100.0) or word["metrics"]["chrf"] == pytest.approx(100.0)
    report = (tmp_path / "model" / "report.html").read_text(encoding="utf-8")
    assert "bleu counts words by" in report
    assert "Translations" in report and ("Where it looked" in report) == (form == "attention")
    loaded = recurra.load(tmp_path / "model")
    assert loaded.predict(["one two"]) == model.predict(["one two"])
    assert loaded.evaluate(rows)["loss"] > 0
    session = loaded.session()
    assert session.push("one two", top=1)["translation"] == model.predict("one two")[0]["translation"]
