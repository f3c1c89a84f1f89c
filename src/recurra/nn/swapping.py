"""`convert` and `revert`: another class for the modules that are there, so that everything that holds them still does."""

from __future__ import annotations

from typing import TypeVar

from torch import nn
from torch.nn.utils import parametrize

from recurra.errors import UsageError
from recurra.nn.cells import GRUCell, LSTMCell, RNNCell
from recurra.nn.modules import GRU, LSTM, RNN
from recurra.nn.options import PLAIN

M = TypeVar("M", bound=nn.Module)

PAIRS: tuple[tuple[type[nn.Module], type[nn.Module]], ...] = (
    (nn.RNN, RNN), (nn.GRU, GRU), (nn.LSTM, LSTM),
    (nn.RNNCell, RNNCell), (nn.GRUCell, GRUCell), (nn.LSTMCell, LSTMCell),
)  # fmt: skip
"""torch's class and ours."""


def convert(model: M) -> M:
    """Make every torch RNN, GRU, LSTM and cell in a model one of ours, in place; returns the model.

    Parameters, hooks, the state_dict and the places where a module is held (optimizers, lists) stay. Exact torch classes
    and those that torch.nn.utils.parametrize made of them; others, quantised ones among them, are left as they are.
    """
    _swap(model, dict(PAIRS))
    return model


def revert(model: M) -> M:
    """The way back: every module of ours becomes torch's again, in place; returns the model.

    Raises `UsageError`, before anything is changed, for a module with options that torch does not have.
    """
    for path, module in model.named_modules():
        options = getattr(module, "options", PLAIN)
        if _part_of(module, {ours: theirs for theirs, ours in PAIRS}) and options is not PLAIN:
            raise UsageError(
                f"torch has no such module: '{path or type(module).__name__}'",
                got=", ".join(f"{name}={value}" for name, value in options.changed().items()),
                expected="a module without options of Recurra's own",
            )
    _swap(model, {ours: theirs for theirs, ours in PAIRS})
    return model


def _part_of(module: nn.Module, table: dict[type[nn.Module], type[nn.Module]]) -> type[nn.Module] | None:
    """The entry of the table for a module's class, or for the one that a parametrised class was made from."""
    kind = type(module)
    return table.get(kind.__bases__[0] if parametrize.is_parametrized(module) else kind)  # pyright: ignore


def _swap(model: nn.Module, table: dict[type[nn.Module], type[nn.Module]]) -> None:
    for module in model.modules():
        new = _part_of(module, table)
        if new is None:
            continue
        if parametrize.is_parametrized(module):
            # parametrize has a class for each module, with the parametrised names as properties
            own = {name: value for name, value in vars(type(module)).items() if name not in ("__dict__", "__weakref__")}
            new = type(f"Parametrized{new.__name__}", (new,), own)
        module.__class__ = new
        module.__dict__.pop("options", None)
