"""The compiled sweeps by themselves: laws that hold bit for bit. Needs numpy alone, so it runs under the sanitisers.

Results are full of NaN before a call and lie between guards, what pads a row is NaN. The values are compared in
test_sweeps.py, beside torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from native_calls import Arrays, Buffers, same_bits
from recurra import _native

_native.be_patient()

# gates, of which weight_in makes some; tensors of the state; outputs in units; own numbers; blocks of gates
SWEEPS = {
    "mingru": (2, 2, 1, 1, 0, 0),
    "minlstm": (3, 3, 1, 1, 0, 0),
    "rglru": (3, 1, 1, 1, 1, 2),
    "lru": (2, 2, 2, 2, 3, 0),
    "slstm": (4, 4, 4, 1, 0, 4),
    "mlstm": (4, 4, 3, 1, 0, 0),
}
LINEAR = tuple(SWEEPS)[:4]
MARK_STEPS = 32
STEPS, BATCH, UNITS, BLOCK = 37, 5, 24, 8
FEW, MANY = 3, 21  # inputs on both sides of where the gradients of weights are made another way


def problem(
    cell: str, inputs: int = FEW, symbols: int | None = None, dtype: str = "float32", *, steps: int = STEPS,
    batch: int = BATCH, ragged: bool = True, reverse: bool = False,
) -> Arrays:  # fmt: skip
    """Random arguments of both functions by name; what pads a short row is NaN."""
    gates, read, leaves, emits, own, blocks = SWEEPS[cell]
    rng, heads = np.random.default_rng(0), UNITS // BLOCK if cell == "mlstm" else 0

    def random(*shape: int) -> np.ndarray:
        return rng.uniform(-1, 1, shape).astype(dtype)

    widths = [UNITS, UNITS * BLOCK, heads] if heads else [UNITS] * leaves
    states = [abs(random(batch, width)) + np.array(0.5, dtype) for width in widths]  # a normaliser is above zero
    made: Arrays = {
        "x": random(steps, batch, inputs) if symbols is None else random(symbols, inputs),
        "tokens": None if symbols is None else rng.integers(0, symbols, (steps, batch)),
        "states": states,
        "parameters": [
            random(read * UNITS + 2 * heads, inputs), random(read * UNITS + 2 * heads),
            random(blocks, UNITS, BLOCK) if blocks else None, random(2 * UNITS) if gates > read else None,
            random(own, UNITS) if own else None,
        ],
        "lengths": rng.integers(0, steps + 1, batch) if ragged else None,
        "resets": rng.random((steps, batch)) < 0.2,
        "grad_outputs": random(steps, batch, emits * UNITS), "grad_last": [random(batch, width) for width in widths],
        "reverse": reverse, "sums": gates * UNITS + 2 * heads,
    }  # fmt: skip
    if ragged and symbols is None:
        made["x"][np.arange(steps)[:, None] >= made["lengths"]] = np.nan
    return made


GIVEN = ("x", "tokens", "states", "parameters", "lengths", "resets", "reverse")


def forward(cell: str, p: Arrays, threads: int = 1, *, keep: bool = True) -> Arrays:
    """All results; `kept` where the gradients are to read it."""
    steps, batch = (p["x"] if p["tokens"] is None else p["tokens"]).shape[:2]
    buffer, recurrent = Buffers(p["x"].dtype), cell not in LINEAR
    keeps = keep and (recurrent or p["tokens"] is None)
    marks = ((steps + MARK_STEPS - 1) // MARK_STEPS, batch, sum(state.shape[1] for state in p["states"]))
    results: Arrays = {
        "outputs": buffer(steps, batch, p["grad_outputs"].shape[2]),
        "last": [buffer(*state.shape) for state in p["states"]],
        "kept": buffer(steps, batch, p["sums"]) if keeps else None,
        "marks": buffer(*marks) if recurrent and keep else None,
    }
    given = {name: p[name] for name in GIVEN}
    _native.sweep(cell=list(SWEEPS).index(cell), threads=threads, **given, **results)
    buffer.check()
    return results


def backward(cell: str, p: Arrays, saved: Arrays, threads: int = 1) -> Arrays:
    buffer = Buffers(p["x"].dtype)
    results: Arrays = {
        "grad_x": buffer(*p["x"].shape),
        "grad_states": [buffer(*state.shape) for state in p["states"]],
        "grad_parameters": [None if value is None else buffer(*value.shape) for value in p["parameters"]],
    }
    given = {name: p[name] for name in (*GIVEN, "grad_outputs", "grad_last")}
    kept = {name: saved[name] for name in ("outputs", "kept", "marks")}
    _native.sweep_backward(cell=list(SWEEPS).index(cell), threads=threads, **given, **kept, **results)
    buffer.check()
    return results


def flat(results: Arrays) -> Arrays:
    """Every array by a name of its own, all of them finite."""
    found: Arrays = {}
    for name, value in results.items():
        every: list[Any] = value if isinstance(value, list) else [value]
        found |= {f"{name}.{i}": array for i, array in enumerate(every) if array is not None}
    for name, array in found.items():
        assert np.isfinite(array).all(), f"{name} is not finite"
    return found


def run(cell: str, p: Arrays, threads: int = 1) -> Arrays:
    saved = forward(cell, p, threads)
    return flat({**saved, **backward(cell, p, saved, threads)})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("inputs, symbols", [(FEW, None), (MANY, None), (FEW, 7), (MANY, 7)])
@pytest.mark.parametrize("cell", SWEEPS)
def test_the_same_bits_for_any_number_of_threads(cell: str, inputs: int, symbols: int | None, dtype: str) -> None:
    p = problem(cell, inputs, symbols, dtype)
    alone = run(cell, p)
    for threads in (2, 5):
        same_bits(run(cell, p, threads), alone, threads)


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("inputs", [FEW, MANY])
@pytest.mark.parametrize("cell", LINEAR)
def test_sums_that_are_made_again_are_those_that_were_kept(cell: str, inputs: int, reverse: bool, ragged: bool) -> None:
    p = problem(cell, inputs, ragged=ragged, reverse=reverse)
    kept, saved = forward(cell, p), forward(cell, p, keep=False)
    assert saved["kept"] is None
    same_bits(flat({"outputs": saved["outputs"]}), flat({"outputs": kept["outputs"]}))
    same_bits(flat(backward(cell, p, saved)), flat(backward(cell, p, kept)))


@pytest.mark.parametrize("cell", SWEEPS)
def test_tokens_are_rows_of_their_table(cell: str) -> None:
    """The same outputs, and the gradient of a symbol's row is the sum of those of its steps."""
    p = problem(cell, MANY, 7, "float64")
    spelled = {**p, "x": p["x"][p["tokens"]], "tokens": None}
    looked, saved = forward(cell, p), forward(cell, spelled)
    same_bits({"outputs": looked["outputs"]}, {"outputs": saved["outputs"]})
    gradients, others = backward(cell, p, looked), backward(cell, spelled, saved)
    by_symbol = np.zeros_like(p["x"])
    np.add.at(by_symbol, p["tokens"], others["grad_x"])
    others["grad_x"] = by_symbol
    for (name, got), expected in zip(flat(gradients).items(), flat(others).values(), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("cell", SWEEPS)
def test_a_sequence_in_two_pieces(cell: str) -> None:
    p = problem(cell, ragged=False)
    whole, cut = forward(cell, p), 13

    def piece(steps: slice, states: list[np.ndarray]) -> Arrays:
        parts = {name: np.ascontiguousarray(p[name][steps]) for name in ("x", "resets", "grad_outputs")}
        return forward(cell, {**p, **parts, "states": states})

    first = piece(slice(None, cut), p["states"])
    second = piece(slice(cut, None), first["last"])
    outputs = np.concatenate([first["outputs"], second["outputs"]])
    same_bits(flat({"outputs": outputs, "last": second["last"]}), flat({k: whole[k] for k in ("outputs", "last")}))


@pytest.mark.parametrize("steps, batch", [(0, 3), (3, 0)])
@pytest.mark.parametrize("symbols", [None, 4])
@pytest.mark.parametrize("cell", SWEEPS)
def test_nothing_to_do(cell: str, symbols: int | None, steps: int, batch: int) -> None:
    p = problem(cell, FEW, symbols, steps=steps, batch=batch, ragged=False)
    saved = forward(cell, p)
    if batch:
        same_bits(flat({"last": saved["last"]}), flat({"last": p["states"]}))
        gradients = backward(cell, p, saved)
        assert not any(
            value.any() for value in (gradients["grad_x"], *gradients["grad_parameters"]) if value is not None
        )


@pytest.mark.parametrize("cell", ["slstm", "mlstm"])
def test_a_recurrent_cell_needs_what_was_kept(cell: str) -> None:
    p = problem(cell)
    saved = forward(cell, p)
    with pytest.raises(ValueError, match="kept or marks are missing"):
        backward(cell, p, {**saved, "marks": None})
