"""Cells: the parameters of one recurrence, its state, and one kernel call. `CELLS` is the table of them by name."""

from recurra.cells.cell import Cell, Recurrent
from recurra.cells.gated import GRU, LSTM, Elman, ElmanState, FeedForward, FeedForwardState, GRUState, LSTMState
from recurra.cells.linear import (
    LRU,
    MLSTM,
    RGLRU,
    SLSTM,
    LRUState,
    MinGRU,
    MinGRUState,
    MinLSTM,
    MinLSTMState,
    MLSTMState,
    RGLRUState,
    SLSTMState,
)
from recurra.cells.own import OwnCell
from recurra.cells.symbols import Inputs, Symbols, spelled_out

CELLS: dict[str, type[Cell]] = {
    "feedforward": FeedForward,
    "elman": Elman,
    "gru": GRU,
    "lstm": LSTM,
    "mingru": MinGRU,
    "minlstm": MinLSTM,
    "rglru": RGLRU,
    "lru": LRU,
    "slstm": SLSTM,
    "mlstm": MLSTM,
}

__all__ = [
    "CELLS",
    "GRU",
    "LRU",
    "LSTM",
    "MLSTM",
    "RGLRU",
    "SLSTM",
    "Cell",
    "Elman",
    "ElmanState",
    "FeedForward",
    "FeedForwardState",
    "GRUState",
    "Inputs",
    "LRUState",
    "LSTMState",
    "MLSTMState",
    "MinGRU",
    "MinGRUState",
    "MinLSTM",
    "MinLSTMState",
    "OwnCell",
    "RGLRUState",
    "Recurrent",
    "SLSTMState",
    "Symbols",
    "spelled_out",
]
