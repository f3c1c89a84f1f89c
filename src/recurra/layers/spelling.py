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

    def tables(self) -> Tensor:
        """What each character gives to each filter at each of its three places, [V, 3, outputs]; no character gives nothing.

        A filter over neighbours is then three lookups added up.
        """
        symbols, width = self.embedding.shape
        filters = self.filters.view(-1, 3, width).transpose(0, 1)
        known = kernels.linear(self.embedding, filters.reshape(-1, width)).view(symbols, 3, -1)
        return torch.cat([torch.zeros_like(known[:1]), known[1:]])

    def forward(self, characters: Tensor) -> Tensor:
        steps, batch, count = characters.shape
        # the same words come again and again
        flat, places = characters.flatten(0, 1).unique(dim=0, return_inverse=True)
        before, here, after = self.tables().unbind(1)
        padded = nn.functional.pad(flat, (1, 1))
        found = nn.functional.embedding(padded[:, :-2], before)
        found = found + nn.functional.embedding(padded[:, 1:-1], here)
        found = found + nn.functional.embedding(padded[:, 2:], after)
        found = (found + self.bias).relu().masked_fill((flat == 0)[..., None], 0.0)
        found = found.amax(1) if count else found.new_zeros(len(flat), found.shape[2])
        return nn.functional.embedding(places, found).view(steps, batch, found.shape[1])
