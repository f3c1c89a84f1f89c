"""The two shapes clean data can have: documents to continue, and inputs to classify.

Nothing here knows files, columns or codecs: `reading` makes these, everything above consumes them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TextDataset:
    """Documents for a next-token model. A text file is one document, newlines included."""

    documents: list[str]
    name: str

    def __len__(self) -> int:
        return len(self.documents)

    @property
    def characters(self) -> int:
        """Unicode characters in all documents together."""
        return sum(map(len, self.documents))


@dataclass(frozen=True)
class LabelledDataset:
    """Inputs for a classifier: texts, or numeric sequences as float32 arrays of shape [T, F].

    `labels` is None where the source has no usable labels (prediction). `lines` holds, for each kept row, its
    1-based line in a text file or its 1-based row in anything else.
    """

    inputs: list[str] | list[np.ndarray]
    labels: list[str] | None
    lines: list[int]
    name: str

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def numeric(self) -> bool:
        """True where the inputs are numeric sequences, False where they are texts."""
        return bool(self.inputs) and isinstance(self.inputs[0], np.ndarray)

    @property
    def features(self) -> int | None:
        """F of numeric sequences; None for texts."""
        first = self.inputs[0] if self.inputs else None
        return first.shape[1] if isinstance(first, np.ndarray) else None
