"""BLEU and chrF as sacrebleu counts them, from sums that add up over batches and workers.

Texts in, numbers out: nothing here knows models or tokens of theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np


@lru_cache(maxsize=8)
def _metrics(words: str) -> dict[str, Any]:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    # `force`: it would warn of texts that are cut into words already, which is what "none" says
    return {"bleu": BLEU(tokenize=words, force=True), "chrf": CHRF()}


def statistics(said: Sequence[str], wanted: Sequence[str], words: str) -> dict[str, np.ndarray]:
    """What texts and their references have in common: sums, int64 [...], of which `scores` makes figures.

    `words` is the name of one of sacrebleu's tokenizers: "13a", "none", "zh", "char".
    """
    found = {}
    for name, metric in _metrics(words).items():
        rows = metric._extract_corpus_statistics(list(said), [list(wanted)])
        found[name] = np.asarray(rows, dtype=np.int64).sum(axis=0)
    return found


def scores(sums: Mapping[str, np.ndarray], words: str) -> dict[str, float]:
    """`bleu` (Papineni et al. 2002) and `chrf` (Popović 2015), 0 to 100, of what `statistics` summed up."""
    return {
        name: float(metric._compute_score_from_stats(sums[name].tolist()).score)
        for name, metric in _metrics(words).items()
        if name in sums
    }
