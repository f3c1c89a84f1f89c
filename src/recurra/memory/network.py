"""The network of a memory task: a stack of recurrent blocks and one linear head, the same for every cell."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recurra.cells import Symbols
from recurra.data.memory import NOT_ASKED, Drawn, MemoryTask
from recurra.layers import Stack, StackConfig


class MemoryNetwork(nn.Module):
    """Reads the sequences of a task and answers at each step, or, where a number is wanted, after the last.

    Symbols come in as lines of a table that starts as the unit vectors. No dropout, and no way around a cell.
    """

    def __init__(self, task: MemoryTask, stack: StackConfig) -> None:
        super().__init__()
        symbols = task.symbols
        self.embedding = None if symbols is None else nn.Parameter(torch.eye(symbols))
        self.stack = Stack.build(task.features or symbols or 1, stack)
        self.head = nn.Linear(self.stack.hidden, task.classes or 1)
        self._one_number = task.classes is None

    def forward(self, drawn: Drawn) -> Tensor:
        """Logits[B, T, classes], or numbers[B], for the sequences that were drawn."""
        inputs = torch.from_numpy(drawn.inputs).transpose(0, 1).contiguous()
        lengths = torch.from_numpy(drawn.lengths)
        rows = len(lengths)
        outputs, _ = self.stack(
            inputs if self.embedding is None else Symbols(self.embedding, inputs),
            self.stack.initial_state(rows),
            None if bool((lengths == inputs.shape[0]).all()) else lengths,
        )
        if not self._one_number:
            return self.head(outputs).transpose(0, 1)
        return self.head(outputs[lengths - 1, torch.arange(rows)])[:, 0]

    def loss(self, outputs: Tensor, drawn: Drawn) -> Tensor:
        """The mean over all answers that are wanted: squared errors of numbers, otherwise cross-entropy in nats."""
        targets = torch.from_numpy(drawn.targets)
        if self._one_number:
            return F.mse_loss(outputs, targets)
        return F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), ignore_index=NOT_ASKED)

    def right(self, task: MemoryTask, outputs: Tensor, drawn: Drawn) -> float:
        """The task's measure of these outputs."""
        outputs = outputs.detach()
        answers = outputs if self._one_number else outputs.argmax(dim=-1)
        return float(task.right(answers.numpy(), drawn).mean())
