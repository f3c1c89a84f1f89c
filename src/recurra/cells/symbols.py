"""Symbols: inputs that are lines of a table, chosen by tokens, and not spelled out before a kernel needs them.

Where there are fewer symbols than steps, a cell projects every symbol once and looks the projection up at each step: the
product with the input weight is then as small as the table, forward and backward.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Symbols:
    """tokens[T, B] (int64), and the table[V, I] that they choose lines from: the inputs[T, B, I] of an embedding."""

    table: Tensor
    tokens: Tensor

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.tokens.shape[0], self.tokens.shape[1], self.table.shape[1])

    def dim(self) -> int:
        return 3

    @property
    def device(self) -> torch.device:
        return self.table.device

    def spelled_out(self) -> Tensor:
        """The same as numbers[T, B, I]."""
        return F.embedding(self.tokens, self.table)


Inputs = Tensor | Symbols
"""What a cell, a block or a stack reads: inputs[T, B, I], as numbers or as symbols."""


def spelled_out(inputs: Inputs) -> Tensor:
    """Inputs as numbers[T, B, I]."""
    return inputs.spelled_out() if isinstance(inputs, Symbols) else inputs


def operands(inputs: Inputs) -> tuple[Tensor, Tensor | None]:
    """(x, tokens) as the kernels take them: the table and the tokens where that is less work, else the numbers."""
    if not isinstance(inputs, Symbols):
        return inputs, None
    # a compiled graph has no number of steps to compare with
    if torch.compiler.is_compiling() or inputs.table.shape[0] > inputs.tokens.numel():
        return inputs.spelled_out(), None
    return inputs.table, inputs.tokens
