"""Runs the baselines of tagging on datasets and measures them: each word's usual tag, and a perceptron."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from recurra.baselines.linear import linear_predictions
from recurra.baselines.perceptron import PASSES, Perceptron
from recurra.baselines.results import BaselineResult
from recurra.data.spans import count_spans, scheme_of, span_scores
from recurra.data.token_codec import plain
from recurra.errors import DataError

if TYPE_CHECKING:
    from recurra.data.datasets import TaggedDataset

Rows = list[list[str]]


def tagging_baselines(train: TaggedDataset, splits: Mapping[str, TaggedDataset]) -> dict[str, list[BaselineResult]]:
    """Learn the baselines from `train` and measure them on each of `splits`, of which one is "valid".

    Metrics are `f1`, `precision`, `recall` of spans and `accuracy` of tags; where sentences have labels, a linear model adds
    their `label_accuracy`. Raises `DataError` for a set without tags.
    """
    tokens = {split: _tokens(dataset) for split, dataset in splits.items()}
    truth = {split: _tags(dataset) for split, dataset in splits.items()}
    learnt, tags = _tokens(train), _tags(train)
    scheme = scheme_of(tags)
    labels = _label_accuracy(train, splits)
    results: dict[str, list[BaselineResult]] = {split: [] for split in splits}
    for name, detail in (
        ("usual tag", "each word's most frequent tag"),
        ("perceptron", f"words around, {PASSES} passes"),
    ):
        started = time.perf_counter()
        if name == "usual tag":
            usual = _usual(learnt, tags)
            found = {split: [[usual[plain(token)] for token in row] for row in rows] for split, rows in tokens.items()}
        else:
            perceptron = Perceptron(learnt, tags)
            found = {split: perceptron.predict(rows) for split, rows in tokens.items()}
        seconds = time.perf_counter() - started
        for split, answers in found.items():
            metrics = _measured(truth[split], answers, scheme)
            if name == "perceptron" and labels is not None:
                metrics["label_accuracy"] = labels[split]
            results[split].append(BaselineResult(name, metrics, seconds, detail))
    return results


def _usual(tokens: Rows, tags: Rows) -> defaultdict[str, str]:
    """The most frequent tag of each word, and of all words for others."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row, answers in zip(tokens, tags, strict=True):
        for token, tag in zip(row, answers, strict=True):
            counts[plain(token)][tag] += 1
    (commonest, _), *_ = sum(counts.values(), Counter()).most_common(1)
    usual = {word: found.most_common(1)[0][0] for word, found in counts.items()}
    return defaultdict(lambda: commonest, usual)


def _measured(truth: Sequence[Sequence[str]], answers: Sequence[Sequence[str]], scheme: str) -> dict[str, float]:
    pairs = [pair for one, other in zip(truth, answers, strict=True) for pair in zip(one, other, strict=True)]
    right = sum(one == other for one, other in pairs)
    return {**span_scores(count_spans(truth, answers, scheme)), "accuracy": right / max(1, len(pairs))}


def _label_accuracy(train: TaggedDataset, splits: Mapping[str, TaggedDataset]) -> dict[str, float] | None:
    """How often a linear model of the words tells the label of a sentence, where there are labels everywhere."""
    if train.labels is None or any(dataset.labels is None for dataset in splits.values()):
        return None
    texts = {split: [" ".join(row) for row in _tokens(dataset)] for split, dataset in splits.items()}
    wanted = {split: dataset.labels or [] for split, dataset in splits.items()}
    found, _ = linear_predictions([" ".join(row) for row in _tokens(train)], train.labels, texts, wanted["valid"])
    return {
        split: sum(one == other for one, other in zip(found[split], rows, strict=True)) / max(1, len(rows))
        for split, rows in wanted.items()
    }


def _tokens(dataset: TaggedDataset) -> Rows:
    return [row.split() if isinstance(row, str) else row for row in dataset.tokens]


def _tags(dataset: TaggedDataset) -> Rows:
    if dataset.tags is None:
        raise DataError(f"{dataset.name} has no tags", expected="a tag for each token")
    return dataset.tags
