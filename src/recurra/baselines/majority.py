"""The simplest classifier: always the most frequent class of the training data. Never looks at an input."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def majority_class(labels: Sequence[str]) -> str:
    """Return the most frequent label; of equally frequent ones, the one that sorts first."""
    counts = Counter(labels)
    return min(counts, key=lambda label: (-counts[label], label))
