"""A linear classifier on whole numeric sequences: every value at every step is a feature of its own.

Sequences are padded to the longest of the training data, standardised, and given their length as one more
feature; the model is multinomial logistic regression. Knows no files or labels: arrays [T, F] and class
numbers come in, class numbers go out.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recurra.baselines.sampling import sample_rows

STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)  # inverse regularisation: small is strong
MIDDLE = 0.1  # where there is no validation set to choose on
MOST_FEATURES = 4096  # longer sequences are averaged over equal spans
CHOOSING_WORK = 20_000_000  # rows x features x classes of one fit, about one second
FINAL_WORK = 200_000_000
MOST_STEPS = 200  # of the solver


def series_predictions(
    train: Sequence[np.ndarray],
    targets: np.ndarray,
    classes: int,
    evaluations: Mapping[str, Sequence[np.ndarray]],
    valid_targets: np.ndarray,
) -> tuple[dict[str, np.ndarray], str]:
    """Train on arrays [T, F] and their class numbers `targets` [rows]; predict class numbers for each
    evaluation set.

    `valid_targets` are those of `evaluations["valid"]`, -1 for a class that `train` does not have. Returns
    the predictions by set, and a line on what was chosen.
    """
    longest = max(len(sequence) for sequence in train)
    channels = train[0].shape[1]
    steps = max(1, min(longest, MOST_FEATURES // channels))
    cost = (steps * channels + 1) * classes
    final = sample_rows(targets, max(1, FINAL_WORK // cost))
    choosing = final[sample_rows(targets[final], max(1, CHOOSING_WORK // cost))]

    raw = flatten([train[row] for row in final], channels, longest, steps)
    centre, spread = raw.mean(axis=0), raw.std(axis=0)
    spread[spread < 1e-6] = 1  # a constant feature, such as padding, stays zero

    def standard(flat: np.ndarray) -> np.ndarray:
        flat -= centre
        flat /= spread
        return flat

    features = standard(raw)
    tables = {split: standard(flatten(sequences, channels, longest, steps)) for split, sequences in evaluations.items()}

    model, best, chosen = None, (-1, 0.0), MIDDLE
    positions = np.searchsorted(final, choosing)
    for strength in STRENGTHS if len(valid_targets) else (MIDDLE,):
        candidate = _fit(features[positions], targets[choosing], strength)
        score = _score(candidate, tables["valid"], valid_targets)
        if score > best:
            model, best, chosen = candidate, score, strength
    if len(choosing) < len(final):
        model = _fit(features, targets[final], chosen)
    detail = f"logistic regression on the flattened sequence, strength {chosen:g}"
    if steps < longest:
        detail += f", averaged to {steps} steps"
    if len(final) < len(targets):
        detail += f", trained on {len(final):,} of {len(targets):,} rows"
    return {split: _predict(model, table) for split, table in tables.items()}, detail


def flatten(sequences: Sequence[np.ndarray], channels: int, longest: int, steps: int) -> np.ndarray:
    """Return float32 [rows, steps x channels + 1]: each sequence cut or zero-padded to `longest` steps,
    averaged down to `steps`, and last the length as a share of `longest`. Values that are not finite count as
    zero.
    """
    flat = np.zeros((len(sequences), steps * channels + 1), dtype=np.float32)
    starts = np.arange(steps) * longest // steps
    spans = np.diff(starts, append=longest)[:, None]
    for row, sequence in enumerate(sequences):
        padded = np.zeros((longest, channels), dtype=np.float32)
        padded[: len(sequence)] = np.nan_to_num(sequence[:longest], nan=0.0, posinf=0.0, neginf=0.0)
        flat[row, :-1] = (np.add.reduceat(padded, starts, axis=0) / spans).ravel() if longest else 0
        flat[row, -1] = len(sequence) / max(1, longest)
    return flat


def _fit(features: np.ndarray, targets: np.ndarray, strength: float) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=strength, tol=1e-3, max_iter=MOST_STEPS)
    with warnings.catch_warnings():
        # The limit on steps bounds the time; a fit that meets it is only a little more regularised.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(features, targets)


def _score(model: Any, table: np.ndarray, targets: np.ndarray) -> tuple[int, float]:
    """How many rows are right; of equally right models the one that gives the truth more probability is
    better.
    """
    if not len(table):
        return 0, 0.0
    probabilities = model.predict_proba(table)
    known = np.flatnonzero(targets >= 0)
    likelihood = np.log(np.maximum(probabilities[known, targets[known]], 1e-300)).sum()
    return int((probabilities.argmax(axis=1) == targets).sum()), float(likelihood)


def _predict(model: Any, table: np.ndarray) -> np.ndarray:
    return model.predict(table) if len(table) else np.zeros(0, dtype=np.int64)
