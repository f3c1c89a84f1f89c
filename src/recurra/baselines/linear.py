"""The linear baselines behind one function: texts go to `linear_text`, numeric sequences to `linear_series`.

Here are the shared parts: numbering the classes, and predictions as labels. The features, the models and the
choice of their strength are in the two files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np

from recurra.baselines.linear_series import series_predictions
from recurra.baselines.linear_text import text_predictions

MOST_CLASSES = 200  # rarer classes are never predicted: the cost grows with each class

Texts = Sequence[str]
Series = Sequence[np.ndarray]


def linear_predictions(
    train: Texts | Series,
    labels: Sequence[str],
    evaluations: Mapping[str, Texts | Series],
    valid_labels: Sequence[str],
) -> tuple[dict[str, list[str]], str]:
    """Train a linear classifier and predict a label for each row of each evaluation set.

    `evaluations` must have a set "valid", whose `valid_labels` choose the strength of the regularisation.
    Returns the predicted labels by set, and a line on what was chosen. Deterministic.
    """
    counts = Counter(labels)
    classes = sorted(sorted(counts, key=lambda label: (-counts[label], label))[:MOST_CLASSES])
    if len(classes) == 1:
        predictions = {split: classes * len(inputs) for split, inputs in evaluations.items()}
        return predictions, "a single class in train"

    number = {label: index for index, label in enumerate(classes)}
    rows = [row for row, label in enumerate(labels) if label in number]
    kept = [train[row] for row in rows]
    targets = np.array([number[labels[row]] for row in rows])
    # A label that train never saw is -1: no prediction can be right.
    valid_targets = np.array([number.get(label, -1) for label in valid_labels], dtype=np.int64)

    if isinstance(train[0], str):
        texts = {split: cast(Texts, inputs) for split, inputs in evaluations.items()}
        numbers, detail = text_predictions(cast(Texts, kept), targets, len(classes), texts, valid_targets)
    else:
        series = {split: cast(Series, inputs) for split, inputs in evaluations.items()}
        numbers, detail = series_predictions(cast(Series, kept), targets, len(classes), series, valid_targets)
    if len(counts) > len(classes):
        detail += f"; only the {MOST_CLASSES} most frequent of {len(counts)} classes"
    return {split: [classes[index] for index in indices] for split, indices in numbers.items()}, detail
