"""The one protocol that a cell, a stack and a model speak, and the base of all cells."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Protocol, runtime_checkable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from recurra import kernels
from recurra.cells.symbols import Inputs, Symbols
from recurra.errors import DataError, UsageError
from recurra.state import State, check_like


@runtime_checkable
class Recurrent(Protocol):
    """Whatever runs over a sequence and hands its state back. A step is a sequence of length one.

    `causal` is false only where the future is needed: then a sequence cannot be cut into pieces.
    Shapes below models are time first: inputs[T, B, I] (numbers, or `Symbols`) -> outputs[T, B, H]; lengths[B] are whole
    numbers of valid steps (int64), resets[T, B] (bool) start a row from zeros before that step.
    """

    causal: bool

    def initial_state(self, batch: int) -> State: ...

    def forward(
        self, inputs: Inputs, state: Any, lengths: Tensor | None = None, resets: Tensor | None = None
    ) -> tuple[Tensor, Any]: ...

    def trace(
        self, inputs: Inputs, state: Any, lengths: Tensor | None = None, resets: Tensor | None = None
    ) -> tuple[Tensor, Any, dict[str, Tensor]]: ...


class Cell(nn.Module, ABC):
    """One recurrence: `inputs` numbers come in at each step, `hidden` go out, and the state goes on.

    Arguments:
    - inputs: the width I of an input step.
    - hidden: the width H of an output step.
    - reverse: take the steps from the last to the first (the backward half of a bidirectional layer).
    """

    state_type: ClassVar[type]
    """The class of its state."""
    has_activation: ClassVar[bool] = False
    """Whether the constructor takes `activation`, a name from `kernels.ACTIVATIONS`."""
    can_recompute: ClassVar[bool] = False
    """Whether the constructor takes `recompute`, the steps whose inner values training holds at once."""

    def __init__(self, inputs: int, hidden: int, *, reverse: bool = False) -> None:
        super().__init__()
        for name, size in (("inputs", inputs), ("hidden", hidden)):
            if not isinstance(size, int) or isinstance(size, bool) or size < 1:
                raise UsageError(
                    f"{type(self).__name__}: '{name}' is wrong", got=repr(size), expected="a whole number > 0"
                )
        self.inputs = inputs
        self.hidden = hidden
        self.reverse = reverse
        self.causal = not reverse
        self.state_widths: tuple[int, ...] | None = None
        """The widths of the leaves of its state, where they are not H."""

    @abstractmethod
    def initial_state(self, batch: int) -> Any:
        """The state before anything was seen, for `batch` rows: zeros, in the dtype and on the device of the parameters."""

    @abstractmethod
    def _run(
        self, inputs: Inputs, state: Any, lengths: Tensor | None, resets: Tensor | None, keep: bool
    ) -> tuple[Tensor, Any, dict[str, Tensor]]:
        """Outputs, last state and (if `keep`) every step's inner values by name. Inputs were checked."""

    def forward(
        self, inputs: Inputs, state: Any, lengths: Tensor | None = None, resets: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """inputs[T, B, I], a state -> outputs[T, B, H], the state after the last valid step.

        Raises `DataError` for inputs, lengths or resets of a wrong shape or type, `StateError` for a foreign state.
        """
        if kernels.direct():
            done = _short(self, inputs, state, lengths, resets)
            if done is not None:
                return done
        self._check(inputs, state, lengths, resets)
        outputs, state, _ = self._run(inputs, state, lengths, resets, keep=False)
        return outputs, state

    def _whole(self) -> bool:
        """Whether the weights are used as they stand, so that a kernel may keep them."""
        return True

    def weights(self) -> kernels.LayerWeights | kernels.SweepLayer | None:
        """What a kernel needs to run this cell by itself, or None where it takes more than that."""
        return None

    def trace(
        self, inputs: Inputs, state: Any, lengths: Tensor | None = None, resets: Tensor | None = None
    ) -> tuple[Tensor, Any, dict[str, Tensor]]:
        """What `forward` gives, and the inner values of every step by name, each [T, B, H] and zero where padded."""
        self._check(inputs, state, lengths, resets)
        return self._run(inputs, state, lengths, resets, keep=True)

    def extra_repr(self) -> str:
        return f"{self.inputs}, {self.hidden}" + (", reverse=True" if self.reverse else "")

    def _check(self, inputs: Inputs, state: Any, lengths: Tensor | None, resets: Tensor | None) -> None:
        check_sequence(type(self).__name__, inputs, self.inputs, lengths, resets)
        numbers = inputs.table if isinstance(inputs, Symbols) else inputs
        first = next(self.parameters(), None)
        wanted = numbers.dtype if first is None else first.dtype
        if numbers.dtype != wanted:
            raise DataError(
                f"{type(self).__name__}: the inputs have the wrong dtype", got=numbers.dtype, expected=wanted
            )
        check_like(state, self.initial_state(inputs.shape[1]))


_kept: WeakKeyDictionary[Cell, kernels.Kept] = WeakKeyDictionary()


def _short(
    cell: Cell, inputs: Inputs, state: Any, lengths: Tensor | None, resets: Tensor | None
) -> tuple[Tensor, Any] | None:
    """What `Cell.forward` gives, with weights kept packed, for a short sequence of plain tensors; or None.

    Whatever is out of the ordinary, mistakes included, is left to the long way.
    """
    ready = _ready(cell, inputs, state, lengths, resets)
    if ready is None:
        return None
    kept, x, leaves = ready
    done = kept.run(x, lengths, resets, leaves, cell.hidden)
    return None if done is None else (done[0], cell.state_type(*done[1]))


def short_pair(
    ahead: Cell, back: Cell, inputs: Inputs, states: tuple[Any, Any], lengths: Tensor | None, resets: Tensor | None
) -> tuple[tuple[Tensor, Any], tuple[Tensor, Any]] | None:
    """What two cells give over the same short sequence, side by side on the threads; or None, as `_short`."""
    if not kernels.direct():
        return None
    one, other = (
        _ready(cell, inputs, state, lengths, resets) for cell, state in zip((ahead, back), states, strict=True)
    )
    if one is None or other is None:
        return None
    done = one[0].run_beside(other[0], one[1], lengths, resets, one[2], other[2], (ahead.hidden, back.hidden))
    if done is None:
        return None
    return (done[0][0], ahead.state_type(*done[0][1])), (done[1][0], back.state_type(*done[1][1]))


def _ready(
    cell: Cell, inputs: Inputs, state: Any, lengths: Tensor | None, resets: Tensor | None
) -> tuple[kernels.Kept, Tensor, list[Tensor]] | None:
    """The cell's kept weights, the inputs and the leaves of the state, where all is as the short way needs it."""
    if type(inputs) is not Tensor or inputs.dim() != 3 or not cell._whole():
        return None
    steps, batch, width = inputs.shape
    if not 0 < steps * batch <= kernels.MOST_ROWS or width != cell.inputs or not inputs.is_contiguous():
        return None
    kept = _kept.get(cell)
    if kept is None or not kept.current():
        weights = cell.weights()
        if weights is None or not kernels.keepable(cell, [weights]):
            return None
        kept = _kept[cell] = kernels.Kept(cell, [weights])
    if inputs.dtype != kept.dtype or inputs.device.type != "cpu" or type(state) is not cell.state_type:
        return None
    leaves = list(state.__dict__.values())
    for leaf, width in zip(leaves, cell.state_widths or [cell.hidden] * len(leaves), strict=True):
        if not _plain(leaf, kept.dtype, (batch, width)):
            return None
    if lengths is not None and not _plain(lengths, torch.int64, (batch,)):
        return None
    if resets is not None and not _plain(resets, torch.bool, (steps, batch)):
        return None
    return kept, inputs, leaves


def _plain(given: Any, dtype: torch.dtype, shape: tuple[int, ...]) -> bool:
    """Whether this is an ordinary tensor of this dtype and shape, its numbers side by side in the processor's memory."""
    return (
        type(given) is Tensor and given.shape == shape and given.dtype == dtype and given.is_contiguous()
        and given.device.type == "cpu"
    )  # fmt: skip


def check_sequence(
    who: str, inputs: Inputs, width: int, lengths: Tensor | None = None, resets: Tensor | None = None
) -> None:
    """Raise `DataError` unless inputs is [T, B, width], lengths int64 [B] and resets bool [T, B]."""
    for name, given in (("inputs", inputs), ("lengths", lengths), ("resets", resets)):
        if given is not None and not isinstance(given, Tensor | Symbols):
            raise DataError(f"{who}: the {name} are no tensor", got=type(given).__name__, expected="a torch.Tensor")
    if inputs.dim() != 3 or inputs.shape[2] != width:
        raise DataError(
            f"{who}: the inputs have the wrong shape",
            got=tuple(inputs.shape),
            expected=f"(T, B, {width}): time, batch, input width",
        )
    if isinstance(inputs, Symbols) and (inputs.tokens.dtype != torch.int64 or inputs.tokens.dim() != 2):
        got = f"{tuple(inputs.tokens.shape)} {inputs.tokens.dtype}"
        raise DataError(f"{who}: the tokens are wrong", got=got, expected="(T, B) torch.int64")
    if isinstance(inputs, Symbols) and inputs.device.type == "cpu" and not torch.compiler.is_compiling():
        _check_range(who, inputs)
    steps, batch = inputs.shape[:2]
    if lengths is not None:
        _check_lengths(who, lengths, steps, batch)
    if resets is not None and (resets.dtype != torch.bool or resets.shape != (steps, batch)):
        raise DataError(
            f"{who}: the resets are wrong",
            got=f"{tuple(resets.shape)} {resets.dtype}",
            expected=f"({steps}, {batch}) torch.bool",
        )


def _check_range(who: str, inputs: Symbols) -> None:
    if inputs.tokens.numel() and not kernels.transformed(inputs.tokens):
        low, high = (int(value) for value in inputs.tokens.aminmax())
        if low < 0 or high >= inputs.table.shape[0]:
            got, expected = f"{low} to {high}", f"0 to {inputs.table.shape[0] - 1}"
            raise DataError(f"{who}: there is no such token", got=got, expected=expected)


def _check_lengths(who: str, lengths: Tensor, steps: int, batch: int) -> None:
    if lengths.dtype != torch.int64 or lengths.shape != (batch,):
        got = f"{tuple(lengths.shape)} {lengths.dtype}"
        raise DataError(f"{who}: the lengths are wrong", got=got, expected=f"({batch},) torch.int64")
    # to look at the values would wait for a GPU, and has no meaning while a graph is traced or a batch is mapped over
    looked_at = lengths.device.type == "cpu" and not torch.compiler.is_compiling() and batch
    if looked_at and not kernels.transformed(lengths):
        low, high = (int(value) for value in lengths.aminmax())
        if low < 0 or high > steps:
            raise DataError(f"{who}: the lengths are out of range", got=f"{low} to {high}", expected=f"0 to {steps}")
