"""Runs the language baseline on token ids and measures it. The model itself lives in `kneser_ney`."""

from __future__ import annotations

import time

import numpy as np

from recurra.baselines.kneser_ney import Stream, levels
from recurra.baselines.results import BaselineResult
from recurra.data.measures import language_measures
from recurra.errors import DataError

NAME = "modified Kneser-Ney"
LOWEST, HIGHEST = 3, 8  # orders tried: the lowest always, the highest at most
WITHOUT_CHOICE = 5  # the order where there is no validation set to choose on
MOST_TOKENS = 10_000_000  # of training data: bounds memory to 2 GB, and time


def language_baselines(
    train: np.ndarray,
    evaluations: dict[str, np.ndarray],
    vocabulary: int,
    characters: dict[str, float] | None = None,
    hidden: dict[str, float] | None = None,
    *,
    highest: int = HIGHEST,
) -> dict[str, list[BaselineResult]]:
    """Train a modified Kneser-Ney model on `train` [tokens] and measure it on each set of `evaluations`.

    Token ids are below `vocabulary`. Each set is one stream that starts without a history. The order, at most
    `highest`, is the one with the lowest loss on the set "valid". For bits per character `characters` says how many
    each set spells out, and `hidden` how many of these stand behind unknown tokens. Returns a list of results for
    each set; a set without tokens gets an empty list. Raises DataError where an id is outside the vocabulary.
    """
    started = time.perf_counter()
    for name, ids in {"train": train, **evaluations}.items():
        if len(ids) and (int(ids.min()) < 0 or int(ids.max()) >= vocabulary):
            raise DataError(
                f"Token ids of the {name} set do not fit the vocabulary",
                got=f"ids from {int(ids.min())} to {int(ids.max())}",
                expected=f"0 to {vocabulary - 1}",
            )
    used = train[-MOST_TOKENS:]  # the end is likeliest to resemble what follows
    streams = {split: Stream(ids, vocabulary, highest) for split, ids in evaluations.items() if len(ids)}
    choosing = "valid" in streams
    chosen, nats, tried = 0, dict.fromkeys(streams, float("inf")), []
    for level in levels(used, vocabulary, highest if choosing else min(highest, WITHOUT_CHOICE)):
        now = {split: float(-np.log(stream.advance(level)).sum()) for split, stream in streams.items()}
        if choosing:
            tried.append(f"{level.order}: {now['valid'] / len(evaluations['valid']):.3f}")
        if not choosing or now["valid"] < nats["valid"]:
            chosen, nats = level.order, now
        elif level.order >= LOWEST:
            break  # higher orders only add contexts that are rarer still
    seconds = time.perf_counter() - started

    detail = f"order {chosen}"
    if choosing:
        detail += f", chosen on the validation set (loss by order {', '.join(tried)})"
    if len(used) < len(train):
        detail += f", trained on the last {len(used):,} of {len(train):,} tokens"
    results: dict[str, list[BaselineResult]] = {split: [] for split in evaluations}
    for split, total in nats.items():
        metrics = language_measures(
            total, len(evaluations[split]), (characters or {}).get(split, 0), (hidden or {}).get(split, 0)
        )
        results[split].append(BaselineResult(NAME, metrics, seconds, detail))
    return results
