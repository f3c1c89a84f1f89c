"""Next word: a text is continued."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recurra.baselines import BaselineResult, language_baselines
from recurra.data.datasets import TextDataset
from recurra.data.measures import SPELLING
from recurra.data.text_codec import TextCodec, count_characters
from recurra.errors import DataError, UsageError
from recurra.fitting.kinds.kind import Kind, recipe_of, stack_config, that_fits, usual_space
from recurra.fitting.kinds.space import Between, OneOf, Span, around
from recurra.fitting.options import FitOptions
from recurra.fitting.splits import beginning, split_text, spread
from recurra.models import LanguageModel, LanguageModelConfig
from recurra.progress import watch
from recurra.training import Recipe

MINUTES = 10.0
EPOCHS = 40
MANY_SYMBOLS = 1000
MANY_UNKNOWN = 0.01
"""The share of unknown tokens from which it is told."""
PER_MINUTE = 1_000_000
"""Characters that one core reads in a minute of training, at a width of 512 over a small alphabet."""
# characters of a text that is not held from which its vocabulary is learnt; pairs of bytes take some hundred bytes each
LEARNT = {"words": 64_000_000, "bpe": 4_000_000}


class Language(Kind[TextDataset, LanguageModel]):
    name = "language"
    shown = ("loss", "perplexity", "accuracy")

    def split(self, dataset: TextDataset, seed: int) -> tuple[TextDataset, TextDataset]:
        return split_text(dataset)

    def part(self, dataset: TextDataset) -> TextDataset:
        return beginning(dataset)

    def build(
        self, dataset: TextDataset, options: FitOptions, twin_of: LanguageModel | None = None
    ) -> tuple[LanguageModel, Recipe]:
        if options.bidirectional or options.summary:
            raise UsageError("--bidirectional and --summary are for classifiers", got="a language model")
        # a twin has the same vocabulary: with another one its loss could not be compared
        return _model(dataset, options, twin_of.codec if twin_of else _codec(dataset, options))

    def baselines(
        self, task: LanguageModel, training: TextDataset, splits: Mapping[str, TextDataset]
    ) -> Mapping[str, list[BaselineResult]]:
        streams = {name: task.ids(part).numpy() for name, part in splits.items()}
        # the network predicts all but the first token; what it is compared with counts the same characters
        lengths = {name: task.codec.unknown_length(part.stream("\n")) for name, part in splits.items()}
        characters = {name: task.codec.characters(ids.tolist(), lengths[name]) for name, ids in streams.items()}
        unknown = -1 if task.codec.unknown is None else task.codec.unknown
        hidden = {name: lengths[name] * float((ids == unknown).sum()) for name, ids in streams.items()}
        return language_baselines(task.ids(training).numpy(), streams, task.codec.size, characters, hidden)

    def aim(self, task: LanguageModel) -> tuple[str, bool]:
        # the loss of a token says nothing of models that read other tokens
        return "bits_per_character", False

    def space(self, dataset: TextDataset, task: LanguageModel, recipe: Recipe) -> tuple[Span, ...]:
        return (
            *usual_space(task, recipe),
            OneOf("level", ("characters", "bpe")),
            Between("weight_drop", 0.0, 0.5),
            around("steps", recipe.steps),
        )

    def codecs(self, task: LanguageModel) -> dict[str, TextCodec]:
        return {"text": task.codec}

    def notes(self, task: LanguageModel, dataset: TextDataset, sums: Mapping[str, Any]) -> list[str]:
        share = float(sums["unknown"]) / float(sums["count"])
        if share <= MANY_UNKNOWN:
            return []
        return [
            f"{share:.1%} of the tokens are not in the model's vocabulary of {task.codec.size:,}. It foretells that such a "
            f"one comes, not which: bits per character spell it out, at {SPELLING:.1f} bits a character; loss, perplexity "
            "and accuracy take them all as one token."
        ]

    def next_commands(self, task: LanguageModel, where: str) -> list[str]:
        return [f'recurra generate {where} --prompt "..."', f"recurra stream {where} --state my.state"]

    def details(self, task: LanguageModel, valid: TextDataset, sums: Mapping[str, Tensor]) -> dict[str, Any]:
        return {"token_losses": _token_losses(task, valid)}


def _codec(dataset: TextDataset, options: FitOptions) -> TextCodec:
    """A vocabulary for a text: of characters from all of it, of words and bpe from a part where it is not held."""
    level = options.level or "characters"
    if level == "characters":
        with watch("counting", dataset.characters / 1e6, "million characters") as seen:
            counts = count_characters(dataset.pieces(), seen=seen)
        # a symbol seen once in a large alphabet cannot be learnt: it lends its one count to the unknown one
        minimum = 2 if np.count_nonzero(counts) > MANY_SYMBOLS else 1
        codec = TextCodec.of_counts(counts, options.vocabulary, minimum, normalise=options.normalise)
    else:
        size, minimum = (20_000, 2) if level == "words" else (4_000, 1)
        texts = spread(dataset, LEARNT[level]).pieces()
        size = options.vocabulary or size
        codec = TextCodec.learn(texts, level, size=size, minimum=minimum, normalise=options.normalise)
    if codec.size < 2:
        raise DataError(
            f"{dataset.name} has no {level} that come twice, so there is nothing to learn",
            fix="Give more text, or take --level characters",
        )
    return codec


def _model(dataset: TextDataset, options: FitOptions, codec: TextCodec) -> tuple[LanguageModel, Recipe]:
    many = codec.size > MANY_SYMBOLS
    chosen = options.minutes is not None or options.epochs is not None
    minutes, epochs = (options.minutes, options.epochs) if chosen else (MINUTES, EPOCHS)
    passes = _passes(dataset.characters, minutes, epochs, many)
    hidden, rows, steps, dropout, weight_drop = _language_size(dataset.characters, passes)
    if many:
        # the head over a large vocabulary is most of the work: small steps make more of it
        rows, steps = min(rows, 16), min(steps, 64)
    dropout = dropout if options.dropout is None else options.dropout
    config = LanguageModelConfig.from_user(
        stack=stack_config(options, hidden=hidden, dropout=dropout, weight_drop=weight_drop),
        vocabulary=codec.size,
        embedding=256 if many else 128,
        tied=many,
        dropout_outputs=dropout,
    )
    recipe = recipe_of(options, minutes=minutes, epochs=epochs, rate=4e-3, rows=rows, steps=steps)
    return that_fits(lambda: LanguageModel(config, codec)), recipe


def _passes(characters: int, minutes: float | None, epochs: int | None, many: bool) -> float:
    """About how often a run reads its text. A head over many symbols makes each character several times as dear."""
    there = math.inf if minutes is None else minutes * PER_MINUTE / (4 if many else 1) / max(1, characters)
    return min(there, math.inf if epochs is None else epochs)


def _language_size(characters: int, passes: float) -> tuple[int, int, int, float, float]:
    """(hidden, rows, steps, dropout, weight drop) for a text that is read so often.

    A short one needs many small steps, and drops more against rote. Who has the time to read a long one often can give it
    to a wider network, which has to be kept from learning the text by heart.
    """
    if characters < 50_000:
        return 128, 8, 64, 0.3, 0.0
    if characters < 400_000:
        return 256, 16, 64, 0.2, 0.0
    if passes < 6:
        return 512, 32, 128, 0.1, 0.0
    return (512, 32, 128, 0.3, 0.3) if passes < 30 else (768, 32, 128, 0.4, 0.4)


def _token_losses(task: LanguageModel, dataset: TextDataset, count: int = 400) -> dict[str, list[Any]]:
    """The loss of each of the first tokens of a text, for the report."""
    ids = task.ids(dataset)[: count + 1]
    if len(ids) < 2:
        raise UsageError("A text of one token has no next token", got=dataset.name)
    with torch.no_grad():
        logits, _ = task(ids[None, :-1])
    losses = torch.nn.functional.cross_entropy(logits[0], ids[1:], reduction="none")
    return {"tokens": [task.codec.token(token) for token in ids[1:].tolist()], "losses": losses.tolist()}
