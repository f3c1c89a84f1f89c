"""N-grams: what a linear model over the tokens read so far says, with its sums as a state. Knows no text and no labels.

Each token ends n-grams of one to `longest` tokens; each n-gram, by a hash, has a line of a table with a weight for each
answer (Weinberger et al. 2009). The table is fitted once, by others, and learns nothing by gradients.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recurra.state import state_class
from recurra.wide import widened, widest

FACTOR = 1_000_003
"""What a hash is multiplied by for each token: a prime, so small that no product leaves 64 bits."""
MOST_LINES = 1 << 22
STEP = 2.0**-16
"""Weights are multiples of this, so that their sums are exact in float64 and no cut between two steps changes a bit."""
NONE = 0
"""The number before the first; a token has the one after its own."""


@state_class
class NGramsState:
    """recent[B, longest - 1]: the numbers of the last tokens (int64), the newest last.

    sums[B, A]: of the weights so far; count[B]: of the n-grams (float64, where the device has it).
    """

    recent: Tensor
    sums: Tensor
    count: Tensor


class NGrams(nn.Module):
    """tokens[T, B] -> logits[B, A]: bias + the sum of the weights of all n-grams so far / sqrt(their number)."""

    table: Tensor
    bias: Tensor

    def __init__(self, answers: int, longest: int, lines: int) -> None:
        super().__init__()
        self.longest, self.lines = longest, lines
        self.register_buffer("table", torch.zeros(lines, answers))
        self.register_buffer("bias", torch.zeros(answers))

    def initial_state(self, batch: int) -> NGramsState:
        like = self.table
        recent = torch.zeros(batch, self.longest - 1, dtype=torch.int64, device=like.device)
        sums = torch.zeros(batch, like.shape[1], dtype=widest(like.device), device=like.device)
        return NGramsState(recent, sums, torch.zeros(batch, dtype=sums.dtype, device=like.device))

    def forward(
        self, tokens: Tensor, before: NGramsState, lengths: Tensor | None = None, resets: Tensor | None = None
    ) -> tuple[Tensor, NGramsState]:
        steps, batch = tokens.shape
        device = tokens.device
        ends = torch.full((batch,), steps, device=device) if lengths is None else lengths
        places = torch.arange(steps, device=device)[:, None]
        valid = places < ends
        # nothing before the last reset counts, neither in the sums nor as a neighbour
        final = torch.full((batch,), -1, device=device)
        if resets is not None and steps:
            final = torch.where(resets & valid, places, -1).amax(dim=0)
        anew = final >= 0
        known = torch.where(anew[:, None], NONE, before.recent)
        history = torch.cat([known.T, torch.where(places >= final, tokens + 1, NONE)])
        found = self.hashed(history)
        counted = (found >= 0) & (valid & (places >= final))[..., None]
        weights = widened(self.table[torch.where(counted, found, 0)]) * counted[..., None]
        sums = torch.where(anew[:, None], 0.0, before.sums) + weights.sum(dim=(0, 2))
        count = torch.where(anew, 0.0, before.count) + counted.sum(dim=(0, 2))
        recent = history.T.gather(1, ends[:, None] + torch.arange(self.longest - 1, device=device))
        after = NGramsState(recent, sums, count)
        return self.read(after), after

    def read(self, state: NGramsState) -> Tensor:
        """The logits[B, A] that a state stands for."""
        mean = state.sums / state.count.clamp(min=1.0).sqrt()[:, None]
        return mean.to(self.bias.dtype) + self.bias

    def hashed(self, history: Tensor) -> Tensor:
        """history[longest - 1 + T, ...] of tokens' numbers -> the line of the n-gram of each length there, [T, ..., longest].

        It is -1 where the n-gram would reach past the first token.
        """
        steps = history.shape[0] - (self.longest - 1)
        lagged = [history[place : place + steps] for place in range(self.longest)]
        found = []
        for length in range(1, self.longest + 1):
            tokens = lagged[self.longest - length :]
            line = torch.full_like(tokens[0], length)
            for token in tokens:
                line = (line * FACTOR + token) % self.lines
            # where the oldest token is there, so are the others
            found.append(torch.where(tokens[0] == NONE, -1, line))
        return torch.stack(found, dim=-1)

    def set(self, table: Tensor, bias: Tensor) -> None:
        """Take weights[lines, A] and a bias[A], the weights as their nearest multiples of `STEP`."""
        self.table.copy_((table.double() / STEP).round() * STEP)
        self.bias.copy_(bias)
