"""Tagging: a label for each token of a sentence, and by choice one for the sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from recurra.baselines import BaselineResult, tagging_baselines
from recurra.data.checking import Problem
from recurra.data.codecs import LabelCodec
from recurra.data.datasets import TaggedDataset
from recurra.data.spans import scheme_of, spans_of
from recurra.data.tagged import unknown, unknown_to
from recurra.data.token_codec import TokenCodec
from recurra.errors import DataError, UsageError
from recurra.fitting.kinds.kind import Kind, recipe_of, stack_config, that_fits
from recurra.fitting.options import FitOptions
from recurra.fitting.splits import every_nth, split_rows
from recurra.models import Tagger, TaggerCodecs, TaggerConfig
from recurra.training import Recipe

MANY_TAGS = 300
"""From so many on a table of all moves is too much to learn and to compute."""
STEPS = 6_000
LOOKED_AT, SHOWN = 200, 12
"""Validation sentences that examples for the report are chosen from, and how many."""


class Tag(Kind[TaggedDataset, Tagger]):
    name = "tag"
    shown = ("f1", "precision", "recall", "accuracy", "label_accuracy")

    def split(self, dataset: TaggedDataset, seed: int) -> tuple[TaggedDataset, TaggedDataset]:
        return split_rows(dataset, seed)

    def problems(self, train: TaggedDataset, other: TaggedDataset) -> list[Problem]:
        return unknown(train, other)

    def notes(self, task: Tagger, dataset: TaggedDataset, sums: Mapping[str, Any]) -> list[str]:
        labels = () if task.codecs.labels is None else task.codecs.labels.labels
        return [problem.message for problem in unknown_to(task.codecs.tags.labels, labels, dataset)]

    def part(self, dataset: TaggedDataset) -> TaggedDataset:
        return every_nth(dataset)

    def build(
        self, dataset: TaggedDataset, options: FitOptions, twin_of: Tagger | None = None
    ) -> tuple[Tagger, Recipe]:
        given = {"--level bpe": options.level == "bpe", "--summary": options.summary, "--normalise": options.normalise}
        refused = [option for option, value in given.items() if value]
        if refused:
            are = "is" if len(refused) == 1 else "are"
            raise UsageError(f"{' and '.join(refused)} {are} not for taggers", fix="Leave it out")
        if dataset.tags is None:
            raise DataError(f"{dataset.name} has no tags", expected="a tag for each token")
        dropout = 0.5 if options.dropout is None else options.dropout
        stack = stack_config(options, hidden=256, dropout=dropout, bidirectional=True)
        tokens = TokenCodec.learn(
            dataset.tokens, options.level, size=options.vocabulary, neighbours=stack.bidirectional
        )
        tags = LabelCodec.learn(tag for row in dataset.tags for tag in row)
        labels = None if dataset.labels is None else LabelCodec.learn(dataset.labels)
        codecs = TaggerCodecs(tokens, tags, scheme_of(dataset.tags), labels)
        config = TaggerConfig.from_user(
            stack=stack,
            tags=len(tags),
            labels=0 if labels is None else len(labels),
            level=tokens.level,
            words=len(tokens.words),
            parts=len(tokens.parts),
            once=tokens.once,
            width=tokens.width,
            decoder="crf" if len(tags) < MANY_TAGS else "softmax",
            dropout_words=0.5,
            dropout_inputs=dropout,
            dropout_outputs=dropout,
        )
        rows = options.rows or 16
        epochs = options.epochs
        if epochs is None and options.minutes is None:
            epochs = max(8, min(60, round(STEPS * rows / len(dataset))))
        recipe = recipe_of(
            options,
            minutes=options.minutes,
            epochs=epochs,
            rate=2e-3,
            rows=rows,
            weight_decay=0.05,
            average=0.999,
        )
        return that_fits(lambda: Tagger(config, codecs)), recipe

    def baselines(
        self, task: Tagger, training: TaggedDataset, splits: Mapping[str, TaggedDataset]
    ) -> Mapping[str, list[BaselineResult]]:
        return tagging_baselines(training, splits)

    def next_commands(self, task: Tagger, where: str) -> list[str]:
        return [f'recurra predict {where} "..."', f"recurra evaluate {where} FILE"]

    def details(self, task: Tagger, valid: TaggedDataset, sums: Mapping[str, Tensor]) -> dict[str, Any]:
        found: dict[str, Any] = {"types": {kind: list(counts) for kind, counts in task.by_type(sums).items()}}
        found["tagged"] = _examples(task, valid)
        if "confusion" in sums and task.codecs.labels is not None:
            found["confusion"] = {"labels": list(task.codecs.labels.labels), "matrix": sums["confusion"].tolist()}
        return found


def _examples(task: Tagger, dataset: TaggedDataset) -> list[dict[str, Any]]:
    """Some sentences with their true and their answered spans: half of them read wrongly, if so many are."""
    if dataset.tags is None:
        return []
    scheme = task.codecs.scheme
    places = range(0, len(dataset), max(1, len(dataset) // LOOKED_AT))
    answers = task.predict([dataset.tokens[place] for place in places])
    wrong: list[dict[str, Any]] = []
    right: list[dict[str, Any]] = []
    for place, answer in zip(places, answers, strict=True):
        truth, given = (
            [[span.type, span.start, span.end] for span in spans_of(tags, scheme)]
            for tags in (dataset.tags[place], answer["tags"])
        )
        if truth or given:
            entry = {"tokens": answer["tokens"], "truth": truth, "answer": given}
            (right if truth == given else wrong).append(entry)
    half = SHOWN // 2
    chosen = wrong[: max(half, SHOWN - len(right))]
    return [*chosen, *right[: SHOWN - len(chosen)]]
