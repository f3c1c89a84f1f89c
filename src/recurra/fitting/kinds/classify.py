"""Classification: one answer for a whole sequence, of text or of numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from recurra.baselines import BaselineResult, classification_baselines
from recurra.data.checking import Problem, unseen_labels
from recurra.data.codecs import LabelCodec, SeriesCodec
from recurra.data.datasets import LabelledDataset
from recurra.data.facts import unit_of
from recurra.data.letters import Letters
from recurra.data.text_codec import TextCodec
from recurra.data.writing import default_level
from recurra.errors import DataError, UsageError
from recurra.fitting.kinds.drawn import examples
from recurra.fitting.kinds.kind import Kind, recipe_of, stack_config, that_fits, usual_space
from recurra.fitting.kinds.series import readable, reading_of, recipe_for, refuse_numbers, space_of_numbers, unreadable
from recurra.fitting.kinds.space import Between, OneOf, Span
from recurra.fitting.ngrams import LONGEST, MOST_CLASSES, accuracy_alone, fit_ngrams, lines_for, weigh
from recurra.fitting.options import FitOptions
from recurra.fitting.splits import every_nth, split_rows
from recurra.models import Classifier, ClassifierConfig, ClassifierEnsemble, ClassifierEnsembleConfig, NGramsConfig
from recurra.training import Recipe

SMALL = 2000
CONSISTENCY = 1.0
"""How much two readings of a text with other dropout are to agree; of few texts less is learnt that way in the same steps."""


AnyClassifier = Classifier | ClassifierEnsemble


class Classify(Kind[LabelledDataset, AnyClassifier]):
    name = "classify"
    shown = ("accuracy", "macro_f1", "loss")

    def split(self, dataset: LabelledDataset, seed: int) -> tuple[LabelledDataset, LabelledDataset]:
        return split_rows(dataset, seed)

    def problems(self, train: LabelledDataset, other: LabelledDataset) -> list[Problem]:
        return unseen_labels(other, set(train.labels or ()), train.name, unit_of(other.name))

    def unanswerable(self, task: AnyClassifier, dataset: LabelledDataset) -> list[Problem]:
        return [
            *unseen_labels(dataset, set(task.labels.labels), "the model", unit_of(dataset.name)),
            *unreadable(task, dataset),
        ]

    def part(self, dataset: LabelledDataset) -> LabelledDataset:
        return every_nth(dataset)

    def build(
        self, dataset: LabelledDataset, options: FitOptions, twin_of: AnyClassifier | None = None
    ) -> tuple[AnyClassifier, Recipe]:
        if dataset.labels is None:
            raise DataError(f"{dataset.name} has no labels", expected="a label for each row")
        labels = LabelCodec.learn(dataset.labels)
        if dataset.numeric:
            return _of_numbers(dataset, labels, options)
        # the twin is a network without a memory and with nothing beside it
        return _of_texts(dataset, labels, options if twin_of is None else options.model_copy(update={"ngrams": False}))

    def finish(self, task: AnyClassifier, valid: LabelledDataset) -> bool:
        return isinstance(task, Classifier) and weigh(task, valid)

    def notes(self, task: AnyClassifier, dataset: LabelledDataset, sums: Mapping[str, Tensor]) -> list[str]:
        if not isinstance(task, Classifier) or task.ngrams is None:
            return []
        both = task.metrics(sums)["accuracy"]
        alone = f"{accuracy_alone(task, dataset):.1%}"
        return [f"Accuracy of the network without the n-grams beside it: {alone} ({both:.1%} with them)."]

    def baselines(
        self, task: AnyClassifier, training: LabelledDataset, splits: Mapping[str, LabelledDataset]
    ) -> Mapping[str, list[BaselineResult]]:
        return classification_baselines(training, splits["valid"], splits.get("test"))

    def space(self, dataset: LabelledDataset, task: AnyClassifier, recipe: Recipe) -> tuple[Span, ...]:
        if dataset.numeric:
            return (*usual_space(task, recipe), *space_of_numbers(task, pictures=dataset.pictures))
        return (
            *usual_space(task, recipe),
            OneOf("summary", ("last", "max", "attention", "all")),
            OneOf("consistency", (0.0, CONSISTENCY)),
            Between("weight_drop", 0.0, 0.5),
            OneOf("level", ("characters", "words", "bpe")),
        )

    def codecs(self, task: AnyClassifier) -> dict[str, TextCodec]:
        return {"text": task.codec} if isinstance(task.codec, TextCodec) else {}

    def next_commands(self, task: AnyClassifier, where: str) -> list[str]:
        example = "FILE" if isinstance(task.codec, SeriesCodec) else '"..."'
        return [f"recurra predict {where} {example}", f"recurra evaluate {where} FILE"]

    def details(self, task: AnyClassifier, valid: LabelledDataset, sums: Mapping[str, Tensor]) -> dict[str, Any]:
        confusion = {"labels": list(task.labels.labels), "matrix": sums["confusion"].tolist()}
        return {"confusion": confusion, **examples(task, valid)}


def _of_numbers(dataset: LabelledDataset, labels: LabelCodec, options: FitOptions) -> tuple[AnyClassifier, Recipe]:
    arrays = [row for row in dataset.inputs if not isinstance(row, str)]
    reading = reading_of(arrays, options, pictures=dataset.pictures, long=dataset.long)
    config = ClassifierConfig.from_user(
        classes=len(labels),
        class_weights=_weights(dataset, labels, options),
        consistency=options.consistency or 0.0,
        **reading.settings,
    )
    recipe = recipe_for(reading, len(dataset), options)
    if reading.several is None:
        return readable(that_fits(lambda: Classifier(config, labels, reading.codec)), dataset), recipe
    several = ClassifierEnsembleConfig.from_user(member=config, **reading.several)
    task = that_fits(lambda: ClassifierEnsemble(several, lambda: Classifier(config, labels, reading.codec)))
    readable(task, dataset).learn(dataset)
    return task, recipe


def _of_texts(dataset: LabelledDataset, labels: LabelCodec, options: FitOptions) -> tuple[AnyClassifier, Recipe]:
    refuse_numbers(options)
    several = options.members is not None and options.members > 1
    if several and options.ngrams:
        raise UsageError(
            "--ngrams stand beside a single network", got=f"--members {options.members}", fix="Leave one out"
        )
    texts = [row for row in dataset.inputs if isinstance(row, str)]
    shared = {
        "classes": len(labels),
        "summary": options.summary or "last",
        "class_weights": _weights(dataset, labels, options),
    }
    dropout = 0.5 if options.dropout is None else options.dropout
    letters: Letters | None = None
    small = len(dataset) < SMALL
    usual = 0.0 if small else CONSISTENCY
    level = options.level or default_level(texts)
    codec = TextCodec.learn(
        texts, level, size=options.vocabulary, minimum=2, lowercase=level == "words", normalise=options.normalise
    )
    if level == "words":
        letters = Letters.learn({word for text in texts for word in codec.words_of(text)})
    config = ClassifierConfig.from_user(
        **shared,
        stack=stack_config(options, hidden=128, dropout=dropout),
        vocabulary=codec.size,
        embedding=128,
        letters=None if letters is None else len(letters.parts),
        consistency=usual if options.consistency is None else options.consistency,
        dropout_tokens=0.1,
        dropout_inputs=dropout,
        dropout_outputs=dropout,
        ngrams=None if several else _ngrams(texts, codec, len(labels), options),
    )
    # small data needs many passes: some 2,000 steps in all, in batches small enough to leave that many
    rows = options.rows or (16 if small else 32)
    epochs = options.epochs
    if epochs is None and options.minutes is None:
        epochs = max(8, min(40, round(2000 * rows / len(dataset))))
    recipe = recipe_of(
        options,
        minutes=options.minutes,
        epochs=epochs,
        rate=4e-3 if small else 2e-3,
        rows=rows,
        weight_decay=0.05,
    )
    if several:
        many = ClassifierEnsembleConfig.from_user(member=config, members=options.members)
        return that_fits(lambda: ClassifierEnsemble(many, lambda: Classifier(config, labels, codec, letters))), recipe
    task = that_fits(lambda: Classifier(config, labels, codec, letters))
    if task.ngrams is not None:
        fit_ngrams(task, dataset)
    return task, recipe


def _ngrams(texts: list[str], codec: TextCodec, classes: int, options: FitOptions) -> NGramsConfig | None:
    """The n-grams beside the network, of few texts none: there what matters is what it makes of their order."""
    usual = len(texts) >= SMALL and classes <= MOST_CLASSES and options.class_weights == "none"
    if not (usual if options.ngrams is None else options.ngrams):
        return None
    return NGramsConfig(longest=LONGEST[codec.level], lines=lines_for(sum(map(len, codec.encode_many(texts))), classes))


def _weights(dataset: LabelledDataset, labels: LabelCodec, options: FitOptions) -> tuple[float, ...] | None:
    """Weights under which each class counts the same in all, and a row counts one on average; None where none are wanted."""
    if options.class_weights != "balanced" or dataset.labels is None:
        return None
    counts = Counter(dataset.labels)
    return tuple(len(dataset.labels) / (len(labels) * counts[label]) for label in labels.labels)
