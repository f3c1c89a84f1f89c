"""The baselines of translation: the source as it stands, and word for word by a table learnt from the pairs.

They know texts and words, and no networks.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from recurra.baselines.results import BaselineResult
from recurra.data.translation_measures import scores, statistics
from recurra.data.writing import join_words

if TYPE_CHECKING:
    from recurra.data.datasets import PairDataset

ROUNDS = 8
PAIRS = 5_000_000
"""Pairs of words that the table is learnt from at most: the first sentences that have so many."""
_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]|[^\W\u3040-\u9fff]+(?:['’-]\w+)*|[^\w\s]"
)


def translation_baselines(
    train: PairDataset, splits: Mapping[str, PairDataset], words: str
) -> dict[str, list[BaselineResult]]:
    """Both baselines on every split that has targets; `words` is how BLEU cuts texts (`translation_measures`)."""
    results: dict[str, list[BaselineResult]] = {}
    started = time.perf_counter()
    spaced = words == "none"
    cut = str.split if spaced else _WORD.findall
    table = word_table([cut(text) for text in train.sources], [cut(text) for text in train.targets or []])
    learnt = time.perf_counter() - started

    def word_for_word(text: str) -> str:
        said = [table.get(word, word) for word in cut(text)]
        return " ".join(said) if spaced else join_words(said)

    for split, part in splits.items():
        wanted = part.targets or []
        copied = scores(statistics(part.sources, wanted, words), words)
        started = time.perf_counter()
        translated = scores(statistics([word_for_word(text) for text in part.sources], wanted, words), words)
        spent = learnt + time.perf_counter() - started
        results[split] = [
            BaselineResult("copy of the source", copied, 0.0, "what both languages write alike"),
            BaselineResult("word for word", translated, spent, f"the likeliest of each of {len(table):,} words"),
        ]
    return results


def word_table(sources: Sequence[Sequence[str]], targets: Sequence[Sequence[str]]) -> dict[str, str]:
    """The likeliest target word for each source word: model 1 of Brown et al. (1993), by expectation and maximisation.

    In it each target word was written by one of the source words, or by nothing, each as likely as another:
    t(f | e) is estimated from how often f is, in the expectation of t itself, the word that e wrote.
    """
    source_ids: dict[str, int] = {"": 0}  # nothing
    target_ids: dict[str, int] = {}
    ones, others, places = [], [], []
    place = met = 0
    for source, target in zip(sources, targets, strict=True):
        e = np.array([0, *(source_ids.setdefault(word, len(source_ids)) for word in source)])
        f = np.array([target_ids.setdefault(word, len(target_ids)) for word in target], dtype=np.int64)
        ones.append(np.tile(e, len(f)))
        others.append(np.repeat(f, len(e)))
        # which target word of which sentence each pair is about
        places.append(np.repeat(np.arange(place, place + len(f)), len(e)))
        place += len(f)
        met += len(ones[-1])
        if met > PAIRS:
            break
    if not place:
        return {}
    pairs, index = np.unique(np.concatenate(ones) * len(target_ids) + np.concatenate(others), return_inverse=True)
    e, f = pairs // len(target_ids), pairs % len(target_ids)
    at = np.concatenate(places)
    chance = np.ones(len(pairs))
    for _ in range(ROUNDS):
        share = chance[index]
        share /= np.bincount(at, share, place)[at]
        counts = np.bincount(index, share, len(pairs))
        chance = counts / np.bincount(e, counts, len(source_ids))[e]
    order = np.lexsort((-f, chance, e))  # the likeliest of each e last; of equals the one seen first
    last = order[np.append(e[order][1:] != e[order][:-1], True)]
    names, words = list(source_ids), list(target_ids)
    return {names[e[pair]]: words[f[pair]] for pair in last if e[pair]}
