"""What is hidden from a network in training, drawn for the whole batch even where only some of its rows are here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import overload

import torch
from torch import Tensor

from recurra.cells import Inputs, spelled_out

_here: ContextVar[tuple[int, slice] | None] = ContextVar("rows of a batch", default=None)
_compiled: tuple[int, slice] | None = None
"""The same for a compiler, which cannot follow a ContextVar."""


@contextmanager
def rows_of(total: int, rows: slice) -> Iterator[None]:
    """Inside, what runs are the given rows of a batch of `total`: masks are drawn for all of them, and these rows' used.

    So a batch that is worked off in parts, in one process or in several, drops what it would drop as a whole, and the
    random numbers end up at the same place.
    """
    global _compiled
    token, before = _here.set((total, rows)), _compiled
    _compiled = total, rows
    try:
        yield
    finally:
        _here.reset(token)
        _compiled = before


@overload
def fixed_dropout(inputs: Tensor, probability: float, training: bool) -> Tensor: ...
@overload
def fixed_dropout(inputs: Inputs, probability: float, training: bool) -> Inputs: ...
def fixed_dropout(inputs: Inputs, probability: float, training: bool) -> Inputs:
    """Dropout whose mask is the same at every step (Gal and Ghahramani 2016): inputs[T, B, I], a mask for each row."""
    if not training or probability == 0.0:
        return inputs
    inputs = spelled_out(inputs)
    total, rows = _batch(inputs.shape[1])
    mask = torch.empty(total, *inputs.shape[2:], dtype=inputs.dtype, device=inputs.device).bernoulli_(1 - probability)
    return inputs * (mask[rows] / (1 - probability))


def hidden_tokens(tokens: Tensor, rare: Tensor, probability: float, training: bool) -> Tensor:
    """tokens[T, B], of which `rare`[T, B] ones become 0, the unknown one, so that training meets it (Lample et al. 2016)."""
    if not training or probability == 0.0:
        return tokens
    total, rows = _batch(tokens.shape[1])
    hidden = torch.empty(len(tokens), total, device=tokens.device).bernoulli_(probability)[:, rows].bool()
    return torch.where(rare & hidden, 0, tokens)


def _batch(rows: int) -> tuple[int, slice]:
    """How many rows the whole batch has, and which of them are here."""
    here = _compiled if torch.compiler.is_compiling() else _here.get()
    return here or (rows, slice(None))


def embedded_dropout(weight: Tensor, probability: float, training: bool) -> Tensor:
    """Dropout of whole symbols: a row of the embedding is there or not for the whole batch (Gal and Ghahramani 2016)."""
    if not training or probability == 0.0:
        return weight
    kept = torch.empty(weight.shape[0], 1, dtype=weight.dtype, device=weight.device).bernoulli_(1 - probability)
    return weight * (kept / (1 - probability))


def drawn_for(like: Tensor, *, uniform: bool = False) -> Tensor:
    """Random numbers of the shape of `like`[B, ...], drawn for the whole batch: normal, or uniform from 0 to 1."""
    total, rows = _batch(like.shape[0])
    drawn = torch.empty(total, *like.shape[1:], dtype=like.dtype, device=like.device)
    return (drawn.uniform_() if uniform else drawn.normal_())[rows]
