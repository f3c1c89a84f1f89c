"""What a small model does with its inputs before the stack, and after it, as a page takes it to do the same.

Each function gives named arrays and settings for one part of `web/src/reading.ts` or `web/src/heads.ts`, which mirror the
layers. A part that the page does not compute is refused in words by `weights.unsupported`, not here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from recurra.data.letters import FIRST, Letters
from recurra.data.sequence_codec import SeriesCodec
from recurra.data.text_codec import TextCodec
from recurra.data.writing import WIDTHS
from recurra.layers import NGrams, Spelling
from recurra.layers.convolution import Convolution
from recurra.layers.filling import Filling
from recurra.layers.pooling import BOUND, Attention, Pooling
from recurra.models import Classifier, LanguageModel, Regressor, Tagger
from recurra.models.voice import Voice
from recurra.models.whole import Whole


def array(values: Tensor | None) -> np.ndarray | None:
    """Numbers of a model in single precision."""
    return None if values is None else values.detach().float().cpu().numpy()


# ---- before the stack


def tokens(model: LanguageModel | Whole[Any]) -> dict[str, Any]:
    """How texts become vectors: the vocabulary, its embedding, and by choice what words are spelled like."""
    codec = model.codec
    assert isinstance(codec, TextCodec)
    letters, spelling = (model.letters, model.spelling) if isinstance(model, Whole) else (None, None)
    return {
        "kind": "tokens",
        "embedding": array(model.embedding),
        "vocabulary": [codec.token(token) for token in range(codec.size)],
        "unknown": codec.unknown,
        "lowercase": codec.lowercase,
        "widths": {chr(code): plain for code, plain in WIDTHS.items()} if codec.normalise else {},
        "digits": False,
        "letters": None if letters is None else _letters(letters, spelling),
        "pairs": None,
    }


def tagged(model: Tagger) -> dict[str, Any]:
    """The same of a tagger: words as they are looked up, with their letters, or characters with the pairs they make."""
    codec = model.codecs.tokens
    pairs = None
    if model.pairs is not None:
        pairs = {"parts": list(codec.parts), "ends": list(FIRST[2:]), "embedding": array(model.pairs["embedding"])}
    letters = Letters(codec.parts, codec.width - 1) if model.spelling is not None else None
    return {
        "kind": "tokens",
        "embedding": array(model.embedding),
        "vocabulary": list(codec.words),
        "unknown": 0,
        "lowercase": True,
        "widths": {},
        "digits": True,
        "letters": None if letters is None else _letters(letters, model.spelling),
        "pairs": pairs,
    }


def _letters(letters: Letters, spelling: Spelling | None) -> dict[str, Any]:
    assert spelling is not None
    return {
        "parts": list(letters.parts),
        "width": letters.width,
        "embedding": array(spelling.embedding),
        "filters": array(spelling.filters),
        "bias": array(spelling.bias),
    }


def numbers(model: Whole[Any]) -> dict[str, Any]:
    """How rows of numbers are standardised, filled and convolved."""
    codec = model.codec
    assert isinstance(codec, SeriesCodec)
    parts = [] if model.front is None else list(model.front.parts)
    return {
        "kind": "rows",
        "mean": codec.mean.astype(np.float64).tolist(),
        "scale": codec.scale.astype(np.float64).tolist(),
        "single": model.config.single,
        "filling": next((_filling(part) for part in parts if isinstance(part, Filling)), None),
        "convolutions": [_convolution(part) for part in parts if isinstance(part, Convolution)],
    }


def _filling(part: Filling) -> dict[str, Any]:
    return {"fill": part.fill, "marked": part.hidden > part.inputs, "nothing": part.nothing.cpu().double().tolist()}


def _convolution(part: Convolution) -> dict[str, Any]:
    return {
        "pairs": [list(pair) for pair in part.pairs],
        "weights": [array(weight) for weight in part.weights],
        "bias": array(part.bias),
        "gain": array(part.gain),
        "shift": array(part.shift),
    }


# ---- behind it


def next_head(model: LanguageModel) -> dict[str, Any]:
    """Of a language model: an answer at each step."""
    return {
        "kind": "next",
        "narrow": array(model.narrow),
        "weight": array(model.embedding if model.head is None else model.head),
        "bias": array(model.bias),
    }


def whole_head(model: Whole[Any]) -> dict[str, Any]:
    """Of a model that answers once: what all steps come to, the head, and by choice n-grams beside the network."""
    found: dict[str, Any] = {
        "kind": "whole",
        "summary": model.config.summary,
        "both_ways": 0 if model.causal else model.stack.hidden,
        "attention": _attention(model.pooling),
        "weight": array(model.head),
        "bias": array(model.bias),
        "ngrams": None,
        "numbers": None,
    }
    if isinstance(model, Regressor):
        codec = model.numbers
        found["numbers"] = {"names": list(codec.names), "mean": codec.mean.tolist(), "scale": codec.scale.tolist()}
    elif isinstance(model, Classifier) and model.ngrams is not None:
        found["ngrams"] = _ngrams(model.ngrams, model.shares)
    return found


def _attention(pooling: Pooling) -> dict[str, Any] | None:
    if not isinstance(pooling, Attention):
        return None
    return {"bound": BOUND, "weight": array(pooling.weight), "score": array(pooling.score)}


def _ngrams(ngrams: NGrams, shares: Tensor) -> dict[str, Any]:
    """The lines of the table in which something stands, and their numbers."""
    filled = written_lines(ngrams)
    return {
        "longest": ngrams.longest,
        "lines": ngrams.lines,
        "filled": filled.tolist(),
        "table": array(ngrams.table[filled.to(ngrams.table.device)]),
        "bias": array(ngrams.bias),
        "shares": shares.cpu().double().tolist(),
    }


def written_lines(ngrams: NGrams) -> Tensor:
    """Which lines of a table of n-grams say something."""
    return ngrams.table.abs().sum(dim=1).nonzero()[:, 0].cpu()


def voice(model: Voice) -> dict[str, Any]:
    """Of fixed convolutions beside an ensemble: kernels[D, 84, 9 F], thresholds[D, 84, N], and what reads their counts."""
    probes = model.probes
    return {
        "filling": None if model.filling is None else _filling(model.filling),
        "dilations": list(probes.dilations),
        "kernels": array(probes.weights),
        "thresholds": array(probes.thresholds),
        "weight": array(model.head),
        "bias": array(model.bias),
    }


def tags_head(model: Tagger) -> dict[str, Any]:
    """Of a tagger: scores of tags, the field over them, and the label of the sentence."""
    field = model.field
    return {
        "kind": "tags",
        "tags": list(model.codecs.tags.labels),
        "weight": array(model.head),
        "bias": array(model.bias),
        "field": None if field is None else {name: array(field[name]) for name in ("transitions", "start", "end")},
        "label": None
        if model.label_head is None
        else {"weight": array(model.label_head), "bias": array(model.label_bias)},
    }
