"""The one protocol that a cell, a stack and a model speak, and the base of all cells."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from recurra.errors import DataError, UsageError
from recurra.state import State, check_like


@runtime_checkable
class Recurrent(Protocol):
    """Whatever runs over a sequence and hands its state back. A step is a sequence of length one.

    `causal` is false only where the future is needed: then a sequence cannot be cut into pieces.
    Shapes below models are time first: inputs[T, B, I] -> outputs[T, B, H]; lengths[B] are whole numbers of valid steps
    (int64), resets[T, B] (bool) start a row from zeros before that step.
    """

    causal: bool

    def initial_state(self, batch: int) -> State: ...

    def forward(
        self, inputs: Tensor, state: Any, lengths: Tensor | None = None, resets: Tensor | None = None
    ) -> tuple[Tensor, Any]: ...

    def trace(
        self, inputs: Tensor, state: Any, lengths: Tensor | None = None, resets: Tensor | None = None
    ) -> tuple[Tensor, Any, dict[str, Tensor]]: ...


class Cell(nn.Module, ABC):
    """One recurrence: `inputs` numbers come in at each step, `hidden` go out, and the state goes on.

    Arguments:
    - inputs: the width I of an input step.
    - hidden: the width H of an output step.
    - reverse: take the steps from the last to the first (the backward half of a bidirectional layer).
    """

    has_activation: ClassVar[bool] = False
    """Whether the constructor takes `activation`, a name from `kernels.ACTIVATIONS`."""

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

    @abstractmethod
    def initial_state(self, batch: int) -> Any:
        """The state before anything was seen, for `batch` rows: zeros, in the dtype and on the device of the parameters."""

    @abstractmethod
    def _run(
        self, inputs: Tensor, state: Any, lengths: Tensor | None, resets: Tensor | None, keep: bool
    ) -> tuple[Tensor, Any, dict[str, Tensor]]:
        """Outputs, last state and (if `keep`) every step's inner values by name. Inputs were checked."""

    def forward(
        self, inputs: Tensor, state: Any, lengths: Tensor | None = None, resets: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """inputs[T, B, I], a state -> outputs[T, B, H], the state after the last valid step.

        Raises `DataError` for inputs, lengths or resets of a wrong shape or type, `StateError` for a foreign state.
        """
        self._check(inputs, state, lengths, resets)
        outputs, state, _ = self._run(inputs, state, lengths, resets, keep=False)
        return outputs, state

    def trace(
        self, inputs: Tensor, state: Any, lengths: Tensor | None = None, resets: Tensor | None = None
    ) -> tuple[Tensor, Any, dict[str, Tensor]]:
        """What `forward` gives, and the inner values of every step by name, each [T, B, H] and zero where padded."""
        self._check(inputs, state, lengths, resets)
        return self._run(inputs, state, lengths, resets, keep=True)

    def extra_repr(self) -> str:
        return f"{self.inputs}, {self.hidden}" + (", reverse=True" if self.reverse else "")

    def _check(self, inputs: Tensor, state: Any, lengths: Tensor | None, resets: Tensor | None) -> None:
        check_sequence(type(self).__name__, inputs, self.inputs, lengths, resets)
        check_like(state, self.initial_state(inputs.shape[1]))


def check_sequence(
    who: str, inputs: Tensor, width: int, lengths: Tensor | None = None, resets: Tensor | None = None
) -> None:
    """Raise `DataError` unless inputs is [T, B, width], lengths int64 [B] and resets bool [T, B]."""
    if inputs.dim() != 3 or inputs.shape[2] != width:
        raise DataError(
            f"{who}: the inputs have the wrong shape",
            got=tuple(inputs.shape),
            expected=f"(T, B, {width}): time, batch, input width",
        )
    steps, batch = inputs.shape[:2]
    if lengths is not None:
        _check_lengths(who, lengths, steps, batch)
    if resets is not None and (resets.dtype != torch.bool or resets.shape != (steps, batch)):
        raise DataError(
            f"{who}: the resets are wrong",
            got=f"{tuple(resets.shape)} {resets.dtype}",
            expected=f"({steps}, {batch}) torch.bool",
        )


def _check_lengths(who: str, lengths: Tensor, steps: int, batch: int) -> None:
    if lengths.dtype != torch.int64 or lengths.shape != (batch,):
        got = f"{tuple(lengths.shape)} {lengths.dtype}"
        raise DataError(f"{who}: the lengths are wrong", got=got, expected=f"({batch},) torch.int64")
    # to look at the values would wait for a GPU, and has no meaning while a graph is traced
    if lengths.device.type == "cpu" and not torch.compiler.is_compiling() and batch:
        low, high = (int(value) for value in lengths.aminmax())
        if low < 0 or high > steps:
            raise DataError(f"{who}: the lengths are out of range", got=f"{low} to {high}", expected=f"0 to {steps}")
