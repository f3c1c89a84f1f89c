"""Inside a cell: what is shown of a step adds up to what the model computed, for every cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from own_steps import make_cumulative, make_minimal, make_mixture
from recurra.cells import CELLS, GRU, LRU, RGLRU, Cell, Elman, FeedForward
from recurra.errors import UsageError
from recurra.kernels import BackendWarning
from recurra.look.formulas import FORMULAS
from recurra.look.own import formula_of
from recurra.state import leaves

STEPS, ROWS, INPUTS, HIDDEN = 5, 2, 3, 8
MORE: dict[str, Callable[[], Cell]] = {
    "gru-reset-before": lambda: GRU(INPUTS, HIDDEN, reset_after=False),
    "elman-relu": lambda: Elman(INPUTS, HIDDEN, activation="relu"),
    "feedforward-gelu": lambda: FeedForward(INPUTS, HIDDEN, activation="gelu"),
    "lru-with-its-inputs": lambda: LRU(HIDDEN, HIDDEN, activation="tanh"),
    "rglru-without-a-product": lambda: RGLRU(HIDDEN, HIDDEN, project=False),
    "own": lambda: make_minimal(INPUTS, 7),
    "own-mixture": lambda: make_mixture(INPUTS, 7),
}
EVERY: dict[str, Callable[[], Cell]] = {
    **{name: lambda kind=kind: kind(INPUTS, HIDDEN) for name, kind in CELLS.items()},
    **{f"{name}-reversed": lambda kind=kind: kind(INPUTS, HIDDEN, reverse=True) for name, kind in CELLS.items()},
    **MORE,
}


def built(make: Callable[[], Cell]) -> Cell:
    cell = make().double()
    for parameter in cell.parameters():
        nn.init.normal_(parameter, std=0.6)
    return cell


def test_every_cell_has_a_formula() -> None:
    assert set(FORMULAS) == set(CELLS.values())


@pytest.mark.parametrize("name", EVERY)
@torch.no_grad()
def test_what_is_shown_adds_up(name: str) -> None:
    """From the terms and the state before: each line's sum and activation, the traced gates, the state, the output."""
    cell = built(EVERY[name])
    formula = formula_of(cell)
    x = torch.randn(STEPS, ROWS, cell.inputs, dtype=torch.float64)
    state: Any = cell.initial_state(ROWS)
    inner = cell.trace(x, state)[2]
    for t in range(STEPS - 1, -1, -1) if cell.reverse else range(STEPS):
        before = leaves(state)
        output, state = cell(x[t : t + 1], state)
        shown = formula.shown(x[t], before)
        close = {formula.output: output[0]} | {formula.state[leaf]: value for leaf, value in leaves(state).items()}
        for value, wanted in {**{key: each[t] for key, each in inner.items()}, **close}.items():
            torch.testing.assert_close(shown[value], wanted, rtol=1e-10, atol=1e-12)
        for line in formula.lines:
            assert set(line.of) <= set(shown), "a line is made of numbers that are shown"
            if line.terms and line.activation is None:
                added = torch.stack([shown[term] for term in line.terms]).sum(0)
                torch.testing.assert_close(shown[line.name], added, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", EVERY)
@torch.no_grad()
def test_each_line_follows_from_what_it_says_it_is_made_of(name: str) -> None:
    """A page can add up no more than it is told: with the named numbers alone the line gives the same."""
    cell = built(EVERY[name])
    formula = formula_of(cell)
    x, before = torch.randn(ROWS, cell.inputs, dtype=torch.float64), leaves(cell.initial_state(ROWS))
    shown = formula.shown(x, {name: torch.rand_like(value) for name, value in before.items()})
    for line in formula.lines:
        again = line.compute({one: shown[one] for one in line.of})
        assert torch.equal(again, shown[line.name]), line.text


def test_lines_read_as_the_formula() -> None:
    texts = {line.name: line.text for line in formula_of(GRU(INPUTS, HIDDEN)).lines}
    assert texts["r"] == "r_t = σ(W_r x_t + U_r h_t₋₁ + b_r)"
    assert texts["h"] == "h_t = (1 - z_t) ⊙ n_t + z_t ⊙ h_t₋₁"
    texts = {line.name: line.text for line in formula_of(make_minimal(INPUTS, 7)).lines}
    assert texts["n"] == "n_t = tanh(W_n x_t + U_n (f_t ⊙ h_t₋₁) + b_n)"
    assert texts["output"] == "output_t = h_t"


@torch.no_grad()
def test_a_step_that_is_no_program_is_shown_as_it_stands() -> None:
    cell = make_cumulative(INPUTS, HIDDEN)
    x, state = torch.randn(1, ROWS, INPUTS), cell.initial_state(ROWS)
    with pytest.warns(BackendWarning):
        output, _ = cell(x, state)
    shown = formula_of(cell).shown(x[0], leaves(state))
    torch.testing.assert_close(shown["output"], output[0])


def test_a_cell_that_nothing_is_known_of_is_refused() -> None:
    class Unknown(Elman):
        pass

    with pytest.raises(UsageError, match=r"no formula of the cell Unknown.*GRU"):
        formula_of(Unknown(INPUTS, HIDDEN))
