"""The weights of a small model as a page takes them to run the network again: named arrays, and what they are used with.

The page has one function for each cell (`web/src/cells.ts`), which mirrors `kernels/steps.py` and `kernels/sweeps.py`; a test
runs both on the same weights. Models that the page does not compute have none.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from recurra.cells import CELLS, GRU, LRU, MLSTM, Cell, Elman, FeedForward
from recurra.data.text_codec import TextCodec
from recurra.layers import Bidirectional, Block, Stack
from recurra.models.classifier import Classifier
from recurra.models.language import LanguageModel
from recurra.models.whole import Whole

MOST = 1 << 18
"""Parameters of a model that is run in a page, at most: a megabyte and a half of text."""
ACTIVATIONS = frozenset({"tanh", "relu", "sigmoid", "identity"})
"""Those that the page knows."""


def embedded(model: Any) -> dict[str, Any] | None:
    """Everything that the answer to a text is computed from, or None for a model that the page does not compute.

    Such are language models and classifiers over tokens, by plain stacks of the cells in `CELLS`, of `MOST` parameters. The
    arrays are those of the state dictionary: `layers[i].ahead.arrays` by the names that the cell gives them.
    """
    if not isinstance(model, LanguageModel | Classifier) or model.parameter_count > MOST or model.embedding is None:
        return None
    head = _whole_head(model) if isinstance(model, Whole) else _language_head(model)
    layers = _layers(model.stack)
    if head is None or layers is None:
        return None
    codec = model.codec
    assert isinstance(codec, TextCodec)
    return {
        "task": model.kind,
        "layers": layers,
        "embedding": _array(model.embedding),
        "head": head,
        "vocabulary": [codec.token(token) for token in range(codec.size)],
        "unknown": codec.unknown,
        "lowercase": codec.lowercase,
        "labels": list(model.labels.labels) if isinstance(model, Classifier) else None,
    }


def _language_head(model: LanguageModel) -> dict[str, Any]:
    return {
        "summary": None,
        "both_ways": 0,
        "narrow": _array(model.narrow),
        "weight": _array(model.embedding if model.head is None else model.head),
        "bias": _array(model.bias),
    }


def _whole_head(model: Classifier) -> dict[str, Any] | None:
    if model.letters is not None or model.front is not None or model.ngrams is not None:
        return None
    if model.config.summary == "attention":
        return None
    return {
        "summary": model.config.summary,
        "both_ways": 0 if model.causal else model.stack.hidden,
        "narrow": None,
        "weight": _array(model.head),
        "bias": _array(model.bias),
    }


def _layers(stack: Stack) -> list[dict[str, Any]] | None:
    found = []
    for block in stack.blocks:
        if not isinstance(block, Block):
            return None
        cells = {"ahead": block.cell}
        if isinstance(block.cell, Bidirectional):
            cells = {"ahead": block.cell.ahead, "back": block.cell.back}
        told = {way: _cell(cell) for way, cell in cells.items()}
        if None in told.values():
            return None
        found.append({**told, "residual": block.residual})
    return found


def _cell(cell: Any) -> dict[str, Any] | None:
    name = next((name for name, kind in CELLS.items() if type(cell) is kind), None)
    if name is None or not isinstance(cell, Cell):
        return None
    options: dict[str, Any] = {}
    if isinstance(cell, FeedForward | Elman | LRU):
        if cell.activation not in ACTIVATIONS:
            return None
        options["activation"] = cell.activation
    if isinstance(cell, GRU):
        options["reset_after"] = cell.reset_after
    if isinstance(cell, MLSTM):
        options["heads"] = cell.heads
    arrays = {key: _array(value) for key, value in cell.named_parameters()}
    return {"cell": name, "hidden": cell.hidden, "options": options, "arrays": arrays}


def _array(values: Tensor | None) -> np.ndarray | None:
    return None if values is None else values.detach().float().cpu().numpy()
