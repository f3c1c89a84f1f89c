"""A linear classifier on n-grams, each weighted by how much more often one class has it than the others.

The model is the naive-Bayes-weighted classifier of Wang and Manning (2012), one class against the rest, with
logistic regression. N-grams are of words, or of characters where words are not separated by spaces. Knows no
files or labels: texts and class numbers come in, class numbers go out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recurra.baselines.sampling import sample_rows

LONGEST = {"words": 2, "characters": 3}  # n-grams
STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0)  # inverse regularisation: small is strong
MIDDLE = 3.0  # where there is no validation set to choose on
LONGEST_TEXT = 10_000  # characters; the rest of a longer text is ignored
MOST_CHARACTERS = {"words": 20_000_000, "characters": 3_000_000}  # of training text, some 15 seconds
MOST_WORK = 40_000_000  # n-grams of all texts x classes x strengths, about 15 seconds of fitting
MOST_WEIGHTS = 20_000_000  # n-grams x classes, 160 MB for each of a handful of arrays

CHINESE_OR_JAPANESE = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
WORD = r"\w+|[^\w\s]"  # punctuation marks are words of their own
LONGEST_AVERAGE_WORD = 20  # letters; beyond it there are no spaces to speak of, as in Thai or DNA


def text_predictions(
    train: Sequence[str],
    targets: np.ndarray,
    classes: int,
    evaluations: Mapping[str, Sequence[str]],
    valid_targets: np.ndarray,
) -> tuple[dict[str, np.ndarray], str]:
    """Train on texts and their class numbers `targets` [rows]; predict class numbers for each evaluation set.

    `valid_targets` are those of `evaluations["valid"]`, -1 for a class that `train` does not have.
    Returns the predictions by set, and a line on what was chosen.
    """
    unit = ngram_unit(train)
    average = max(1, sum(min(len(text), LONGEST_TEXT) for text in train) // len(train))
    kept = sample_rows(targets, max(1, MOST_CHARACTERS[unit] // average))
    features, tables = _ngram_tables([str(train[row]) for row in kept], evaluations, unit, classes)
    kept_targets = targets[kept]
    if features is None:
        most = np.bincount(targets, minlength=classes).argmax()
        predictions = {split: np.full(len(texts), most) for split, texts in evaluations.items()}
        return predictions, "texts without any n-gram"

    work = features.nnz * classes * len(STRENGTHS)
    if work > MOST_WORK:
        rows = sample_rows(kept_targets, max(1, len(kept) * MOST_WORK // work))
        features, kept_targets = features[rows], kept_targets[rows]

    weights = class_weights(features, kept_targets, classes)
    best, best_right, chosen = None, -1, MIDDLE
    for strength in STRENGTHS if len(valid_targets) else (MIDDLE,):
        model = fit_linear(features, kept_targets, weights, strength)
        right = int((_predict(tables["valid"], *model) == valid_targets).sum())
        if right > best_right:
            best, best_right, chosen = model, right, strength
    assert best is not None  # there is at least one strength
    detail = f"naive-Bayes-weighted logistic regression on {unit} 1-{LONGEST[unit]}, strength {chosen:g}"
    if len(kept_targets) < len(targets):
        detail += f", trained on {len(kept_targets):,} of {len(targets):,} rows"
    return {split: _predict(table, *best) for split, table in tables.items()}, detail


def ngram_unit(texts: Sequence[str]) -> str:
    """Return "characters" for Chinese, Japanese and other texts without spaces, otherwise "words"."""
    sample = "\n".join(text[:200] for text in texts[:2000])
    letters = sum(map(str.isalpha, sample))
    words = len(re.findall(r"\w+", sample))
    unspaced = len(CHINESE_OR_JAPANESE.findall(sample)) > 0.3 * letters
    return "characters" if unspaced or letters > LONGEST_AVERAGE_WORD * words else "words"


def class_weights(features: Any, targets: np.ndarray, classes: int) -> np.ndarray:
    """Return the log-count ratios [n-grams, classes]: log of how often a class's texts have the n-gram, by
    its share, over the same for all other classes. One is added to each count, so that no ratio is infinite.
    """
    present = features.copy()
    present.data = np.ones_like(present.data)
    members = np.eye(classes)[targets]
    inside = np.asarray(present.T @ members) + 1
    outside = np.asarray(present.sum(axis=0)).reshape(-1, 1) + 2 - inside
    return np.log(inside / inside.sum(axis=0)) - np.log(outside / outside.sum(axis=0))


def _ngram_tables(
    train: Sequence[str], evaluations: Mapping[str, Sequence[str]], unit: str, classes: int
) -> tuple[Any, dict[str, Any]]:
    """Sparse [rows, n-grams] of log(1 + count), each row of length 1 so that long texts do not outweigh short
    ones.

    The first is None where no training text has an n-gram.
    """
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.preprocessing import normalize

    if not any(re.search(WORD if unit == "words" else ".", text[:LONGEST_TEXT], re.DOTALL) for text in train):
        return None, {}
    counter = CountVectorizer(max_features=MOST_WEIGHTS // classes)
    if unit == "words":
        counter.set_params(token_pattern=WORD, ngram_range=(1, LONGEST[unit]))
    else:
        counter.set_params(analyzer="char", ngram_range=(1, LONGEST[unit]))

    def table(count: Any, texts: Sequence[str]) -> Any:
        if not len(texts):
            return features[:0]
        counts = count([text[:LONGEST_TEXT] for text in texts])
        counts.data = np.log1p(counts.data)
        return normalize(counts, copy=False)

    features = table(counter.fit_transform, train)
    return features, {split: table(counter.transform, texts) for split, texts in evaluations.items()}


def fit_linear(
    features: Any, targets: np.ndarray, weights: np.ndarray, strength: float
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients [n-grams, classes] with the weights multiplied in, and intercepts [classes].

    Two classes share one problem: the second against the first.
    """
    from sklearn.linear_model import LogisticRegression

    classes = weights.shape[1]
    coefficients, intercepts = np.zeros_like(weights), np.zeros(classes)
    for index in range(classes) if classes > 2 else (1,):
        weighted = features.copy()
        weighted.data = features.data * weights[features.indices, index]
        # This solver (a trust-region Newton method) converges in tens of steps: the limit is never met.
        model = LogisticRegression(C=strength, solver="liblinear", max_iter=10_000, random_state=0)
        model.fit(weighted, targets == index)
        coefficients[:, index] = np.ravel(model.coef_) * weights[:, index]
        intercepts[index] = np.ravel(model.intercept_)[0]
    return coefficients, intercepts


def _predict(table: Any, coefficients: np.ndarray, intercepts: np.ndarray) -> np.ndarray:
    return np.asarray(table @ coefficients + intercepts).argmax(axis=1)
