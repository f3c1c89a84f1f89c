"""What the modules here can do and torch's cannot: one frozen record, whose defaults are torch's behaviour."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from recurra import kernels
from recurra.errors import UsageError


@dataclass(frozen=True)
class Options:
    """Settings that torch does not have. With the defaults a module computes what torch's does, with the same state_dict."""

    layer_norm: bool = False
    """Normalise the input product, the recurrent product and, in an LSTM, the cell (Ba, Kiros and Hinton 2016).
    Parameters norm_ih_l{k}[G*H], norm_hh_l{k}[G*H] (gains), norm_c_l{k}[2, H] (gain and bias)."""
    recurrent_dropout: float = 0.0
    """Share of the state hidden from the gates while training, the same at every step (Gal and Ghahramani 2016)."""
    zoneout: float | tuple[float, float] = 0.0
    """Share of the state kept from the step before (Krueger et al. 2016); of an LSTM also (cell, hidden)."""
    weight_drop: float = 0.0
    """Share of weight_hh dropped while training, once a call (Merity et al. 2017)."""
    peepholes: bool = False
    """Gates that see the cell (Gers and Schmidhuber 2000). Parameter peephole_l{k}[3, H], for i, f and o."""
    coupled: bool = False
    """f = 1 - i: forget as much as comes in (Greff et al. 2017). The part of the weights for f is not used."""
    cell_clip: float | None = None
    """Keep the cell within [-cell_clip, cell_clip] (Sak et al. 2014)."""
    reset_after: bool = True
    """GRU: r acts on W_n h + b (torch, cuDNN) or, false, on h (Cho et al. 2014)."""
    gate_activation: str = "sigmoid"
    """The function of the gates: a name from `kernels.ACTIVATIONS`."""
    activation: str = "tanh"
    """The function of candidate and output, in an RNN in place of `nonlinearity`: a name from `kernels.ACTIVATIONS`."""
    hidden_sizes: tuple[int, ...] | None = None
    """A size for each layer. States are then tuples of one tensor [D, B, H_l] a layer."""
    forget_bias: float | None = None
    """What the forget gate's two biases add up to at first (Jozefowicz et al. 2015)."""
    learn_initial_state: bool = False
    """Without hx, start from parameters h_0[L*D, H] (and c_0[L*D, H]), zero at first; with hidden_sizes h_0_l{k}[D, H_l]."""
    recompute: int | None = None
    """Keep what backward needs only at every so many steps, and compute the rest again (Chen et al. 2016)."""
    clip_in_words: str = field(init=False, repr=False, compare=False, default="")

    def __post_init__(self) -> None:
        # a compiler lets numbers vary from module to module, which a program cannot, and keeps texts as they are
        object.__setattr__(self, "clip_in_words", "" if self.cell_clip is None else repr(float(self.cell_clip)))

    @property
    def zoneout_cell_hidden(self) -> tuple[float, float]:
        return self.zoneout if isinstance(self.zoneout, tuple) else (self.zoneout, self.zoneout)

    def changed(self) -> dict[str, Any]:
        """Those that differ from torch's behaviour, by name."""
        return {
            one.name: value for one in fields(self) if one.init and (value := getattr(self, one.name)) != one.default
        }


PLAIN = Options()
"""torch's behaviour; a module without options has this very object."""

_ALL = ("layer_norm", "recurrent_dropout", "zoneout", "weight_drop", "activation")
OF_CELLS: dict[str, tuple[str, ...]] = {
    "elman": _ALL,
    "gru": (*_ALL, "reset_after", "gate_activation"),
    "lstm": (*_ALL, "peepholes", "coupled", "cell_clip", "gate_activation", "forget_bias"),
}
"""The options of the cells, by kernel."""
OF_LAYERS = ("hidden_sizes", "learn_initial_state", "recompute")
"""Those that only whole sequences have."""


def take(who: str, kernel: str, kwargs: dict[str, Any], *, layers: bool) -> Options:
    """Remove the options from `kwargs` and check them; `layers` is false for a cell. Raises `UsageError`."""
    known = (*OF_CELLS[kernel], *(OF_LAYERS if layers else ()))
    given = {name: kwargs.pop(name) for name in known if name in kwargs}
    if not given:
        return PLAIN
    if isinstance(given.get("hidden_sizes"), list):
        given["hidden_sizes"] = tuple(given["hidden_sizes"])
    for name, value in given.items():
        expected = _problem(name, value, kernel)
        if expected is not None:
            raise UsageError(f"{who}: the option '{name}' is wrong", got=repr(value), expected=expected)
    options = Options(**given)
    return PLAIN if options == PLAIN else options


def _problem(name: str, value: Any, kernel: str) -> str | None:
    """What was expected, or None if the value is right."""
    if name in ("layer_norm", "peepholes", "coupled", "reset_after", "learn_initial_state"):
        return None if isinstance(value, bool) else "True or False"
    if name in ("recurrent_dropout", "weight_drop"):
        return None if _share(value) else "a number from 0 to 1, below 1"
    if name == "zoneout":
        pair = kernel == "lstm" and isinstance(value, tuple) and len(value) == 2
        right = all(map(_share, value)) if pair else _share(value)
        return None if right else "a number from 0 to 1, below 1" + (", or (cell, hidden)" if kernel == "lstm" else "")
    if name in ("activation", "gate_activation"):
        return None if value in kernels.ACTIVATIONS else f"one of {', '.join(kernels.ACTIVATIONS)}"
    if name == "cell_clip":
        return None if value is None or (_number(value) and value > 0) else "a number > 0, or None"
    if name == "forget_bias":
        return None if value is None or _number(value) else "a number, or None"
    if name == "recompute":
        return None if value is None or (_whole(value) and value > 0) else "a whole number of steps > 0, or None"
    right = value is None or (isinstance(value, tuple) and all(_whole(one) and one > 0 for one in value))
    return None if right else "a whole number > 0 for each layer, or None"


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _share(value: Any) -> bool:
    return _number(value) and 0 <= value < 1
