"""The figures every result is judged by: accuracy and macro F1, loss, perplexity and bits per character.

Plain arithmetic on counts and sums. Nothing here knows models, codecs or where the predictions came from.
"""

from __future__ import annotations

import math

import numpy as np

from recurra.errors import DataError

SPELLING = math.log2(0x110000)
"""Bits that name any character of Unicode where all are equally likely."""


def accuracy_and_f1(confusion: np.ndarray) -> dict[str, float]:
    """Return `accuracy` and `macro_f1`, both between 0 and 1, of a confusion matrix.

    `confusion` is [classes, classes] of counts: rows are the truth, columns the prediction. Macro F1 is the
    plain average over the classes that occur in the truth or in the predictions; a class in neither is left
    out. Raises DataError where the matrix is not square or counts nothing.
    """
    counts = np.asarray(confusion, dtype=np.float64)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise DataError("A confusion matrix must be square", got=f"shape {counts.shape}", expected="[classes, classes]")
    total = float(counts.sum())
    if total <= 0:
        raise DataError("Nothing to measure: the confusion matrix counts no rows", fix="Evaluate at least one row")
    right = np.diagonal(counts)
    # F1 = 2 tp / (2 tp + fp + fn), and the denominator is the row sum plus the column sum.
    seen = counts.sum(axis=0) + counts.sum(axis=1)
    occurs = seen > 0
    f1 = 2 * right[occurs] / seen[occurs]
    return {"accuracy": float(right.sum() / total), "macro_f1": float(f1.mean())}


def language_measures(nats: float, tokens: float, characters: float, hidden: float = 0.0) -> dict[str, float]:
    """Return `loss` (nats per token), `perplexity` and `bits_per_character` of a predicted text.

    `nats` is the summed negative log-likelihood of all `tokens`, which spell out `characters` characters; `hidden` of these
    stand behind unknown tokens. Perplexity is infinite where it exceeds the largest float. `bits_per_character` is left out
    where `characters` is 0 (not known). Raises DataError where there are no tokens.
    """
    if tokens <= 0:
        raise DataError("Nothing to measure: no tokens", got=tokens, fix="Evaluate at least one token")
    loss = nats / tokens
    measures = {"loss": float(loss), "perplexity": _exponential(loss)}
    if characters > 0:
        measures["bits_per_character"] = bits_per_character(nats, characters, hidden)
    return measures


def bits_per_character(nats: float, characters: float, hidden: float) -> float:
    """Bits that tell a text of so many `characters`, `hidden` of which stand behind unknown tokens.

    A model only foretells that such a token comes, so its characters are spelt out at `SPELLING` bits each: or the model
    that knows the fewest tokens would tell a text best.
    """
    return float((nats / math.log(2) + hidden * SPELLING) / characters)


def _exponential(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf
