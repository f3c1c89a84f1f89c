"""What each cell computes in a step, a line for each value, so that every number of it can be shown and added up.

A line says how one value comes of others: as text, and as a function of the shown numbers alone. `terms` are the parts of a
sum: W x, what the inputs bring; U h, what the state before brings; b, the bias. The rows of `FORMULAS` are the truth about
what a page shows; a test recomputes every cell's state from them. Equations and papers: docs/equations.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from recurra import kernels
from recurra.cells import GRU, LRU, LSTM, MLSTM, RGLRU, SLSTM, Cell, Elman, FeedForward, MinGRU, MinLSTM
from recurra.kernels.sweeps import by_blocks, scales

Values = Mapping[str, Tensor]
"""Numbers by name, each [..., width]: terms such as "z.x", values such as "z", and the state before the step, "h[t-1]"."""


@dataclass(frozen=True)
class Line:
    """One value of a step: `text` for people, `of` what it is made of, in the order they stand in the text.

    `terms` are those of `of` that are added up before the `activation`; a line without terms says all in its text.
    """

    name: str
    text: str
    compute: Callable[[Values], Tensor]
    of: tuple[str, ...]
    terms: tuple[str, ...] = ()
    activation: str | None = None
    aside: bool = False
    """A step on the way that is not worth a place of its own."""


@dataclass(frozen=True)
class Formula:
    """A cell's lines in their order; which of them are the state after the step, and which the output.

    `products`: (inputs[..., I], the state before by leaf, each [..., width]) -> the numbers that parameters make: the terms
    of the lines, and parameters that units have of their own.
    """

    lines: tuple[Line, ...]
    state: Mapping[str, str]
    output: str
    products: Callable[[Tensor, Values], dict[str, Tensor]]

    def shown(self, x: Tensor, before: Values) -> dict[str, Tensor]:
        """Every number of a step, or of many at once: the products, the state before, and each line's value."""
        values = self.products(x, before)
        values |= {f"{leaf}[t-1]": value for leaf, value in before.items()}
        for line in self.lines:
            values[line.name] = line.compute(values)
        return values

    @property
    def names(self) -> dict[str, str]:
        """What each term is, for people: {"z.x": "W_z x"}."""
        return {term: _term(term) for line in self.lines for term in line.terms}

    def described(self) -> list[dict[str, Any]]:
        """The lines as plain values."""
        return [
            {
                "name": line.name, "text": line.text, "of": list(line.of), "activation": line.activation,
                "terms": [{"name": term, "text": self.names[term]} for term in line.terms], "aside": line.aside,
            }
            for line in self.lines
        ]  # fmt: skip


_PARTS = {
    "x": "W_{} x_t",
    "h": "U_{} h_t₋₁",
    "b": "b_{}",
    "v": "W_{} v_t",
    "rq": "r_t ⊙ q_t",
    "read": "C S_t",
    "skip": "D ⊙ x_t",
}


def _term(name: str) -> str:
    gate, part = name.split(".")
    return _PARTS[part].format(gate)


def _sum_of(name: str, parts: str, activation: str | None = None, sign: str | None = None, **more: Any) -> Line:
    """The line of a sum of terms, named by their parts ("x", "h", "b"), and an activation of it."""
    terms = tuple(f"{name}.{part}" for part in parts.split())
    whole = " + ".join(map(_term, terms))
    if activation not in (None, "identity"):
        whole = f"{sign or activation}({whole})"
    function = kernels.ACTIVATIONS[activation or "identity"]
    return Line(name, f"{name}_t = {whole}", partial(_activated, terms, function), terms, terms, activation, **more)


def _activated(terms: tuple[str, ...], function: Callable[[Tensor], Tensor], values: Values) -> Tensor:
    total = values[terms[0]]
    for term in terms[1:]:
        total = total + values[term]
    return function(total)


def _gate(name: str, parts: str) -> Line:
    return _sum_of(name, parts, "sigmoid", "σ")


def _chunks(names: str, part: str, values: Tensor, like: Tensor | None = None) -> dict[str, Tensor]:
    """Blocks side by side by name: {"r.x": ..., "z.x": ...}; parameters spread over the steps of `like`."""
    gates = names.split()
    found = values.chunk(len(gates), dim=-1)
    if like is not None:
        found = [value.expand(*like.shape[:-1], -1) for value in found]
    return {f"{gate}.{part}": value for gate, value in zip(gates, found, strict=True)}


# ---- the classic cells


def _feedforward(cell: FeedForward) -> Formula:
    def products(x: Tensor, before: Values) -> dict[str, Tensor]:
        return {"z.x": x @ cell.weight_in.T, **_chunks("z", "b", cell.bias, x)}

    activation = kernels.ACTIVATIONS[cell.activation]
    lines = (
        _sum_of("z", "x b"),
        Line("y", f"y_t = {cell.activation}(z_t)", lambda v: activation(v["z"]), ("z",), activation=cell.activation),
    )
    return Formula(lines, {}, "y", products)


def _elman(cell: Elman) -> Formula:
    def products(x: Tensor, before: Values) -> dict[str, Tensor]:
        return {
            "z.x": x @ cell.weight_in.T,
            "z.h": before["h"] @ cell.weight_state.T,
            **_chunks("z", "b", cell.bias, x),
        }

    activation = kernels.ACTIVATIONS[cell.activation]
    lines = (
        _sum_of("z", "x h b"),
        Line("h", f"h_t = {cell.activation}(z_t)", lambda v: activation(v["z"]), ("z",), activation=cell.activation),
    )
    return Formula(lines, {"h": "h"}, "h", products)


def _gru(cell: GRU) -> Formula:
    def products(x: Tensor, before: Values) -> dict[str, Tensor]:
        h = before["h"]
        found = _chunks("r z n", "x", x @ cell.weight_in.T) | _chunks("r z n", "b", cell.bias, x)
        found |= _chunks("q", "b", cell.bias_state, x)
        if cell.reset_after:
            return found | {
                f"{gate}.h": part for gate, part in zip("rzq", (h @ cell.weight_state.T).chunk(3, dim=-1), strict=True)
            }
        gates, candidate = cell.weight_state.split([2 * cell.hidden, cell.hidden])
        found |= _chunks("r z", "h", h @ gates.T)
        r = torch.sigmoid(found["r.x"] + found["r.h"] + found["r.b"])
        return found | {"q.h": (r * h) @ candidate.T}

    # with reset_after the gate r acts on what the state brings; without, on the state
    inside = "r_t ⊙ q_t" if cell.reset_after else "q_t"
    q = _sum_of("q", "h b")
    if not cell.reset_after:
        q = Line(q.name, "q_t = U_q (r_t ⊙ h_t₋₁) + b_q", q.compute, q.of, q.terms)
    part = Line(
        "n.rq", inside, (lambda v: v["r"] * v["q"]) if cell.reset_after else (lambda v: v["q"]),
        ("r", "q") if cell.reset_after else ("q",), aside=True,
    )  # fmt: skip
    terms = ("n.x", "n.b", "n.rq")
    n = Line("n", f"n_t = tanh(W_n x_t + b_n + {inside})", partial(_activated, terms, torch.tanh), terms, terms, "tanh")
    h = Line(
        "h", "h_t = (1 - z_t) ⊙ n_t + z_t ⊙ h_t₋₁", lambda v: (1 - v["z"]) * v["n"] + v["z"] * v["h[t-1]"],
        ("z", "n", "h[t-1]"),
    )  # fmt: skip
    return Formula((_gate("r", "x h b"), _gate("z", "x h b"), q, part, n, h), {"h": "h"}, "h", products)


def _lstm(cell: LSTM) -> Formula:
    def products(x: Tensor, before: Values) -> dict[str, Tensor]:
        gates = "i f g o"
        found = _chunks(gates, "x", x @ cell.weight_in.T) | _chunks(gates, "h", before["h"] @ cell.weight_state.T)
        return found | _chunks(gates, "b", cell.bias, x)

    lines = (
        _gate("i", "x h b"), _gate("f", "x h b"), _sum_of("g", "x h b", "tanh"), _gate("o", "x h b"),
        Line(
            "c", "c_t = f_t ⊙ c_t₋₁ + i_t ⊙ g_t", lambda v: v["f"] * v["c[t-1]"] + v["i"] * v["g"],
            ("f", "c[t-1]", "i", "g"),
        ),
        Line("h", "h_t = o_t ⊙ tanh(c_t)", lambda v: v["o"] * torch.tanh(v["c"]), ("o", "c")),
    )  # fmt: skip
    return Formula(lines, {"h": "h", "c": "c"}, "h", products)


# ---- sweeps


def _mingru(cell: MinGRU) -> Formula:
    def products(x: Tensor, before: Values) -> dict[str, Tensor]:
        return _chunks("z n", "x", x @ cell.weight_in.T) | _chunks("z n", "b", cell.bias, x)

    h = Line(
        "h", "h_t = (1 - z_t) ⊙ h_t₋₁ + z_t ⊙ n_t", lambda v: (1 - v["z"]) * v["h[t-1]"] + v["z"] * v["n"],
        ("z", "h[t-1]", "n"),
    )  # fmt: skip
    return Formula((_gate("z", "x b"), _sum_of("n", "x b"), h), {"h": "h"}, "h", products)


def _minlstm(cell: MinLSTM) -> Formula:
    def products(x: Tensor, before: Values) -> dict[str, Tensor]:
        return _chunks("s s' n", "x", x @ cell.weight_in.T) | _chunks("s s' n", "b", cell.bias, x)

    # of two shares of one, by the difference of logarithms: neither overflows
    def share(v: Values) -> Tensor:
        return torch.sigmoid(F.logsigmoid(v["s"]) - F.logsigmoid(v["s'"]))

    lines = (
        _sum_of("s", "x b"), _sum_of("s'", "x b"), _sum_of("n", "x b"),
        Line("f", "f_t = σ(s_t) / (σ(s_t) + σ(s'_t))", share, ("s", "s'")),
        Line("i", "i_t = 1 - f_t", lambda v: 1 - v["f"], ("f",)),
        Line(
            "h", "h_t = f_t ⊙ h_t₋₁ + i_t ⊙ n_t", lambda v: v["f"] * v["h[t-1]"] + v["i"] * v["n"],
            ("f", "h[t-1]", "i", "n"),
        ),
    )  # fmt: skip
    return Formula(lines, {"h": "h"}, "h", products)


def _rglru(cell: RGLRU) -> Formula:
    projects = cell.weight_in is not None

    def products(x: Tensor, before: Values) -> dict[str, Tensor]:
        v, found = x, {"v.x": x}
        if cell.weight_in is not None and cell.bias is not None:
            found = {"v.x": x @ cell.weight_in.T, **_chunks("v", "b", cell.bias, x)}
            v = found["v.x"] + found["v.b"]
        found |= _chunks("r i", "v", by_blocks(v, cell.weight_gates)) | _chunks("r i", "b", cell.bias_gates, x)
        return found | {"λ": (-kernels.POWER * F.softplus(cell.decay)).expand(*x.shape[:-1], -1)}

    v = _sum_of("v", "x b") if projects else Line("v", "v_t = x_t", lambda v: v["v.x"], ("v.x",))
    lines = (
        v, _gate("r", "v b"), _gate("i", "v b"),
        Line("a", "a_t = exp(λ ⊙ r_t), λ = -8 softplus(Λ)", lambda v: torch.exp(v["λ"] * v["r"]), ("λ", "r")),
        Line(
            "h", "h_t = a_t ⊙ h_t₋₁ + √(1 - a_t²) ⊙ i_t ⊙ v_t",
            # of a near one the square would lose all its digits
            lambda v: v["a"] * v["h[t-1]"]
            + (-torch.expm1(2 * v["λ"] * v["r"])).clamp(min=1e-12).sqrt() * v["i"] * v["v"],
            ("a", "h[t-1]", "i", "v", "λ", "r"),
        ),
    )  # fmt: skip
    return Formula(lines, {"h": "h"}, "h", products)


def _lru(cell: LRU) -> Formula:
    def products(x: Tensor, before: Values) -> dict[str, Tensor]:
        numbers = kernels.SWEEPS["lru"].numbers(cell.ring)
        found = {name: value.expand(*x.shape[:-1], -1) for name, value in zip(("λ", "λ'", "γ"), numbers, strict=True)}
        return found | _chunks("s s'", "x", x @ cell.weight_in.T) | _chunks("s s'", "b", cell.bias, x)

    def read(v: Values) -> Tensor:
        return torch.cat([v["re"], v["im"]], dim=-1) @ cell.readout.T

    skips = cell.skip is not None
    terms = ("y.read", "y.skip") if skips else ("y.read",)

    def with_skip(x: Tensor, before: Values) -> dict[str, Tensor]:
        return products(x, before) | ({} if cell.skip is None else {"y.skip": cell.skip * x})

    lines = (
        _sum_of("s", "x b"), _sum_of("s'", "x b"),
        Line(
            "re", "re_t = λ ⊙ re_t₋₁ - λ' ⊙ im_t₋₁ + γ ⊙ s_t",
            lambda v: v["λ"] * v["re[t-1]"] - v["λ'"] * v["im[t-1]"] + v["γ"] * v["s"],
            ("λ", "re[t-1]", "λ'", "im[t-1]", "γ", "s"),
        ),
        Line(
            "im", "im_t = λ ⊙ im_t₋₁ + λ' ⊙ re_t₋₁ + γ ⊙ s'_t",
            lambda v: v["λ"] * v["im[t-1]"] + v["λ'"] * v["re[t-1]"] + v["γ"] * v["s'"],
            ("λ", "im[t-1]", "λ'", "re[t-1]", "γ", "s'"),
        ),
        Line("y.read", "C S_t, S_t = (re_t, im_t)", read, ("re", "im"), aside=True),
        Line(
            "y", f"y_t = {cell.activation}(C S_t" + (" + D ⊙ x_t)" if skips else ")"),
            partial(_activated, terms, kernels.ACTIVATIONS[cell.activation]), terms, terms, cell.activation,
        ),
    )  # fmt: skip
    return Formula(lines, {"re": "re", "im": "im"}, "y", with_skip)


_STABLE = (
    Line(
        "i*", "i*_t = exp(i_t - m_t)", lambda v: torch.exp(v["i"] - v["m"]), ("i", "m"),
    ),
    Line(
        "f*", "f*_t = exp(log σ(s_t) + m_t₋₁ - m_t)",
        lambda v: torch.exp(F.logsigmoid(v["s"]) + v["m[t-1]"] - v["m"]), ("s", "m[t-1]", "m"),
    ),
)  # fmt: skip
"""Exponential gates as they act on what is kept times exp(-m)."""
_M = "m_t = max(log σ(s_t) + m_t₋₁, i_t), the logarithm to within 2e-4"


def _slstm(cell: SLSTM) -> Formula:
    gates = "z i s o"

    def products(x: Tensor, before: Values) -> dict[str, Tensor]:
        found = _chunks(gates, "x", x @ cell.weight_in.T) | _chunks(gates, "b", cell.bias, x)
        return found | _chunks(gates, "h", by_blocks(before["h"], cell.weight_state))

    def stabiliser(v: Values) -> Tensor:
        # where nothing was seen yet, m is the input gate's
        m = torch.where(v["n[t-1]"] == 0, torch.full_like(v["m[t-1]"], -1e30), v["m[t-1]"])
        return scales(v["i"], v["s"], m)[0]

    def keep(v: Values) -> Tensor:
        return torch.where(v["n[t-1]"] == 0, torch.zeros_like(v["m"]), _STABLE[1].compute(v))

    lines = (
        _sum_of("z", "x h b", "tanh"), _sum_of("i", "x h b"), _sum_of("s", "x h b"), _gate("o", "x h b"),
        Line("f", "f_t = σ(s_t)", lambda v: torch.sigmoid(v["s"]), ("s",)),
        Line("m", f"{_M}; i_t where n_t₋₁ = 0", stabiliser, ("s", "m[t-1]", "i", "n[t-1]")),
        _STABLE[0],
        Line("f*", f"{_STABLE[1].text}; 0 where n_t₋₁ = 0", keep, ("s", "m[t-1]", "m", "n[t-1]")),
        Line(
            "c", "c_t = f*_t ⊙ c_t₋₁ + i*_t ⊙ z_t", lambda v: v["f*"] * v["c[t-1]"] + v["i*"] * v["z"],
            ("f*", "c[t-1]", "i*", "z"),
        ),
        Line("n", "n_t = f*_t ⊙ n_t₋₁ + i*_t", lambda v: v["f*"] * v["n[t-1]"] + v["i*"], ("f*", "n[t-1]", "i*")),
        Line("h", "h_t = o_t ⊙ c_t / n_t", lambda v: v["o"] * (v["c"] / v["n"]), ("o", "c", "n")),
    )  # fmt: skip
    return Formula(lines, {name: name for name in ("h", "c", "n", "m")}, "h", products)


def _mlstm(cell: MLSTM) -> Formula:
    heads, width = cell.heads, cell.hidden // cell.heads
    sizes, gates = [cell.hidden] * 4 + [heads] * 2, ("q", "k", "v", "o", "i", "s")

    def products(x: Tensor, before: Values) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for part, sums in (("x", x @ cell.weight_in.T), ("b", cell.bias.expand(*x.shape[:-1], -1))):
            values = sums.split(sizes, dim=-1)
            found |= {f"{gate}.{part}": value for gate, value in zip(gates, values, strict=True)}
        return found

    def of_heads(value: Tensor) -> Tensor:
        return value.unflatten(-1, (heads, width))

    def key(v: Values) -> Tensor:
        return of_heads(v["k"]) / width**0.5 * v["i*"][..., None]

    def normaliser(v: Values) -> Tensor:
        return (v["f*"][..., None] * of_heads(v["n[t-1]"]) + key(v)).flatten(-2)

    def matrix(v: Values) -> Tensor:
        before = v["c[t-1]"].unflatten(-1, (heads, width, width))
        written = key(v)[..., None] * of_heads(v["v"])[..., None, :]
        return (v["f*"][..., None, None] * before + written).flatten(-3)

    def read(v: Values) -> Tensor:
        q = of_heads(v["q"])
        found = (q[..., None] * v["c"].unflatten(-1, (heads, width, width))).sum(-2)
        by = (q * of_heads(v["n"])).sum(-1, keepdim=True).abs()
        by = torch.maximum(by, torch.exp(-v["m"].clamp(max=80))[..., None])
        return v["o"] * (found / by).flatten(-2)

    lines = (
        _sum_of("q", "x b"), _sum_of("k", "x b"), _sum_of("v", "x b"), _gate("o", "x b"), _sum_of("i", "x b"),
        _sum_of("s", "x b"),
        Line("f", "f_t = σ(s_t), one a head", lambda v: torch.sigmoid(v["s"]), ("s",)),
        Line("m", _M, lambda v: scales(v["i"], v["s"], v["m[t-1]"])[0], ("s", "m[t-1]", "i")),
        *_STABLE,
        Line("n", "n_t = f*_t n_t₋₁ + i*_t k_t / √W", normaliser, ("f*", "n[t-1]", "i*", "k")),
        Line("c", "C_t = f*_t C_t₋₁ + i*_t (k_t / √W) v_tᵀ", matrix, ("f*", "c[t-1]", "i*", "k", "v")),
        Line(
            "y", "y_t = o_t ⊙ C_tᵀ q_t / max(|n_tᵀ q_t|, exp(-m_t))", read, ("o", "c", "q", "n", "m"),
        ),
    )  # fmt: skip
    return Formula(lines, {"n": "n", "c": "c", "m": "m"}, "y", products)


FORMULAS: dict[type[Cell], Callable[[Any], Formula]] = {
    FeedForward: _feedforward,
    Elman: _elman,
    GRU: _gru,
    LSTM: _lstm,
    MinGRU: _mingru,
    MinLSTM: _minlstm,
    RGLRU: _rglru,
    LRU: _lru,
    SLSTM: _slstm,
    MLSTM: _mlstm,
}
"""One row a cell: from a cell with its parameters, its formula."""
