"""Translation: another sequence for a sequence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from recurra.baselines import BaselineResult, translation_baselines
from recurra.data.datasets import PairDataset
from recurra.data.text_codec import TextCodec
from recurra.data.translation_measures import without_bleu, words_of
from recurra.data.writing import default_level
from recurra.errors import DataError, UsageError
from recurra.fitting.kinds.kind import Kind, recipe_of, stack_config, that_fits
from recurra.fitting.options import FitOptions
from recurra.fitting.splits import every_nth, split_rows
from recurra.models import Translation, Translator, TranslatorConfig, WordByWord, WordByWordConfig
from recurra.training import Recipe

MINUTES = 30.0
STEPS = 4000
"""Steps of a run on few pairs."""
FEW, MANY = 3000, 100_000
SHOWN, DRAWN, LONGEST = 12, 4, 32
"""Validation pairs in the report, those whose attention is drawn, and how many tokens they have at most."""


class Translate(Kind[PairDataset, Translation]):
    name = "translate"
    shown = ("bleu", "chrf", "accuracy", "loss")

    def split(self, dataset: PairDataset, seed: int) -> tuple[PairDataset, PairDataset]:
        return split_rows(dataset, seed)

    def notes(self, task: Translation, dataset: PairDataset, sums: Mapping[str, Any]) -> list[str]:
        if not without_bleu(sums["bleu"]):
            return []
        return [
            "BLEU counts runs of up to four words, and no answer has four words: it is 0 whatever they say; see chrF."
        ]

    def part(self, dataset: PairDataset) -> PairDataset:
        return every_nth(dataset)

    def build(
        self, dataset: PairDataset, options: FitOptions, twin_of: Translation | None = None
    ) -> tuple[Translation, Recipe]:
        if dataset.targets is None:
            raise DataError(f"{dataset.name} has no targets", expected="a target for each source")
        if options.summary:
            raise UsageError("--summary is for classifiers", got="a translator")
        codecs = (twin_of.codec, twin_of.target_codec) if twin_of else _codecs(dataset, dataset.targets, options)
        if options.form == "word-by-word":
            return _word_by_word(dataset, options, *codecs), _recipe(dataset, options)
        return _translator(dataset, dataset.targets, options, *codecs), _recipe(dataset, options)

    def baselines(
        self, task: Translation, training: PairDataset, splits: Mapping[str, PairDataset]
    ) -> Mapping[str, list[BaselineResult]]:
        return translation_baselines(training, splits, task.config.scored)

    def codecs(self, task: Translation) -> dict[str, TextCodec]:
        return {"source": task.codec, "target": task.target_codec}

    def next_commands(self, task: Translation, where: str) -> list[str]:
        return [f'recurra predict {where} "..."', f"recurra evaluate {where} FILE"]

    def details(self, task: Translation, valid: PairDataset, sums: Mapping[str, Tensor]) -> dict[str, Any]:
        some = every_nth(valid, SHOWN)
        answers = [answer["translation"] for answer in task.predict(some.sources, top=1)]
        pairs = zip(some.sources, some.targets or [], answers, strict=True)
        examples = [{"source": one, "target": other, "answer": answer} for one, other, answer in pairs]
        drawn = attention_of(task, some.sources) if isinstance(task, Translator) else []
        return {"examples": examples, "attention": drawn[:DRAWN]}


def attention_of(task: Translator, sources: Sequence[str]) -> list[dict[str, Any]]:
    """Where each token of the best translation looked: source, target and weights[T][S]; of sources that are not long."""
    found = []
    for text in sources:
        state = task.begin(text)
        if not 0 < int(state.lengths[0]) <= LONGEST:
            continue
        said = task.translate(state)[0][0].tokens[:LONGEST]
        with torch.no_grad():
            _, _, inner = task.trace(torch.tensor([[task.end, *said]]), state)
        found.append(
            {
                "source": [task.codec.token(token) for token in task.codec.encode(text)],
                "target": [task.token(token) for token in [*said, task.end]],
                "weights": [[round(weight, 3) for weight in row] for row in inner["attention"][0].tolist()],
            }
        )
    return found


def _codecs(dataset: PairDataset, targets: Sequence[str], options: FitOptions) -> tuple[TextCodec, TextCodec]:
    """A vocabulary for both sides, one and the same where both are written alike, unless the person says otherwise."""
    writing = default_level(dataset.sources), default_level(targets)
    if options.form == "word-by-word":
        if options.level == "bpe" or options.shared:
            raise UsageError(
                "Word by word, each side has its own words or characters", fix="Leave out --level and --shared"
            )
        levels: tuple[str, str] = (options.level, options.level) if options.level else writing
        shared = False
    else:
        level = options.level or "bpe"
        # Chinese characters are few enough to be tokens, and BPE would find no borders of words among them
        levels = tuple(options.level or ("characters" if each == "characters" else level) for each in writing)  # pyright: ignore
        shared = levels[0] == levels[1] and writing[0] == writing[1] if options.shared is None else options.shared
    if shared:
        codec = _codec([*dataset.sources, *targets], levels[0], options, len(dataset))
        return codec, codec
    return tuple(
        _codec(texts, level, options, len(dataset))
        for texts, level in zip((dataset.sources, targets), levels, strict=True)
    )  # pyright: ignore[reportReturnType]


def _codec(texts: Sequence[str], level: str, options: FitOptions, pairs: int) -> TextCodec:
    minimum = 1 if pairs < FEW else 2
    # few pairs show few of the pieces often enough
    size = options.vocabulary or (max(500, min(16_000, round(35 * math.sqrt(pairs)))) if level == "bpe" else 20_000)
    return TextCodec.learn(texts, level, size=size, minimum=minimum, normalise=options.normalise)


def _translator(
    dataset: PairDataset, targets: Sequence[str], options: FitOptions, source: TextCodec, target: TextCodec
) -> Translator:
    hidden = 128 if len(dataset) < FEW else 256 if len(dataset) < MANY else 512
    dropout = 0.3 if options.dropout is None else options.dropout
    stack = stack_config(options, hidden=hidden, dropout=dropout)
    lengths = zip(source.encode_many(dataset.sources), target.encode_many(targets), strict=True)
    ratios = sorted(len(other) / max(1, len(one)) for one, other in lengths)
    chosen = {name: value for name in ("beam", "length_penalty") if (value := getattr(options, name)) is not None}
    config = TranslatorConfig.from_user(
        encoder=stack.model_copy(update={"layers": 1, "bidirectional": options.bidirectional is not False}),
        stack=stack.model_copy(update={"layers": options.layers or 2, "bidirectional": False}),
        source_vocabulary=source.size,
        target_vocabulary=target.size,
        shared=source is target,
        embedding=min(256, hidden),
        dropout_inputs=dropout / 2,
        dropout_outputs=dropout,
        ratio=max(1.0, 1.5 * ratios[int(0.99 * len(ratios))]),
        scored=words_of(targets),
        **chosen,
    )
    return that_fits(lambda: Translator(config, source, target))


def _word_by_word(dataset: PairDataset, options: FitOptions, source: TextCodec, target: TextCodec) -> WordByWord:
    dropout = 0.3 if options.dropout is None else options.dropout
    config = WordByWordConfig.from_user(
        stack=stack_config(options, hidden=128 if len(dataset) < FEW else 256, dropout=dropout),
        source_vocabulary=source.size,
        target_vocabulary=target.size,
        dropout_inputs=dropout / 2,
        dropout_outputs=dropout,
        scored=words_of(dataset.targets or []),
    )
    return that_fits(lambda: WordByWord(config, source, target))


def _recipe(dataset: PairDataset, options: FitOptions) -> Recipe:
    rows = options.rows or (16 if len(dataset) < FEW else 64)
    minutes, epochs = options.minutes, options.epochs
    if minutes is None and epochs is None:
        minutes, epochs = MINUTES, max(20, min(200, round(STEPS * rows / len(dataset))))
    return recipe_of(
        options, minutes=minutes, epochs=epochs, rate=2e-3, rows=rows, warmup=0.05, average=0.99,
    )  # fmt: skip
