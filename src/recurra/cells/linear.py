"""Cells whose units meet nobody on their way through time: MinGRU, MinLSTM, RGLRU and LRU; and SLSTM and MLSTM.

Equations and papers: docs/equations.md.

All of a step's sums come from its inputs alone (the SLSTM's also from the last outputs of the same head), so whole sequences
are products of many rows; what is left is one sweep.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from recurra import kernels
from recurra.cells.cell import Cell
from recurra.cells.symbols import Inputs, operands, spelled_out
from recurra.errors import UsageError
from recurra.kernels import Parameters, SweepLayer
from recurra.state import state_class


@state_class
class MinGRUState:
    """h[B, H], the last output."""

    h: Tensor


@state_class
class MinLSTMState:
    """h[B, H], the last output."""

    h: Tensor


@state_class
class RGLRUState:
    """h[B, H], the last output."""

    h: Tensor


@state_class
class SLSTMState:
    """h[B, H], the last output; c and n[B, H], what is kept and how much of it, both times exp(-m); and m[B, H]."""

    h: Tensor
    c: Tensor
    n: Tensor
    m: Tensor


@state_class
class MLSTMState:
    """n[B, H], c[B, H * W], a matrix [W, W] for each head of W units, both times exp(-m); and m[B, heads]."""

    n: Tensor
    c: Tensor
    m: Tensor


@state_class
class LRUState:
    """re[B, N] and im[B, N], the two parts of the complex state."""

    re: Tensor
    im: Tensor


def _glorot(gates: int, units: int, inputs: int) -> nn.Parameter:
    """[gates * units, inputs], each gate on its own (Glorot and Bengio 2010)."""
    weight = torch.empty(gates * units, inputs)
    for gate in weight.chunk(gates):
        nn.init.xavier_uniform_(gate)
    return nn.Parameter(weight)


def _ring(units: int, least: float, most: float) -> Tensor:
    """Sizes between these two, even over the area of that ring (Orvieto et al. 2023, lemma 3.2)."""
    return torch.sqrt(torch.rand(units) * (most**2 - least**2) + least**2)


class SweepCell(Cell):
    """A cell that is one sweep, of the name `sweep` in the table of sweeps."""

    sweep: ClassVar[str]

    def initial_state(self, batch: int) -> Any:
        like = next(self.parameters())
        widths = self.state_widths or [self.hidden] * kernels.SWEEPS[self.sweep].leaves
        return self.state_type(*(like.new_zeros(batch, width) for width in widths))

    @abstractmethod
    def sweep_parameters(self) -> Parameters:
        """What its sweep is made with."""

    def weights(self) -> SweepLayer | None:
        return SweepLayer(self.sweep, self.inputs, self.hidden, self.sweep_parameters(), reverse=self.reverse)

    def _run(
        self, inputs: Inputs, state: Any, lengths: Tensor | None, resets: Tensor | None, keep: bool
    ) -> tuple[Tensor, Any, dict[str, Tensor]]:
        # the sums of looked-up inputs are not kept
        sweep, parameters = kernels.SWEEPS[self.sweep], self.sweep_parameters()
        x, tokens = (spelled_out(inputs), None) if keep else operands(inputs)
        outputs, last, sums = kernels.sweep(
            self.sweep, x, list(vars(state).values()), parameters, tokens=tokens, lengths=lengths, resets=resets,
            reverse=self.reverse, keep=keep,
        )  # fmt: skip
        inner: dict[str, Tensor] = {}
        if keep:
            inner = sweep.inner(sums, () if parameters.own is None else sweep.numbers(parameters.own))
            inner = {name: kernels.without_padding(value, lengths) for name, value in inner.items()}
        return outputs, self.state_type(*last), inner


class _Gated(SweepCell):
    """MinGRU and MinLSTM: gates stacked along axis 0 of weight_in[G*H, I] and bias[G*H].

    With all gates at 1/2 every unit forgets half at each step, and nothing but the inputs can change that. So their biases
    are spread over the units: what a step keeps of the state starts between 0.98 and 0.12.
    """

    forgetting: ClassVar[tuple[int, ...]]
    """Of the gates before the candidate: 1 where the gate is open to forget, -1 where it is to keep."""

    def __init__(self, inputs: int, hidden: int, *, reverse: bool = False) -> None:
        super().__init__(inputs, hidden, reverse=reverse)
        gates = kernels.SWEEPS[self.sweep].gates
        self.weight_in = _glorot(gates, hidden, inputs)
        self.bias = nn.Parameter(torch.zeros(gates * hidden))
        with torch.no_grad():
            for gate, forgets in enumerate(self.forgetting):
                self.bias[gate * hidden : (gate + 1) * hidden] = forgets * torch.linspace(-4, 2, hidden)

    def sweep_parameters(self) -> Parameters:
        return Parameters(self.weight_in, self.bias)


class MinGRU(_Gated):
    """The smallest GRU (Feng et al. 2024, section 3.1): a gate z and a candidate n, neither of which sees the state.

    Arguments: inputs I, hidden H, reverse. Traced: z, the share of the candidate in the next state, and n.
    """

    state_type = MinGRUState
    sweep = "mingru"
    forgetting = (1,)


class MinLSTM(_Gated):
    """The smallest LSTM (Feng et al. 2024, section 3.2): gates f and i as shares of one, neither of which sees the state.

    Arguments: inputs I, hidden H, reverse. Traced: f and i, the shares of the state and of the candidate, and n.
    """

    state_type = MinLSTMState
    sweep = "minlstm"
    forgetting = (-1, 1)


MOST_BLOCK = 32
"""Units of a block of an RGLRU, at most, where nobody says how many blocks."""


class RGLRU(SweepCell):
    """The real-gated linear recurrent unit of Griffin (De et al. 2024): a decay of each unit's own, and two gates.

    Arguments:
    - inputs I, hidden H, reverse.
    - blocks: the gates see the units of their block alone; None: as few blocks as have 32 units at most.
    - project: whether a product W_in X comes first, as in the block of the paper. The published layer alone has none; without
      one I is H, and units see only those of their block, which a stack of such layers or a tied head learns slowly from.

    A unit's own decay starts between 0.9 and 0.999, even over the area of that ring, as in the authors' code; a fully open
    gate takes it to the power 8, one at 1/2 to the power 4. Traced: v, what comes in, the gates r and i, the decay a.
    """

    state_type = RGLRUState
    sweep = "rglru"

    def __init__(
        self, inputs: int, hidden: int, *, blocks: int | None = None, project: bool = True, reverse: bool = False
    ) -> None:
        super().__init__(inputs, hidden, reverse=reverse)
        width = next(width for width in range(min(MOST_BLOCK, hidden), 0, -1) if hidden % width == 0)
        blocks = hidden // width if blocks is None else blocks
        if not isinstance(blocks, int) or isinstance(blocks, bool) or blocks < 1 or hidden % blocks:
            raise UsageError("RGLRU: 'blocks' is wrong", got=repr(blocks), expected=f"a divisor of hidden={hidden}")
        if not project and inputs != hidden:
            raise UsageError(
                "RGLRU: without a product the inputs are as wide as the units", got=inputs, expected=hidden
            )
        width = hidden // blocks
        self.weight_in = _glorot(1, hidden, inputs) if project else None
        self.bias = nn.Parameter(torch.zeros(hidden)) if project else None
        bound = math.sqrt(3 / width)  # Glorot and Bengio 2010, of a block
        self.weight_gates = nn.Parameter(torch.empty(2, hidden, width).uniform_(-bound, bound))
        self.bias_gates = nn.Parameter(torch.zeros(2 * hidden))
        # exp(-softplus(decay)) is that: where its power 8 is, all units forget a step too slowly for what is near
        self.decay = nn.Parameter(torch.log(torch.expm1(-torch.log(_ring(hidden, 0.9, 0.999)))))

    def sweep_parameters(self) -> Parameters:
        return Parameters(self.weight_in, self.bias, self.weight_gates, self.bias_gates, self.decay[None])

    def weights(self) -> SweepLayer | None:
        parameters = Parameters(self.weight_in, self.bias, self.weight_gates, self.bias_gates, self.decay)
        return SweepLayer(self.sweep, self.inputs, self.hidden, parameters, reverse=self.reverse)


HEADS = 4
"""Heads of an SLSTM, at most, where nobody says how many."""


class SLSTM(SweepCell):
    """The scalar LSTM of xLSTM (Beck et al. 2024): an exponential input gate, a normaliser, and heads that do not mix.

    Arguments:
    - inputs I, hidden H, reverse.
    - heads: the units of a head see the last outputs of that head alone; None: the most up to 4 that divide H.

    Gates stand in the order z, i, f, o. The forget gate's biases start evenly from 5 down to -7 within each head, from
    hundreds of steps to less than one. (The authors' code bends that line by a power from 0.3 in the first block to 1.6 in
    the last; a cell does not know which block it is in.)
    Traced: z, i (before its exponential), f, o.
    """

    state_type = SLSTMState
    sweep = "slstm"

    def __init__(self, inputs: int, hidden: int, *, heads: int | None = None, reverse: bool = False) -> None:
        super().__init__(inputs, hidden, reverse=reverse)
        heads = next(heads for heads in range(HEADS, 0, -1) if hidden % heads == 0) if heads is None else heads
        if not isinstance(heads, int) or isinstance(heads, bool) or heads < 1 or hidden % heads:
            raise UsageError("SLSTM: 'heads' is wrong", got=repr(heads), expected=f"a divisor of hidden={hidden}")
        width = hidden // heads
        self.weight_in = _glorot(4, hidden, inputs)
        self.bias = nn.Parameter(torch.zeros(4 * hidden))
        weight = torch.empty(4, heads, width, width)
        for block in weight.flatten(0, 1):  # Saxe et al. 2014
            nn.init.orthogonal_(block)
        self.weight_state = nn.Parameter(weight.reshape(4, hidden, width))
        with torch.no_grad():
            self.bias[2 * hidden : 3 * hidden] = torch.linspace(5, -7, width).repeat(heads)

    def sweep_parameters(self) -> Parameters:
        return Parameters(self.weight_in, self.bias, self.weight_state)


class MLSTM(SweepCell):
    """The matrix LSTM of xLSTM (Beck et al. 2024): each head keeps a matrix that it writes to by key and reads by query.

    Arguments:
    - inputs I, hidden H, reverse.
    - heads: each keeps a matrix [H / heads, H / heads]; None: the most up to 4 that divide H.

    Rows of weight_in: q, k, v, o [H each], then the gates i and f [heads each]. The forget gate's biases divide
    what is between 0 and 6 evenly, one number a head: 3 for a single one. (The authors' code has 3 to 6, behind a convolution
    that sees what is near.) Traced: q, k, v, o, and the gates i (before its exponential) and f.
    """

    state_type = MLSTMState
    sweep = "mlstm"

    def __init__(self, inputs: int, hidden: int, *, heads: int | None = None, reverse: bool = False) -> None:
        super().__init__(inputs, hidden, reverse=reverse)
        heads = next(heads for heads in range(HEADS, 0, -1) if hidden % heads == 0) if heads is None else heads
        if not isinstance(heads, int) or isinstance(heads, bool) or heads < 1 or hidden % heads:
            raise UsageError("MLSTM: 'heads' is wrong", got=repr(heads), expected=f"a divisor of hidden={hidden}")
        self.heads = heads
        self.state_widths = (hidden, hidden * hidden // heads, heads)
        with torch.no_grad():
            weight = torch.cat([_glorot(4, hidden, inputs), _glorot(2, heads, inputs)])
        self.weight_in = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(4 * hidden + 2 * heads))
        with torch.no_grad():
            self.bias[-heads:] = torch.linspace(0, 6, heads + 2)[1:-1]

    def sweep_parameters(self) -> Parameters:
        return Parameters(self.weight_in, self.bias)

    def weights(self) -> SweepLayer | None:
        return SweepLayer(
            self.sweep, self.inputs, self.hidden, self.sweep_parameters(), self.heads, reverse=self.reverse
        )  # fmt: skip

    def _run(
        self, inputs: Inputs, state: Any, lengths: Tensor | None, resets: Tensor | None, keep: bool
    ) -> tuple[Tensor, Any, dict[str, Tensor]]:
        outputs, last, inner = super()._run(inputs, state, lengths, resets, keep)
        if not keep:
            return outputs, last, {}
        parts = inner["sums"].split([self.hidden] * 4 + [self.heads] * 2, dim=-1)
        q, k, v, o, i, f = (kernels.without_padding(part, lengths) for part in parts)
        o, f = (kernels.without_padding(torch.sigmoid(gate), lengths) for gate in (o, f))
        return outputs, last, {"q": q, "k": k, "v": v, "o": o, "i": i, "f": f}


class LRU(SweepCell):
    """The linear recurrent unit (Orvieto et al. 2023): a complex state that turns and shrinks, read by a real product.

    Arguments:
    - inputs I, hidden H, reverse.
    - units: the size N of the complex state; None: H/2, so that it holds as many numbers as there are outputs.
    - activation: what the outputs pass through, a name from `kernels.ACTIVATIONS`.

    |λ| starts on a ring between 0.5 and 0.999, its angle below π/10. Where I is H the inputs are added, times `skip`[H].
    Traced: re and im, the state after each step.
    """

    state_type = LRUState
    sweep = "lru"
    has_activation = True

    def __init__(
        self, inputs: int, hidden: int, *, units: int | None = None, activation: str = "relu", reverse: bool = False
    ) -> None:
        super().__init__(inputs, hidden, reverse=reverse)
        units = max(1, hidden // 2) if units is None else units
        if not isinstance(units, int) or isinstance(units, bool) or units < 1:
            raise UsageError("LRU: 'units' is wrong", got=repr(units), expected="a whole number > 0")
        if activation not in kernels.ACTIVATIONS:
            raise UsageError(f"There is no activation '{activation}'", expected=", ".join(kernels.ACTIVATIONS))
        self.activation = activation
        self.state_widths = (units, units)
        self.weight_in = nn.Parameter(torch.randn(2 * units, inputs) / math.sqrt(2 * inputs))
        self.bias = nn.Parameter(torch.zeros(2 * units))
        size = _ring(units, 0.5, 0.999)
        angle = torch.rand(units) * (math.pi / 10) + 1e-4
        numbers = torch.log(-torch.log(size)), torch.log(angle), torch.log1p(-(size**2)) / 2
        self.ring = nn.Parameter(torch.stack(numbers))
        self.readout = nn.Parameter(torch.randn(hidden, 2 * units) / math.sqrt(2 * units))
        self.skip = nn.Parameter(torch.ones(hidden)) if inputs == hidden else None

    def sweep_parameters(self) -> Parameters:
        return Parameters(self.weight_in, self.bias, own=self.ring)

    def weights(self) -> SweepLayer | None:
        if self.activation not in ("relu", "identity"):
            return None
        return SweepLayer(
            self.sweep, self.inputs, self.readout.shape[1] // 2, self.sweep_parameters(), readout=self.readout,
            skip=self.skip, activation=self.activation, reverse=self.reverse,
        )  # fmt: skip

    def _run(
        self, inputs: Inputs, state: Any, lengths: Tensor | None, resets: Tensor | None, keep: bool
    ) -> tuple[Tensor, Any, dict[str, Tensor]]:
        states, last, _ = super()._run(inputs, state, lengths, resets, keep)
        added, tokens = (None, None) if self.skip is None else operands(inputs)
        if added is not None and tokens is None:
            added = kernels.without_padding(added, lengths)
        outputs = kernels.readout(states, self.readout, added, self.skip, self.activation, tokens=tokens)
        outputs = kernels.without_padding(outputs, lengths)
        return outputs, last, dict(zip(("re", "im"), states.chunk(2, dim=-1), strict=True)) if keep else {}
