"""`RNNCell`, `GRUCell` and `LSTMCell` in place of torch's, which they are subclasses of: one step at a time."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from recurra import kernels
from recurra.nn import extras, fallback, layer, precision, short
from recurra.nn.options import PLAIN, Options, take


class Cell(nn.RNNCellBase):
    """What the three share. A step is a sequence of length one."""

    kernel: ClassVar[str]
    options: Options = PLAIN

    def __init__(self, input_size: int, hidden_size: int, *args: Any, **kwargs: Any) -> None:
        options = take(self._name(), self.kernel, kwargs, layers=False)
        if options is not PLAIN:
            self.options = options
        super().__init__(input_size, hidden_size, *args, **kwargs)  # pyright: ignore[reportCallIssue]
        if options is not PLAIN:
            extras.add(self)
            self.reset_parameters()

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        """torch's: input[B, I] or [I], hx[B, H] or [H] (an LSTM: (h, c)) or None for zeros -> the next hx."""
        if kernels.direct():
            done = short.step(self, input, hx)
            if done is not None:
                return done
        elif self.options is PLAIN and fallback.recorded(input):
            # one step that is recorded is mostly the recording, and torch's own function does that without Python
            return super().forward(input, hx)  # pyright: ignore[reportAttributeAccessIssue]
        return self._run(input, hx, keep=False)[0]

    def trace(self, input: Tensor, hx: Any = None) -> tuple[Any, dict[str, Tensor]]:
        """What `forward` gives, and the inner values by name, [B, H] or [H]: those of `layer.INNER`, and "c" of an LSTM."""
        return self._run(input, hx, keep=True)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        extras.reset(self)

    def extra_repr(self) -> str:
        return super().extra_repr() + "".join(f", {name}={value}" for name, value in self.options.changed().items())

    @classmethod
    def _name(cls) -> str:
        return {"elman": "RNNCell", "gru": "GRUCell", "lstm": "LSTMCell"}[cls.kernel]

    def _run(self, input: Tensor, hx: Any, *, keep: bool) -> tuple[Any, dict[str, Tensor]]:
        lstm = self.kernel == "lstm"
        _check_dims(self._name(), input, hx, lstm)
        if lstm and not _two_or_none(hx):
            torch.lstm_cell(input, hx, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)  # says what is wrong
        batched = input.dim() == 2
        x = input if batched else input.unsqueeze(0)
        if hx is None:
            zeros = torch.zeros(x.size(0), self.hidden_size, dtype=x.dtype, device=x.device)
            states = (zeros, zeros) if lstm else (zeros,)
        else:
            states = tuple(hx) if lstm else (hx,)
            states = states if batched else tuple(state.unsqueeze(0) for state in states)
        layer.function_of(self, self.options)  # before sizes are looked at, as in torch
        dtype = self._dtype(x, states, hx is not None)
        inner: dict[str, Tensor] = {}
        if dtype is None or (self.options is PLAIN and not keep and fallback.theirs(self, x, states)):
            last = fallback.step(self, self.kernel, x, states)
        else:
            states = tuple(state.to(dtype) for state in states)
            with precision.decided(x.device):
                _, last, inner = layer.run(self, "", x.to(dtype)[None], states, None, None, reverse=False, keep=keep)
        if not batched:
            last = tuple(state.squeeze(0) for state in last)
        inner = {name: value.squeeze(0) if batched else value[0, 0] for name, value in inner.items()}
        return (last if lstm else last[0]), inner

    def _dtype(self, x: Tensor, states: tuple[Tensor, ...], given: bool) -> torch.dtype | None:
        """The dtype to run in, or None where torch's own function is to say what is wrong."""
        tensors = (self.weight_ih, *states)
        if any(one.device != x.device for one in tensors) or x.size(1) != self.input_size:
            return None
        if any(state.dim() != 2 or tuple(state.shape) != (x.size(0), self.hidden_size) for state in states):
            return None
        dtype = precision.result_dtype(self.kernel, x, states if given else None, fused=False)
        if precision.autocast_dtype(x.device) is None and any(one.dtype != dtype for one in tensors):
            return None
        return dtype


def _two_or_none(hx: Any) -> bool:
    return hx is None or (isinstance(hx, tuple | list) and len(hx) == 2)  # pyright: ignore[reportUnknownArgumentType]


def _check_dims(name: str, input: Tensor, hx: Any, lstm: bool) -> None:
    """torch's checks of the number of axes, in its words."""
    if input.dim() not in (1, 2):
        raise ValueError(f"{name}: Expected input to be 1D or 2D, got {input.dim()}D instead")
    if hx is None:
        return
    for index, state in enumerate(hx if lstm else (hx,)):
        if state.dim() not in (1, 2):
            what = f"hx[{index}]" if lstm else "hidden"
            raise ValueError(f"{name}: Expected {what} to be 1D or 2D, got {state.dim()}D instead")


class RNNCell(Cell, nn.RNNCell):
    """One step of an Elman layer, in place of `torch.nn.RNNCell`: h' = f(W_ih x + b_ih + W_hh h + b_hh).

    Arguments: torch's input_size, hidden_size, bias=True, nonlinearity="tanh" (or "relu"), device=None, dtype=None; keywords
    of `Options`: layer_norm, recurrent_dropout, zoneout, weight_drop, activation.
    """

    kernel: ClassVar[str] = "elman"


class GRUCell(Cell, nn.GRUCell):
    """One step of a GRU, in place of `torch.nn.GRUCell`.

    Arguments: torch's input_size, hidden_size, bias=True, device=None, dtype=None; keywords of `Options`: layer_norm,
    recurrent_dropout, zoneout, weight_drop, reset_after, gate_activation, activation.
    """

    kernel: ClassVar[str] = "gru"


class LSTMCell(Cell, nn.LSTMCell):
    """One step of an LSTM, in place of `torch.nn.LSTMCell`.

    Arguments: torch's input_size, hidden_size, bias=True, device=None, dtype=None; keywords of `Options`: layer_norm,
    recurrent_dropout, zoneout, weight_drop, peepholes, coupled, cell_clip, gate_activation, activation, forget_bias.
    """

    kernel: ClassVar[str] = "lstm"
