"""Runs the classification baselines on datasets and measures them. The models themselves live in their own
files.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from recurra.baselines.linear import linear_predictions
from recurra.baselines.majority import majority_class
from recurra.baselines.results import BaselineResult
from recurra.baselines.shapes import convolved_predictions, nearest_predictions
from recurra.data.measures import accuracy_and_f1
from recurra.errors import DataError

if TYPE_CHECKING:
    from recurra.data.datasets import LabelledDataset

Predictions = tuple[dict[str, list[str]], str]


def classification_baselines(
    train: LabelledDataset, valid: LabelledDataset, test: LabelledDataset | None = None
) -> dict[str, list[BaselineResult]]:
    """Train the majority class and a linear model on `train` and measure them on the other sets; of numeric sequences also
    the nearest neighbour and, where there are not too many, ridge regression on random convolutions.

    Returns one list of results under "valid" and, where a test set is given, one under "test". `valid` also
    chooses the strength of the linear model's regularisation; a set without rows gets an empty list. Metrics
    are `accuracy` and `macro_f1`. Labels that only an evaluation set has count as mistakes. Raises DataError
    where `train` has no rows or a set has no labels.
    """
    sets = {"valid": valid} if test is None else {"valid": valid, "test": test}
    train_labels = _labels(train, "train")
    if not train_labels:
        raise DataError("The training data has no rows", fix="Give at least one labelled row")
    truths = {split: _labels(dataset, split) for split, dataset in sets.items()}
    inputs = {split: dataset.inputs for split, dataset in sets.items()}

    def majority() -> Predictions:
        label = majority_class(train_labels)
        return {split: [label] * len(truth) for split, truth in truths.items()}, f"always {label!r}"

    def linear() -> Predictions:
        return linear_predictions(train.inputs, train_labels, inputs, truths["valid"])

    results: dict[str, list[BaselineResult]] = {split: [] for split in sets}
    models: dict[str, Callable[[], Predictions | None]] = {"majority class": majority, "linear model": linear}
    if train.numeric:
        models |= _of_shapes(train, train_labels, inputs)
    for name, predict in models.items():
        started = time.perf_counter()
        predicted = predict()
        if predicted is None:
            continue
        predictions, detail = predicted
        seconds = time.perf_counter() - started
        for split, truth in truths.items():
            if truth:
                metrics = accuracy_and_f1(_confusion(truth, predictions[split]))
                results[split].append(BaselineResult(name, metrics, seconds, detail))
    return results


def _of_shapes(
    train: LabelledDataset, labels: list[str], inputs: Mapping[str, Any]
) -> dict[str, Callable[[], Predictions | None]]:
    """What is for numeric sequences alone."""
    classes = sorted(set(labels))
    number = {label: place for place, label in enumerate(classes)}
    targets = np.array([number[label] for label in labels])
    rows: Any = train.inputs

    def named(found: tuple[dict[str, np.ndarray], str] | None) -> Predictions | None:
        if found is None:
            return None
        numbers, detail = found
        return {split: [classes[place] for place in places] for split, places in numbers.items()}, detail

    return {
        "nearest neighbour": lambda: named(nearest_predictions(rows, targets, inputs)),
        "random convolutions": lambda: named(convolved_predictions(rows, targets, len(classes), inputs)),
    }


def _labels(dataset: LabelledDataset, split: str) -> list[str]:
    if dataset.labels is None:
        raise DataError(f"The {split} data {dataset.name!r} has no labels", expected="a label for each row")
    return dataset.labels


def _confusion(truth: Sequence[str], predicted: Sequence[str]) -> np.ndarray:
    labels = {label: index for index, label in enumerate(sorted({*truth, *predicted}))}
    confusion = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(confusion, ([labels[label] for label in truth], [labels[label] for label in predicted]), 1)
    return confusion
