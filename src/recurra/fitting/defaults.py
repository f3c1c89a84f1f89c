"""Defaults: a model and a recipe from the data and the options. The reasons for the numbers are in docs/log.md."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch

from recurra.data.codecs import LabelCodec, SeriesCodec
from recurra.data.datasets import LabelledDataset, TextDataset
from recurra.data.text_codec import TextCodec, count_characters
from recurra.data.writing import default_level
from recurra.errors import DataError, UsageError
from recurra.fitting.options import FitOptions
from recurra.fitting.splits import spread
from recurra.layers import StackConfig
from recurra.models import Classifier, ClassifierConfig, LanguageModel, LanguageModelConfig, Task
from recurra.progress import watch
from recurra.training import Recipe, local_rank

Model = TypeVar("Model", bound=Task)

MINUTES = 10.0
EPOCHS = 40
MANY_SYMBOLS = 1000
SMALL = 2000
# characters of a text that is not held from which its vocabulary is learnt; pairs of bytes take some hundred bytes each
LEARNT = {"words": 64_000_000, "bpe": 4_000_000}


def build(
    dataset: TextDataset | LabelledDataset, options: FitOptions, codec: TextCodec | None = None
) -> tuple[Task, Recipe]:
    """An untrained model for the training data, and how to train it; `codec` is one that was learnt from it before."""
    if isinstance(dataset, TextDataset):
        if options.bidirectional or options.summary:
            raise UsageError("--bidirectional and --summary are for classifiers", got="a language model")
        return _language(dataset, options, codec or _codec(dataset, options))
    return _classifier(dataset, options)


def chosen_device(name: str) -> torch.device:
    """The device that a person named; "auto" is a GPU where there is one. Raises `UsageError` for one that is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "cuda" and device.index is None:
            # processes on one machine take a GPU each
            device = torch.device("cuda", local_rank() % max(1, torch.cuda.device_count()))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"There is no device '{name}' to train on", got=str(error).split("\n")[0], expected="auto, cpu, cuda or mps"
        ) from error
    return device


def _stack(options: FitOptions, hidden: int, dropout: float) -> StackConfig:
    return StackConfig.from_user(
        cell=options.cell,
        hidden=options.hidden or hidden,
        layers=options.layers or 1,
        activation=options.activation,
        bidirectional=options.bidirectional,
        dropout=dropout,
        recompute=options.recompute,
    )


RATES = {"adamw": 1.0, "muon": 1.0, "sgd": 100.0}
"""How many times the rate of AdamW: plain steps are as long as the gradient, which is clipped to 1."""


def _recipe(options: FitOptions, **values: Any) -> Recipe:
    """The recipe with what was chosen by the person, and `values` for what was not."""
    chosen = {
        name: value
        for name in ("warmup", "weight_decay", "clip", "average", "patience", "rows", "steps")
        if (value := getattr(options, name)) is not None
    }
    shared = {
        name: getattr(options, name) for name in ("optimiser", "schedule", "accumulate", "precision", "compile", "seed")
    }
    rate = options.rate or values.pop("rate") * RATES[options.optimiser]
    return Recipe.from_user(**{**values, **shared, **chosen, "rate": rate})


def _codec(dataset: TextDataset, options: FitOptions) -> TextCodec:
    """A vocabulary for a text: of characters from all of it, of words and bpe from a part where it is not held."""
    level = options.level or "characters"
    if level == "characters":
        with watch("counting", dataset.characters / 1e6, "million characters") as seen:
            counts = count_characters(dataset.pieces(), seen=seen)
        # a symbol seen once in a large alphabet cannot be learnt: it lends its one count to the unknown one
        minimum = 2 if np.count_nonzero(counts) > MANY_SYMBOLS else 1
        codec = TextCodec.of_counts(counts, options.vocabulary, minimum)
    else:
        size, minimum = (20_000, 2) if level == "words" else (4_000, 1)
        texts = spread(dataset, LEARNT[level]).pieces()
        codec = TextCodec.learn(texts, level, size=options.vocabulary or size, minimum=minimum)
    if codec.size < 2:
        raise DataError(
            f"{dataset.name} has no {level} that come twice, so there is nothing to learn",
            fix="Give more text, or take --level characters",
        )
    return codec


def _language(dataset: TextDataset, options: FitOptions, codec: TextCodec) -> tuple[LanguageModel, Recipe]:
    many = codec.size > MANY_SYMBOLS
    hidden, rows, steps, dropout = _language_size(dataset.characters)
    if many:
        # the head over a large vocabulary is most of the work: small steps make more of it
        rows, steps = min(rows, 16), min(steps, 64)
    dropout = dropout if options.dropout is None else options.dropout
    config = LanguageModelConfig.from_user(
        stack=_stack(options, hidden=hidden, dropout=dropout),
        vocabulary=codec.size,
        embedding=256 if many else 128,
        tied=many,
        dropout_outputs=dropout,
    )
    chosen = options.minutes is not None or options.epochs is not None
    recipe = _recipe(
        options,
        minutes=options.minutes if chosen else MINUTES,
        epochs=options.epochs if chosen else EPOCHS,
        rate=4e-3,
        rows=rows,
        steps=steps,
    )
    return _that_fits(lambda: LanguageModel(config, codec)), recipe


def _language_size(characters: int) -> tuple[int, int, int, float]:
    """(hidden, rows, steps, dropout) for a text: a short one needs many small steps, and drops more against rote."""
    if characters < 50_000:
        return 128, 8, 64, 0.3
    if characters < 400_000:
        return 256, 16, 64, 0.2
    return 512, 32, 128, 0.1


def _classifier(dataset: LabelledDataset, options: FitOptions) -> tuple[Classifier, Recipe]:
    if dataset.labels is None:
        raise DataError(f"{dataset.name} has no labels", expected="a label for each row")
    labels = LabelCodec.learn(dataset.labels)
    texts = [row for row in dataset.inputs if isinstance(row, str)]
    arrays = [row for row in dataset.inputs if not isinstance(row, str)]
    shared = {"classes": len(labels), "summary": options.summary or "last"}
    dropout = 0.5 if options.dropout is None else options.dropout
    if texts:
        level = options.level or default_level(texts)
        codec = TextCodec.learn(texts, level, size=options.vocabulary, minimum=2, lowercase=level == "words")
        config = ClassifierConfig.from_user(
            **shared,
            stack=_stack(options, hidden=128, dropout=dropout),
            vocabulary=codec.size,
            embedding=128,
            dropout_tokens=0.1,
            dropout_inputs=dropout,
            dropout_outputs=dropout,
        )
    else:
        if options.level or options.vocabulary:
            raise UsageError("--level and --vocabulary are for text", got="numeric sequences")
        codec = SeriesCodec.learn(arrays)
        dropout = 0.2 if options.dropout is None else options.dropout
        config = ClassifierConfig.from_user(
            **shared,
            stack=_stack(options, hidden=128, dropout=dropout),
            features=codec.features,
            dropout_outputs=dropout,
        )
    # small data needs many passes: some 2,000 steps in all, in batches small enough to leave that many
    small = len(dataset) < SMALL
    rows = options.rows or (16 if small else 32)
    epochs = options.epochs
    if epochs is None and options.minutes is None:
        epochs = max(8, min(40, round(2000 * rows / len(dataset))))
    recipe = _recipe(
        options,
        minutes=options.minutes,
        epochs=epochs,
        rate=4e-3 if small else 2e-3,
        rows=rows,
        weight_decay=0.05,
    )
    return _that_fits(lambda: Classifier(config, labels, codec)), recipe


def _that_fits(make: Callable[[], Model]) -> Model:
    """What `make` makes, after it was made once on no memory at all and counted."""
    with torch.device("meta"):
        count = make().parameter_count
    needed = 4 * 4 * count  # the weights, their gradients and the two moments of AdamW
    there = _memory()
    if needed > there:
        raise UsageError(
            "The model does not fit into the memory of this machine",
            got=f"{count:,} parameters, {needed / 1e9:,.0f} GB in training",
            expected=f"at most {there / 1e9:,.0f} GB",
            fix="Take a smaller --hidden, or fewer --layers",
        )
    return make()


def _memory() -> float:
    """The bytes of memory that the machine has; infinite where it does not tell."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return float("inf")
