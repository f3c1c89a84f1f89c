"""Cells whose units meet nobody on their way through time: MinGRU and MinLSTM. Equations and papers: docs/equations.md.

All of a step's sums come from its inputs alone, so whole sequences are products of many rows; what is left is one sweep.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from recurra import kernels
from recurra.cells.cell import Cell
from recurra.cells.symbols import Inputs, operands, spelled_out
from recurra.state import state_class


@state_class
class MinGRUState:
    """h[B, H], the last output."""

    h: Tensor


@state_class
class MinLSTMState:
    """h[B, H], the last output."""

    h: Tensor


class SweepCell(Cell):
    """A cell that is one sweep: its gates are stacked along axis 0 of weight_in[G*H, I] and bias[G*H]."""

    sweep: ClassVar[str]
    """Its name in the table of sweeps."""

    def __init__(self, inputs: int, hidden: int, *, reverse: bool = False) -> None:
        super().__init__(inputs, hidden, reverse=reverse)
        gates = kernels.SWEEPS[self.sweep].gates
        self.weight_in = nn.Parameter(torch.empty(gates * hidden, inputs))
        self.bias = nn.Parameter(torch.zeros(gates * hidden))
        for gate in self.weight_in.chunk(gates):  # Glorot and Bengio 2010
            nn.init.xavier_uniform_(gate)

    def initial_state(self, batch: int) -> Any:
        leaves = kernels.SWEEPS[self.sweep].leaves
        return self.state_type(*(self.bias.new_zeros(batch, self.hidden) for _ in range(leaves)))

    def weights(self) -> kernels.LayerWeights | None:
        return kernels.LayerWeights(self.sweep, self.weight_in, bias_in=self.bias, reverse=self.reverse)

    def _weights(self) -> list[Tensor]:
        return [self.weight_in, self.bias]

    def _run(
        self, inputs: Inputs, state: Any, lengths: Tensor | None, resets: Tensor | None, keep: bool
    ) -> tuple[Tensor, Any, dict[str, Tensor]]:
        # the sums of looked-up inputs are not kept
        x, tokens = (spelled_out(inputs), None) if keep else operands(inputs)
        outputs, last, sums = kernels.sweep(
            self.sweep, x, list(vars(state).values()), self._weights(), tokens=tokens, lengths=lengths, resets=resets,
            reverse=self.reverse, keep=keep,
        )  # fmt: skip
        inner = kernels.SWEEPS[self.sweep].inner(sums) if keep else {}
        inner = {name: kernels.without_padding(value, lengths) for name, value in inner.items()}
        return outputs, self.state_type(*last), inner


class MinGRU(SweepCell):
    """The smallest GRU (Feng et al. 2024, section 3.1): a gate z and a candidate n, neither of which sees the state.

    Arguments: inputs I, hidden H, reverse. Traced: z, the share of the candidate in the next state, and n.
    """

    state_type = MinGRUState
    sweep = "mingru"


class MinLSTM(SweepCell):
    """The smallest LSTM (Feng et al. 2024, section 3.2): gates f and i as shares of one, neither of which sees the state.

    Arguments: inputs I, hidden H, reverse. Traced: f and i, the shares of the state and of the candidate, and n.
    """

    state_type = MinLSTMState
    sweep = "minlstm"
