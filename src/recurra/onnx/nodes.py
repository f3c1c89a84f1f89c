"""RNN, GRU and LSTM as ONNX has them: their attributes checked, their weights in our order, one kernel call a direction.

Source: https://onnx.ai/onnx/operators/onnx__RNN.html, onnx__GRU.html and onnx__LSTM.html, versions 1 to 22. It knows
tensors; models, graphs and numpy are the backend's affair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recurra import kernels
from recurra.errors import DataError, UsageError
from recurra.onnx.activations import Activation, activations
from recurra.onnx.steps import States, gru_step, lstm_step, rnn_step


@dataclass(frozen=True)
class Operator:
    """`order`: where our gates stand in ONNX's. `activations`: the default ones of a direction. `inputs`: names in order."""

    order: tuple[int, ...]
    activations: tuple[str, ...]
    inputs: tuple[str, ...]
    states: tuple[str, ...]


_INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h")
OPERATORS: dict[str, Operator] = {
    "RNN": Operator((0,), ("Tanh",), _INPUTS, ("initial_h",)),
    # ours r, z, n; ONNX's z, r, h. Its z is the share of the old state, as ours is
    "GRU": Operator((1, 0, 2), ("Sigmoid", "Tanh"), _INPUTS, ("initial_h",)),
    # ours i, f, g, o; ONNX's i, o, f, c
    "LSTM": Operator(
        (0, 2, 3, 1), ("Sigmoid", "Tanh", "Tanh"), (*_INPUTS, "initial_c", "P"), ("initial_h", "initial_c")
    ),
}
PEEPHOLES = (0, 2, 1)
"""Where our peepholes i, f, o stand in ONNX's i, o, f."""

_NATIVE_RNN = {"Tanh": "tanh", "Relu": "relu", "Sigmoid": "sigmoid"}
_DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
_ATTRIBUTES = {
    "activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size", "layout",
    "linear_before_reset", "input_forget", "output_sequence",
}  # fmt: skip


@dataclass(frozen=True)
class Weights:
    """Those of one direction, as the kernels take them: gates in our order, both biases in one where they may be."""

    weight_in: Tensor
    weight: Tensor
    bias_in: Tensor
    bias: Tensor
    peepholes: Tensor | None


@dataclass(frozen=True)
class Node:
    """One recurrent node without its tensors. `reverse` and `functions` have an entry for each direction."""

    who: str
    operator: str
    hidden: int | None
    reverse: tuple[bool, ...]
    functions: tuple[tuple[Activation, ...], ...]
    clip: float | None
    batch_first: bool
    reset_after: bool
    input_forget: bool

    @classmethod
    def read(cls, operator: str, attributes: Mapping[str, Any], name: str = "") -> Node:
        """A node from its attributes; raises `UsageError` for what the standard does not have."""
        who = f"ONNX node {operator}" + (f" '{name}'" if name else "")
        given = {key: value for key, value in attributes.items() if value is not None}
        unknown = sorted(set(given) - _ATTRIBUTES)
        if unknown:
            raise UsageError(f"{who}: unknown attributes", got=", ".join(unknown), expected=", ".join(_ATTRIBUTES))
        direction = given.get("direction", "forward")
        if direction not in _DIRECTIONS:
            raise UsageError(f"{who}: there is no such direction", got=direction, expected=", ".join(_DIRECTIONS))
        layout = given.get("layout", 0)
        if layout not in (0, 1):
            raise UsageError(
                f"{who}: there is no such layout", got=layout, expected="0 (time first) or 1 (batch first)"
            )
        clip = given.get("clip")
        if clip is not None and not clip > 0:
            raise UsageError(f"{who}: 'clip' is out of range", got=clip, expected="a number > 0")
        reverse = _DIRECTIONS[direction]
        return cls(
            who=who,
            operator=operator,
            hidden=given.get("hidden_size"),
            reverse=reverse,
            functions=_functions(who, operator, given, len(reverse)),
            clip=None if clip is None else float(clip),
            batch_first=layout == 1,
            reset_after=bool(given.get("linear_before_reset", 0)),
            input_forget=bool(given.get("input_forget", 0)),
        )

    def run(self, inputs: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
        """The node's inputs in order (None: absent) -> Y, Y_h and, of an LSTM, Y_c, in the node's layout.

        Shapes as the standard has them; a row of length 0 keeps its initial state. Raises `DataError` for tensors that do
        not fit.
        """
        names = OPERATORS[self.operator].inputs
        if len(inputs) > len(names):
            raise DataError(f"{self.who}: too many inputs", got=len(inputs), expected=f"at most {len(names)}")
        given = {name: value for name, value in zip(names, inputs, strict=False) if value is not None}
        self._check(given)
        x, states = given["X"], [given.get(name) for name in OPERATORS[self.operator].states]
        if self.batch_first:
            x, states = x.transpose(0, 1), [None if s is None else s.transpose(0, 1) for s in states]
        hidden = given["R"].shape[2]
        lengths = given.get("sequence_lens")
        lengths = None if lengths is None else lengths.long()
        found = []
        for direction in range(len(self.reverse)):
            before = tuple(x.new_zeros(x.shape[1], hidden) if s is None else s[direction] for s in states)
            found.append(self._direction(direction, x, before, given, lengths))
        outputs = torch.stack([outputs for outputs, _ in found], dim=1)
        last = [torch.stack(parts) for parts in zip(*(after for _, after in found), strict=True)]
        if self.batch_first:
            return outputs.permute(2, 0, 1, 3), *(part.transpose(0, 1) for part in last)
        return outputs, *last

    def _direction(
        self, direction: int, x: Tensor, states: States, given: Mapping[str, Tensor], lengths: Tensor | None
    ) -> tuple[Tensor, States]:
        """outputs[T, B, H] and the last states of one direction."""
        weights = self._weights(direction, given)
        reverse, functions = self.reverse[direction], self.functions[direction]
        names = tuple(function.name for function in functions)
        shared: dict[str, Any] = {
            "weight_in": weights.weight_in, "bias_in": weights.bias_in, "lengths": lengths, "reverse": reverse,
        }  # fmt: skip
        if self.operator == "RNN" and self.clip is None and names[0] in _NATIVE_RNN:
            activation = _NATIVE_RNN[names[0]]
            outputs, h, _ = kernels.elman(x, states[0], weights.weight, activation=activation, **shared)
            return outputs, (h,)
        if self.clip is None and not self.input_forget and names == OPERATORS[self.operator].activations:
            if self.operator == "GRU":
                outputs, h, _ = kernels.gru(
                    x, states[0], weights.weight, weights.bias, reset_after=self.reset_after, **shared
                )
                return outputs, (h,)
            outputs, h, c, _, _ = kernels.lstm(
                x, states[0], states[1], weights.weight, peepholes=weights.peepholes, **shared
            )
            return outputs, (h, c)
        parameters = {"weight": weights.weight}
        if self.operator == "RNN":
            step = rnn_step(functions[0], self.clip)
        elif self.operator == "GRU":
            step = gru_step(functions[0], functions[1], self.clip, self.reset_after)
            parameters["bias"] = weights.bias
        else:
            step = lstm_step(functions[0], functions[1], functions[2], self.clip, self.input_forget)
            none = x.new_zeros(3, weights.weight.shape[1])
            parameters["peepholes"] = none if weights.peepholes is None else weights.peepholes
        sums = kernels.linear(x, weights.weight_in, weights.bias_in)
        (outputs,), after = kernels.scan(step, sums, states, parameters, lengths=lengths, reverse=reverse)
        return outputs, after

    def _weights(self, direction: int, given: Mapping[str, Tensor]) -> Weights:
        order = OPERATORS[self.operator].order
        weight_in, weight = (reordered(given[name][direction], order) for name in ("W", "R"))
        peepholes = reordered(given["P"][direction], PEEPHOLES).view(3, -1) if "P" in given else None
        if "B" in given:
            bias_in, bias = (reordered(half, order) for half in given["B"][direction].chunk(2))
        else:
            bias_in = bias = weight.new_zeros(weight.shape[0])
        if self.operator != "GRU":
            return Weights(weight_in, weight, bias_in + bias, weight.new_empty(0), peepholes)
        # the recurrent bias of the candidate stays on its own: the reset gate may stand before it
        hidden = weight.shape[1]
        bias_in = torch.cat([bias_in[: 2 * hidden] + bias[: 2 * hidden], bias_in[2 * hidden :]])
        return Weights(weight_in, weight, bias_in, bias[2 * hidden :], peepholes)

    def _check(self, given: Mapping[str, Tensor]) -> None:
        """Raise `DataError` for a missing input, a wrong rank, shape or dtype, or lengths out of range."""
        for name in ("X", "W", "R"):
            if name not in given:
                raise DataError(f"{self.who}: the input '{name}' is missing")
            if given[name].dim() != 3:
                got = f"{given[name].dim()} ({tuple(given[name].shape)})"
                raise DataError(f"{self.who}: '{name}' has the wrong rank", got=got, expected=3)
        x = given["X"]
        if not x.is_floating_point():
            raise DataError(f"{self.who}: 'X' has the wrong dtype", got=x.dtype, expected="a floating-point dtype")
        hidden = given["R"].shape[2] if self.hidden is None else self.hidden
        steps, batch = (x.shape[1], x.shape[0]) if self.batch_first else (x.shape[0], x.shape[1])
        directions, gates = len(self.reverse), len(OPERATORS[self.operator].order)
        state = (batch, directions, hidden) if self.batch_first else (directions, batch, hidden)
        shapes = {
            "W": (directions, gates * hidden, x.shape[2]),
            "R": (directions, gates * hidden, hidden),
            "B": (directions, 2 * gates * hidden),
            "sequence_lens": (batch,),
            "initial_h": state,
            "initial_c": state,
            "P": (directions, 3 * hidden),
        }
        about = f"hidden_size {hidden}, directions {directions}, layout {int(self.batch_first)}"
        for name, value in given.items():
            if name != "X" and tuple(value.shape) != shapes[name]:
                raise DataError(
                    f"{self.who}: '{name}' has the wrong shape",
                    got=tuple(value.shape),
                    expected=f"{shapes[name]} (X is {tuple(x.shape)}, {about})",
                )
            wanted = torch.int32 if name == "sequence_lens" else x.dtype
            if value.dtype != wanted:
                raise DataError(f"{self.who}: '{name}' has the wrong dtype", got=value.dtype, expected=wanted)
        lengths = given.get("sequence_lens")
        if lengths is not None and batch:
            low, high = (int(value) for value in lengths.aminmax())
            if low < 0 or high > steps:
                got = f"{low} to {high}"
                raise DataError(f"{self.who}: 'sequence_lens' is out of range", got=got, expected=f"0 to {steps}")


def _functions(
    who: str, operator: str, given: Mapping[str, Any], directions: int
) -> tuple[tuple[Activation, ...], ...]:
    """The activations of each direction."""
    default = OPERATORS[operator].activations
    names = list(given.get("activations") or default * directions)
    if len(names) != len(default) * directions:
        raise UsageError(
            f"{who}: the wrong number of activations",
            got=f"{len(names)} ({', '.join(names)})",
            expected=f"{len(default) * directions}, {len(default)} a direction",
        )
    every = activations(who, names, given.get("activation_alpha") or (), given.get("activation_beta") or ())
    return tuple(tuple(every[start : start + len(default)]) for start in range(0, len(every), len(default)))


def reordered(stacked: Tensor, order: Sequence[int]) -> Tensor:
    """Gates stacked along axis 0, in another order."""
    gates = stacked.chunk(len(order))
    return torch.cat([gates[place] for place in order]) if len(order) > 1 else stacked
