"""What a word is spelled like: a convolution over its characters, and the greatest of each filter (Ma and Hovy 2016)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from recurra import kernels


class Spelling(nn.Module):
    """characters[T, B, C] -> [T, B, outputs]; 0 is no character. Filters see three neighbours; an empty word gives zeros."""

    def __init__(self, symbols: int, width: int, outputs: int) -> None:
        super().__init__()
        values = torch.randn(symbols, width)
        self.embedding = nn.Parameter(values if values.is_meta else values / math.sqrt(width))
        self.filters = nn.Parameter(torch.empty(outputs, 3 * width))
        nn.init.xavier_uniform_(self.filters)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, characters: Tensor) -> Tensor:
        steps, batch, count = characters.shape
        # the same words come again and again
        flat, places = characters.flatten(0, 1).unique(dim=0, return_inverse=True)
        # one table for each of the three places: a filter over neighbours is then three lookups added up
        symbols, width = self.embedding.shape
        tables = self.filters.view(-1, 3, width).transpose(0, 1)
        known = kernels.linear(self.embedding, tables.reshape(-1, width)).view(symbols, 3, -1)
        none = known.new_zeros(1, known.shape[2])
        before, here, after = (torch.cat([none, known[1:, place]]) for place in range(3))
        padded = nn.functional.pad(flat, (1, 1))
        found = nn.functional.embedding(padded[:, :-2], before)
        found = found + nn.functional.embedding(padded[:, 1:-1], here)
        found = found + nn.functional.embedding(padded[:, 2:], after)
        found = (found + self.bias).relu().masked_fill((flat == 0)[..., None], 0.0)
        found = found.amax(1) if count else found.new_zeros(len(flat), found.shape[2])
        return nn.functional.embedding(places, found).view(steps, batch, found.shape[1])
