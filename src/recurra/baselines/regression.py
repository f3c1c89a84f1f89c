"""The baselines of a regressor: the mean of the training data, and ridge regression on the whole sequence or on its words.

Arrays and texts come in, numbers go out; no files, no networks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from recurra.baselines.linear_series import MOST_FEATURES, flatten
from recurra.baselines.results import BaselineResult
from recurra.errors import DataError

if TYPE_CHECKING:
    from recurra.data.datasets import RegressionDataset

STRENGTHS = tuple(10.0**power for power in range(-3, 5))
MOST_ROWS = 5_000  # rows that the linear model learns from
MOST_WORDS = 2_000
Predicted = tuple[dict[str, np.ndarray], str]


def regression_baselines(
    train: RegressionDataset, valid: RegressionDataset, test: RegressionDataset | None = None
) -> dict[str, list[BaselineResult]]:
    """The mean and a linear model, learnt on `train`, measured on the other sets by `mse`, `mae` and `r2`.

    `valid` also chooses how strongly the linear model is held back. Raises `DataError` where a set has no numbers.
    """
    sets = {"valid": valid} if test is None else {"valid": valid, "test": test}
    targets = _numbers(train)
    truths = {split: _numbers(dataset) for split, dataset in sets.items()}
    mean = targets.mean(axis=0)

    def always_mean() -> Predicted:
        return {
            split: np.tile(mean, (len(truth), 1)) for split, truth in truths.items()
        }, "the mean of the training data"

    def linear() -> Predicted:
        inputs = {split: dataset.inputs for split, dataset in sets.items()}
        tables, detail = _tables(train.inputs[:MOST_ROWS], inputs)
        weights, strength = _ridge(tables.pop("train"), targets[:MOST_ROWS], tables["valid"], truths["valid"])
        return {
            split: table @ weights[:-1] + weights[-1] for split, table in tables.items()
        }, f"{detail}, strength {strength:g}"

    results: dict[str, list[BaselineResult]] = {split: [] for split in sets}
    models: dict[str, Callable[[], Predicted]] = {"mean": always_mean, "linear model": linear}
    for name, predict in models.items():
        started = time.perf_counter()
        predictions, detail = predict()
        seconds = time.perf_counter() - started
        for split, truth in truths.items():
            results[split].append(BaselineResult(name, measures(predictions[split], truth), seconds, detail))
    return results


def measures(predicted: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """`mse` and `mae` over all of [N, K], and `r2`, the mean over the K of the share of the variance explained."""
    wrong = predicted - truth
    spread = ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)
    explained = np.where(spread > 0, 1 - (wrong**2).sum(axis=0) / np.where(spread > 0, spread, 1), 0.0)
    return {"mse": float((wrong**2).mean()), "mae": float(np.abs(wrong).mean()), "r2": float(explained.mean())}


def _numbers(dataset: RegressionDataset) -> np.ndarray:
    if not dataset.targets:
        raise DataError(f"{dataset.name} has no numbers", expected="a number for each row")
    return np.array(dataset.targets, dtype=np.float64)


def _tables(train: Sequence[Any], others: Mapping[str, Sequence[Any]]) -> tuple[dict[str, np.ndarray], str]:
    """(standardised features [N, P] of each set, how they were made)."""
    if isinstance(train[0], str):
        from sklearn.feature_extraction.text import TfidfVectorizer

        made = TfidfVectorizer(token_pattern=r"(?u)\w", max_features=MOST_WORDS, ngram_range=(1, 2), analyzer="word")
        if any(" " in text for text in train):
            made.set_params(token_pattern=r"(?u)\b\w+\b")
        fitted = made.fit(train)
        found = {name: fitted.transform(texts).toarray() for name, texts in {"train": train, **others}.items()}  # pyright: ignore[reportAttributeAccessIssue]
        return found, "ridge regression on words"
    longest, channels = max(map(len, train)), train[0].shape[1]
    steps = max(1, min(longest, MOST_FEATURES // channels))
    found = {name: flatten(rows, channels, longest, steps) for name, rows in {"train": train, **others}.items()}
    centre, spread = found["train"].mean(axis=0), found["train"].std(axis=0)
    spread[spread < 1e-6] = 1
    return {name: ((table - centre) / spread).astype(np.float64) for name, table in found.items()}, (
        "ridge regression on the flattened sequence"
    )


def _ridge(table: np.ndarray, targets: np.ndarray, valid: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, float]:
    """(weights [P + 1, K], the last of them the bias; the strength that does best on the validation set)."""
    centre, mean = table.mean(axis=0), targets.mean(axis=0)
    left, values, right = np.linalg.svd(table - centre, full_matrices=False)
    projected = left.T @ (targets - mean)
    best: tuple[float, np.ndarray, float] | None = None
    for strength in STRENGTHS:
        shrunk = (values / (values**2 + strength))[:, None] * projected
        weights = right.T @ shrunk
        weights = np.vstack([weights, mean - centre @ weights])
        error = float(((valid @ weights[:-1] + weights[-1] - truth) ** 2).mean()) if len(truth) else strength
        if best is None or error < best[0]:
            best = error, weights, strength
    assert best is not None
    return best[1], best[2]
