"""`RNN`, `GRU` and `LSTM` in place of torch's."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn

from recurra.nn.sequence import Sequence

_PROJ_SIZE = "proj_size argument is only supported for LSTM, not RNN or GRU"


class RNN(Sequence):
    """Elman layers, in place of `torch.nn.RNN`: h' = f(W_ih x + b_ih + W_hh h + b_hh) (Elman 1990).

    Arguments: torch's input_size, hidden_size, num_layers=1, nonlinearity="tanh" (or "relu"), bias=True, batch_first=False,
    dropout=0.0, bidirectional=False, device=None, dtype=None; keywords of `Options`: layer_norm, recurrent_dropout, zoneout,
    weight_drop, activation, hidden_sizes, learn_initial_state, recompute.
    Raises torch's errors for torch's arguments, `UsageError` for an option.
    """

    kernel: ClassVar[str] = "elman"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError(_PROJ_SIZE)
        if len(args) > 3:
            nonlinearity, args = args[3], args[:3] + args[4:]
        else:
            nonlinearity = kwargs.pop("nonlinearity", "tanh")
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        self.nonlinearity = nonlinearity
        super().__init__("RNN_TANH" if nonlinearity == "tanh" else "RNN_RELU", *args, **kwargs)


class GRU(Sequence):
    """Gated recurrent units, in place of `torch.nn.GRU`; gates r, z, n as there (Cho et al. 2014, r after the product).

    Arguments: torch's input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0, bidirectional=False,
    device=None, dtype=None; keywords of `Options`: layer_norm, recurrent_dropout, zoneout, weight_drop, reset_after,
    gate_activation, activation, hidden_sizes, learn_initial_state, recompute.
    Raises torch's errors for torch's arguments, `UsageError` for an option.
    """

    kernel: ClassVar[str] = "gru"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError(_PROJ_SIZE)
        super().__init__("GRU", *args, **kwargs)


class LSTM(Sequence):
    """Long short-term memory, in place of `torch.nn.LSTM`; gates i, f, g, o as there (Hochreiter and Schmidhuber 1997).

    Arguments: torch's input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0, bidirectional=False,
    proj_size=0, device=None, dtype=None; keywords of `Options`: all but reset_after.
    Raises torch's errors for torch's arguments, `UsageError` for an option.
    """

    kernel: ClassVar[str] = "lstm"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)

    # torch has these on its LSTM and not on the base; they ask for nothing but attributes that are here too
    get_expected_cell_size = nn.LSTM.get_expected_cell_size
    check_forward_args = nn.LSTM.check_forward_args  # pyright: ignore[reportAssignmentType]
    permute_hidden = nn.LSTM.permute_hidden  # pyright: ignore[reportAssignmentType]
