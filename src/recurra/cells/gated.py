"""The classic cells: FeedForward (no state at all), Elman, GRU and LSTM. Equations and papers: docs/equations.md.

A cell projects all steps in one product and hands the rest to its kernel. Parameters have the names of the formula
`S_t = f(W_in X_t + W_S S_{t-1} + b)`; gates are stacked along axis 0 in torch's order (GRU r, z, n; LSTM i, f, g, o).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn

from recurra import kernels
from recurra.cells.cell import Cell
from recurra.cells.symbols import Inputs, Symbols, operands
from recurra.errors import UsageError
from recurra.state import state_class


@state_class
class FeedForwardState:
    """Nothing: what came before is forgotten."""


@state_class
class ElmanState:
    """h[B, H], the last output."""

    h: Tensor


@state_class
class GRUState:
    """h[B, H], the last output."""

    h: Tensor


@state_class
class LSTMState:
    """h[B, H], the last output, and c[B, H], what the cell keeps to itself."""

    h: Tensor
    c: Tensor


def _matrix(rows: int, columns: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(rows, columns))


def _initialise(weight_in: Tensor, weight_state: Tensor | None, gates: int) -> None:
    """Inputs by Glorot and Bengio 2010, the recurrent part orthogonal (Saxe et al. 2014), each gate on its own."""
    for gate in weight_in.chunk(gates):
        nn.init.xavier_uniform_(gate)
    if weight_state is not None:
        for gate in weight_state.chunk(gates):
            nn.init.orthogonal_(gate)


def _activation(name: str) -> str:
    if name not in kernels.ACTIVATIONS:
        raise UsageError(f"There is no activation '{name}'", expected=", ".join(kernels.ACTIVATIONS))
    return name


class _KernelCell(Cell):
    """A cell with a kernel: outputs, the last leaves of the state, and inner values are its results, in this order."""

    can_recompute = True
    weight_state: nn.Parameter

    def __init__(
        self, inputs: int, hidden: int, *, reverse: bool, recompute: int | None, weight_drop: float = 0.0
    ) -> None:
        super().__init__(inputs, hidden, reverse=reverse)
        if not 0.0 <= weight_drop < 1.0:
            raise UsageError(f"{type(self).__name__}: 'weight_drop' is wrong", got=weight_drop, expected="0 to 1")
        self.weight_drop = weight_drop
        if recompute is not None and (not isinstance(recompute, int) or isinstance(recompute, bool) or recompute < 1):
            raise UsageError(
                f"{type(self).__name__}: 'recompute' is wrong",
                got=repr(recompute),
                expected="None, or a whole number of steps > 0",
            )
        self.recompute = recompute

    def _recurrent(self) -> Tensor:
        """W_S, of which a share is taken for zero in all steps of a training sequence (Merity et al. 2018)."""
        if not self.training or self.weight_drop == 0.0:
            return self.weight_state
        return nn.functional.dropout(self.weight_state, self.weight_drop)

    def _whole(self) -> bool:
        return not self.training or self.weight_drop == 0.0

    def _call(
        self,
        kernel: Callable[..., tuple[Tensor, ...]],
        inputs: Inputs,
        states: tuple[Tensor, ...],
        lengths: Tensor | None,
        resets: Tensor | None,
        keep: bool,
        **given: Any,
    ) -> tuple[Tensor, ...]:
        """The results of `kernel`; in pieces that backward runs again, where that was asked for and there is a backward.

        `given` are the parameters and options. They are held until then, so it does not matter whether the module has
        others by that time, as after `torch.func.functional_call`.
        """
        x, tokens = operands(inputs)
        kernel = partial(kernel, **given, reverse=self.reverse)
        tensors = [x, *(value for value in given.values() if isinstance(value, Tensor))]
        steps = None if keep or torch.compiler.is_compiling() else self.recompute
        if steps is None or not kernels.recording(*states, *tensors):
            return kernel(x, *states, tokens=tokens, lengths=lengths, resets=resets, keep=keep)

        def run(
            part: Tensor, states: tuple[Tensor, ...], lengths: Tensor | None, resets: Tensor | None
        ) -> tuple[Tensor, tuple[Tensor, ...]]:
            read, chosen = (part, None) if tokens is None else (x, part)
            results = kernel(read, *states, tokens=chosen, lengths=lengths, resets=resets)
            return results[0], results[1 : 1 + len(states)]

        sequence = x if tokens is None else tokens
        outputs, states = kernels.recomputed(
            run, sequence, states, lengths, resets, reverse=self.reverse, steps=steps, reads=tensors
        )
        return outputs, *states


class FeedForward(Cell):
    """S = f(W_in X + b): an ordinary layer at every step, with an empty state. The memoryless baseline of every task.

    Arguments: inputs I, hidden H, activation (a name from `kernels.ACTIVATIONS`).
    """

    state_type = FeedForwardState
    has_activation = True

    def __init__(self, inputs: int, hidden: int, *, activation: str = "tanh", reverse: bool = False) -> None:
        super().__init__(inputs, hidden, reverse=reverse)
        self.activation = _activation(activation)
        # no state, so the order of the steps cannot matter
        self.causal = True
        self.weight_in = _matrix(hidden, inputs)
        self.bias = nn.Parameter(torch.zeros(hidden))
        _initialise(self.weight_in, None, gates=1)

    def initial_state(self, batch: int) -> FeedForwardState:
        return FeedForwardState()

    def _run(
        self, inputs: Inputs, state: Any, lengths: Tensor | None, resets: Tensor | None, keep: bool
    ) -> tuple[Tensor, Any, dict[str, Tensor]]:
        x, tokens = operands(inputs)
        z = kernels.linear(x, self.weight_in, self.bias)
        outputs = kernels.ACTIVATIONS[self.activation](z)
        every = {"outputs": outputs, "z": z} if keep else {"outputs": outputs}
        if tokens is not None:
            every = {name: Symbols(values, tokens).spelled_out() for name, values in every.items()}
        every = {name: kernels.without_padding(values, lengths) for name, values in every.items()}
        return every.pop("outputs"), state, every


class Elman(_KernelCell):
    """S_t = f(W_in X_t + W_S S_{t-1} + b), the simple recurrent network (Elman 1990).

    Arguments: inputs I, hidden H, activation (a name from `kernels.ACTIVATIONS`), reverse, recompute and weight_drop (as
    in `GRU`).
    Traced: z, the sum before f.
    """

    state_type = ElmanState
    has_activation = True

    def __init__(
        self, inputs: int, hidden: int, *, activation: str = "tanh", reverse: bool = False, recompute: int | None = None,
        weight_drop: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(inputs, hidden, reverse=reverse, recompute=recompute, weight_drop=weight_drop)
        self.activation = _activation(activation)
        self.weight_in = _matrix(hidden, inputs)
        self.weight_state = _matrix(hidden, hidden)
        self.bias = nn.Parameter(torch.zeros(hidden))
        _initialise(self.weight_in, self.weight_state, gates=1)

    def initial_state(self, batch: int) -> ElmanState:
        return ElmanState(self.bias.new_zeros(batch, self.hidden))

    def weights(self) -> kernels.LayerWeights | None:
        if not self._whole():
            return None
        return kernels.LayerWeights(
            "elman", self.weight_in, self.weight_state, self.bias, activation=self.activation, reverse=self.reverse
        )

    def _run(
        self, inputs: Inputs, state: ElmanState, lengths: Tensor | None, resets: Tensor | None, keep: bool
    ) -> tuple[Tensor, Any, dict[str, Tensor]]:
        outputs, h, *inner = self._call(
            kernels.elman, inputs, (state.h,), lengths, resets, keep, weight=self._recurrent(),
            weight_in=self.weight_in, bias_in=self.bias, activation=self.activation,
        )  # fmt: skip
        return outputs, ElmanState(h), {"z": inner[0]} if keep else {}


class GRU(_KernelCell):
    """The gated recurrent unit (Cho et al. 2014): a gate z that keeps, a gate r that forgets, a candidate n.

    Arguments: inputs I, hidden H, reset_after (true: r acts on W_n S + bias, as in cuDNN and torch; false: r acts on S, as
    in the paper), reverse, recompute (None, or of how many steps training holds the gates at once: backward computes the
    others again, for a long sequence to fit into memory), weight_drop (the share of W_S that is taken for zero, drawn anew
    for each training sequence). Traced: r, z, n and q, the recurrent part of the candidate.
    """

    state_type = GRUState
    names: Final = ("r", "z", "n", "q")

    def __init__(
        self, inputs: int, hidden: int, *, reset_after: bool = True, reverse: bool = False, recompute: int | None = None,
        weight_drop: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(inputs, hidden, reverse=reverse, recompute=recompute, weight_drop=weight_drop)
        self.reset_after = reset_after
        self.weight_in = _matrix(3 * hidden, inputs)
        self.weight_state = _matrix(3 * hidden, hidden)
        self.bias = nn.Parameter(torch.zeros(3 * hidden))
        self.bias_state = nn.Parameter(torch.zeros(hidden))
        _initialise(self.weight_in, self.weight_state, gates=3)

    def initial_state(self, batch: int) -> GRUState:
        return GRUState(self.bias.new_zeros(batch, self.hidden))

    def weights(self) -> kernels.LayerWeights | None:
        if not self._whole():
            return None
        return kernels.LayerWeights(
            "gru", self.weight_in, self.weight_state, self.bias, self.bias_state, reset_after=self.reset_after,
            reverse=self.reverse,
        )  # fmt: skip

    def _run(
        self, inputs: Inputs, state: GRUState, lengths: Tensor | None, resets: Tensor | None, keep: bool
    ) -> tuple[Tensor, Any, dict[str, Tensor]]:
        outputs, h, *inner = self._call(
            kernels.gru, inputs, (state.h,), lengths, resets, keep, weight=self._recurrent(), bias=self.bias_state,
            weight_in=self.weight_in, bias_in=self.bias, reset_after=self.reset_after,
        )  # fmt: skip
        return outputs, GRUState(h), dict(zip(self.names, inner[0].chunk(4, dim=-1), strict=True)) if keep else {}


class LSTM(_KernelCell):
    """Long short-term memory (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000).

    Arguments: inputs I, hidden H, reverse, recompute, weight_drop (as in `GRU`). The forget gate's bias starts at one
    (Jozefowicz et al. 2015).
    Traced: the gates i, f, g, o and the cell c.
    """

    state_type = LSTMState
    names: Final = ("i", "f", "g", "o")

    def __init__(
        self, inputs: int, hidden: int, *, reverse: bool = False, recompute: int | None = None, weight_drop: float = 0.0
    ) -> None:
        super().__init__(inputs, hidden, reverse=reverse, recompute=recompute, weight_drop=weight_drop)
        self.weight_in = _matrix(4 * hidden, inputs)
        self.weight_state = _matrix(4 * hidden, hidden)
        self.bias = nn.Parameter(torch.zeros(4 * hidden))
        _initialise(self.weight_in, self.weight_state, gates=4)
        with torch.no_grad():
            self.bias[hidden : 2 * hidden] = 1.0

    def initial_state(self, batch: int) -> LSTMState:
        zeros = self.bias.new_zeros(batch, self.hidden)
        return LSTMState(zeros, zeros.clone())

    def weights(self) -> kernels.LayerWeights | None:
        if not self._whole():
            return None
        return kernels.LayerWeights("lstm", self.weight_in, self.weight_state, self.bias, reverse=self.reverse)

    def _run(
        self, inputs: Inputs, state: LSTMState, lengths: Tensor | None, resets: Tensor | None, keep: bool
    ) -> tuple[Tensor, Any, dict[str, Tensor]]:
        outputs, h, c, *inner = self._call(
            kernels.lstm, inputs, (state.h, state.c), lengths, resets, keep, weight=self._recurrent(),
            weight_in=self.weight_in, bias_in=self.bias,
        )  # fmt: skip
        if not keep:
            return outputs, LSTMState(h, c), {}
        gates, cells = inner
        return outputs, LSTMState(h, c), {**dict(zip(self.names, gates.chunk(4, dim=-1), strict=True)), "c": cells}
