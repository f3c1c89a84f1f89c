"""The weights of a small model as a page takes them to run the network again: named arrays, and what they are used with.

The page has one function for each cell (`web/src/cells.ts`), which mirrors `kernels/steps.py` and `kernels/sweeps.py`; a test
runs both on the same weights. Of a model that the page does not compute `unsupported` says why.
"""

from __future__ import annotations

from typing import Any

from recurra.cells import CELLS, GRU, LRU, MLSTM, Cell, Elman, FeedForward
from recurra.layers import Bidirectional, Block, Stack
from recurra.look.page.reading import (
    array,
    next_head,
    numbers,
    tagged,
    tags_head,
    tokens,
    voice,
    whole_head,
    written_lines,
)
from recurra.models import Classifier, Ensemble, Forecaster, LanguageModel, Regressor, Tagger, Translator
from recurra.models.whole import Whole

MOST = 1 << 18
"""Parameters of a model that is run in a page, at most: a megabyte and a half of text."""
COLUMNS = 24
"""Numbers of a row that can be changed in a page, at most."""
ACTIVATIONS = frozenset({"tanh", "relu", "sigmoid", "identity"})
"""Those that the page knows."""

Both = dict[str, str]


def unsupported(model: Any) -> Both | None:
    """Why a page does not run this model, in English and Chinese; None where it does."""
    for kind, words in _KINDS:
        if isinstance(model, kind):
            return words
    if not isinstance(model, LanguageModel | Tagger | Classifier | Regressor | Ensemble):
        return {"en": "it does not compute models of this task.", "zh": "页面不计算这类任务的模型。"}
    size = _size(model)
    if size > MOST:
        return {
            "en": f"it has {size:,} parameters, and a page holds {MOST:,} at most.",
            "zh": f"它有 {size:,} 个参数，而页面最多容纳 {MOST:,} 个。",
        }
    one = model.first if isinstance(model, Ensemble) else model
    if isinstance(one, Whole) and one.embedding is None:
        if one.config.flat is not None:
            return {
                "en": "each of its pictures is one step, whose numbers are too many to be changed by hand.",
                "zh": "它把每幅图当作一步，数太多，无法手工修改。",
            }
        wide = one.config.features or 0
        if wide > COLUMNS:
            return {
                "en": f"its rows have {wide} numbers, and at most {COLUMNS} can be changed by hand.",
                "zh": f"它的每一行有 {wide} 个数，手工最多修改 {COLUMNS} 个。",
            }
    if _layers(one.stack) is None:
        return {
            "en": "its cells are none that the page has equations for.",
            "zh": "页面没有它的单元的公式。",
        }
    return None


_KINDS: tuple[tuple[type, Both], ...] = (
    (Translator, {
        "en": "a translation is searched for word by word among many, which the page does not do.",
        "zh": "翻译要在许多候选中逐词搜索，页面不做这件事。",
    }),
    (Forecaster, {
        "en": "a forecast is read off levels, seasons and a smoothing beside the network, which the page does not compute.",
        "zh": "预测还取决于网络之外的水平、季节与平滑，页面不计算这些。",
    }),
)  # fmt: skip


def embedded(model: Any) -> dict[str, Any] | None:
    """Everything that the answer to an input is computed from, or None for a model that the page does not run.

    The arrays of cells are those of the state dictionary: `layers[i].ahead.arrays` by the names that the cell gives them.
    """
    if unsupported(model) is not None:
        return None
    if not isinstance(model, Ensemble):
        return _one(model)
    members = [_one(member) for member in model.members]
    # raw things are read, and numbers told, as the first one does it
    first = members[0]
    for other in members[1:]:
        other["read"] |= {
            name: first["read"][name] for name in ("mean", "scale", "vocabulary") if name in first["read"]
        }
        other["head"]["numbers"] = first["head"]["numbers"]
    return {
        "task": model.kind,
        "members": members,
        "voice": None if model.voice is None else voice(model.voice),
        "share": model.config.share,
    }


def _one(model: Any) -> dict[str, Any]:
    """Of a model by itself."""
    if isinstance(model, Tagger):
        read, head = tagged(model), tags_head(model)
    elif isinstance(model, LanguageModel):
        read, head = tokens(model), next_head(model)
    else:
        read, head = numbers(model) if model.embedding is None else tokens(model), whole_head(model)
    labels = model.codecs.labels if isinstance(model, Tagger) else getattr(model, "labels", None)
    return {
        "task": model.kind,
        "read": read,
        "layers": _layers(model.stack),
        "head": head,
        "labels": None if labels is None else list(labels.labels),
    }


def _size(model: Any) -> int:
    """Numbers that a page would have to hold: parameters, and what n-grams have learnt."""
    if isinstance(model, Ensemble):
        members: list[Any] = list(model.members)
        return model.parameter_count + sum(_size(member) - member.parameter_count for member in members)
    ngrams = getattr(model, "ngrams", None)
    return model.parameter_count + (0 if ngrams is None else len(written_lines(ngrams)) * (1 + ngrams.table.shape[1]))


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
    arrays = {key: array(value) for key, value in cell.named_parameters()}
    return {"cell": name, "hidden": cell.hidden, "options": options, "arrays": arrays}
