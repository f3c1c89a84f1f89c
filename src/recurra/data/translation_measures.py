"""BLEU and chrF as sacrebleu counts them, from sums that add up over batches and workers.

Texts in, numbers out: nothing here knows models or tokens of theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from recurra.data.writing import default_level

_LOOKED_AT = 2000


def words_of(targets: Sequence[str]) -> str:
    """How BLEU should cut such texts into words: "zh" for Chinese, "char" for Japanese, "none" for texts whose marks stand
    apart already, as in data that were cut before, and else "13a", which cuts them off."""
    some = targets[:_LOOKED_AT]
    if default_level(some) == "characters":
        return "char" if any("\u3040" <= character <= "\u30ff" for text in some for character in text) else "zh"
    ended = [text.rstrip() for text in some if text.rstrip()[-1:] in (".", "?", "!") and len(text.split()) > 1]
    apart = sum(text[-2].isspace() for text in ended)
    return "none" if ended and apart > 0.9 * len(ended) else "13a"


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


def without_bleu(sums: Any) -> bool:
    """Whether no text that is behind the `bleu` of `statistics` has four words: then it is 0 even where all are right."""
    # lengths of texts and references, right n-grams of each order, all n-grams of each order
    return not sums[-1]


def scores(sums: Mapping[str, np.ndarray], words: str) -> dict[str, float]:
    """`bleu` (Papineni et al. 2002) and `chrf` (Popović 2015), 0 to 100, of what `statistics` summed up."""
    return {
        name: float(metric._compute_score_from_stats(sums[name].tolist()).score)
        for name, metric in _metrics(words).items()
        if name in sums
    }
