"""Calls of the compiled kernels for the tests: random problems, and result buffers between guards. Needs numpy alone.

Every result buffer is full of NaN before a call and lies between guards of NaN that must survive it. What pads a short
row is NaN too, and a result that is not finite fails: a call must write everything and read nothing that pads.
"""

from __future__ import annotations

import hashlib
import math
import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from recurra import _native

_native.be_patient()  # a team must be a team here, however busy the machine

ACTIVATIONS = ("tanh", "relu", "sigmoid", "identity")
CELLS = (*(f"elman-{name}" for name in ACTIVATIONS), "gru", "gru-before", "lstm")
GATES = {"elman": 1, "gru": 3, "lstm": 4}
# an odd number, so that results lie as badly as they can; none where the sanitiser guards every array itself
GUARD = 0 if _native.sanitized else 65

Arrays = dict[str, Any]

# where the batch stands in the arrays that have a line for each row of it
ROW_AXES = {"h": 0, "c": 0, "lengths": 0, "mask": 0, "grad_h_last": 0, "grad_c_last": 0}
ROW_AXES |= {"resets": 1, "tokens": 1, "grad_outputs": 1, "grad_cells": 1}
RESULT_AXES = {"outputs": 1, "gates": 1, "cells": 1, "h_last": 0, "c_last": 0, "grad_h": 0, "grad_c": 0}


@dataclass(frozen=True)
class Problem:
    """One call of forward and one of backward: a cell, its arguments by their names, and the gradients that come in."""

    cell: str
    arrays: Arrays
    reverse: bool = False

    @property
    def family(self) -> str:
        return self.cell.split("-")[0]

    @property
    def row_axes(self) -> dict[str, int]:
        """The axis of the batch in every argument that has one."""
        axes = ROW_AXES if "tokens" in self.arrays else ROW_AXES | {"x": 1}
        return {name: axis for name, axis in axes.items() if name in self.arrays}

    @property
    def result_axes(self) -> dict[str, int]:
        """The same for the results: those of a row that other rows do not touch."""
        return RESULT_AXES if "tokens" in self.arrays else RESULT_AXES | {"grad_x": 1}

    def change(self, **arrays: Any) -> Problem:
        """The same with other arguments; None leaves one out."""
        changed = {**self.arrays, **arrays}
        return replace(self, arrays={name: value for name, value in changed.items() if value is not None})

    def rows(self, rows: list[int]) -> Problem:
        """Some rows of the batch."""
        return self.change(**{name: np.take(self.arrays[name], rows, axis) for name, axis in self.row_axes.items()})

    def cut(self, steps: slice, **state: np.ndarray) -> Problem:
        """Some of the steps, from this state."""
        names = ("tokens" if "tokens" in self.arrays else "x", "resets", "grad_outputs", "grad_cells")
        cropped = {name: np.ascontiguousarray(self.arrays[name][steps]) for name in names if name in self.arrays}
        return self.change(**cropped, **state)


def problem(
    cell: str,
    steps: int,
    batch: int,
    units: int,
    dtype: str = "float32",
    *,
    seed: int = 0,
    reverse: bool = False,
    ragged: bool = True,
    resets: bool = True,
    mask: bool = True,
    bias: bool = True,
    gradients: bool = True,
    inputs: int | None = None,
    symbols: int | None = None,
    bias_in: bool = False,
    peepholes: bool = False,
    width: int | None = None,
) -> Problem:
    """A random problem. With `inputs` there is a weight_in, with `symbols` tokens, with `width` a projection."""
    rng = np.random.default_rng(seed)
    lstm, sums = cell == "lstm", GATES[cell.split("-")[0]] * units
    state = units if width is None else width
    columns = sums if inputs is None else inputs

    def random(*shape: int, fan: int = 1) -> np.ndarray:
        # uniform: the numbers of a normal distribution depend on the processor, through exp and log
        return (rng.uniform(-1.7, 1.7, size=shape) / math.sqrt(max(fan, 1))).astype(dtype)

    made: Arrays = {
        "x": random(steps, batch, columns) if symbols is None else random(symbols, columns),
        "h": random(batch, state),
        "weight": random(sums, state, fan=state),
    }
    if symbols is not None:
        made["tokens"] = rng.integers(0, symbols, size=(steps, batch))
    if inputs is not None:
        made["weight_in"] = random(sums, inputs, fan=inputs)
    if bias_in:
        made["bias_in"] = random(sums)
    if ragged:
        made["lengths"] = rng.integers(0, steps + 1, size=batch)
    if resets:
        made["resets"] = rng.random((steps, batch)) < 0.2
    if mask:
        made["mask"] = ((rng.random((batch, state)) < 0.7) / 0.7).astype(dtype)
    if cell.startswith("gru") and bias:
        made["bias"] = random(units)
    if lstm:
        made["c"] = random(batch, units)
    if lstm and peepholes:
        made["peepholes"] = random(3, units)
    if width is not None:
        made["projection"] = random(width, units, fan=units)
    if gradients:
        made |= {"grad_outputs": random(steps, batch, state), "grad_h_last": random(batch, state)}
    if gradients and lstm:
        made |= {"grad_c_last": random(batch, units), "grad_cells": random(steps, batch, units)}
    if ragged:
        pads = np.arange(steps)[:, None] >= made["lengths"]
        for name in ("grad_outputs", "grad_cells", *(["x"] if symbols is None else [])):
            if name in made:
                made[name][pads] = np.nan
    return Problem(cell, made, reverse)


class Buffers:
    """Result arrays full of NaN, between guards."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        self.whole: list[np.ndarray] = []

    def __call__(self, *shape: int) -> np.ndarray:
        size = int(np.prod(shape))
        whole = np.full(size + 2 * GUARD, np.nan, self.dtype)
        self.whole.append(whole)
        return whole[GUARD : GUARD + size].reshape(shape)

    def check(self) -> None:
        for whole in self.whole:
            assert np.isnan(whole[:GUARD]).all() and np.isnan(whole[whole.size - GUARD :]).all(), "a guard was written"


def _shared(p: Problem, threads: int) -> Arrays:
    """What both functions are given."""
    family = ("elman", "gru", "lstm").index(p.family)
    names = ("x", "tokens", "weight_in", "h", "c", "weight", "peepholes", "projection", "lengths", "resets", "mask")
    return {
        "cell": family + (family == 2 or p.cell == "gru-before"),
        "activation": ACTIVATIONS.index(p.cell.split("-")[1]) if p.family == "elman" else 0,
        "reverse": p.reverse,
        "threads": threads,
        **{name: p.arrays.get(name) for name in names},
    }


def forward_arguments(p: Problem, results: Arrays, threads: int = 1) -> Arrays:
    """All arguments of forward, by name."""
    biases = {name: p.arrays.get(name) for name in ("bias_in", "bias")}
    return {**_shared(p, threads), **biases, **dict.fromkeys(("c_last", "gates", "cells")), **results}


def forward(p: Problem, threads: int = 1, without: tuple[str, ...] = ()) -> Arrays:
    """outputs, h_last, gates, and for an LSTM c_last and cells; `without` leaves results out."""
    a = p.arrays
    steps, batch = a["tokens" if "tokens" in a else "x"].shape[:2]
    state, units = a["h"].shape[-1], len(a["weight"]) // GATES[p.family]
    shapes = {
        "outputs": (steps, batch, state),
        "h_last": (batch, state),
        "gates": (steps, batch, (1 if p.family == "elman" else 4) * units),
    }
    if p.cell == "lstm":
        shapes |= {"c_last": (batch, units), "cells": (steps, batch, units)}
    buffer = Buffers(a["x"].dtype)
    results = {name: buffer(*shape) for name, shape in shapes.items() if name not in without}
    _native.forward(**forward_arguments(p, results, threads))
    buffer.check()
    return results


DIFFERENTIABLE = ("x", "h", "c", "weight_in", "bias_in", "weight", "bias", "peepholes", "projection")


def backward_arguments(p: Problem, saved: Arrays, results: Arrays, threads: int = 1) -> Arrays:
    """All arguments of backward, by name."""
    came = {name: p.arrays.get(name) for name in ("grad_outputs", "grad_h_last", "grad_c_last", "grad_cells")}
    kept = {"outputs": saved["outputs"], "cells": saved.get("cells")}
    kept["gates"] = None if p.family == "elman" else saved["gates"]
    absent = dict.fromkeys(f"grad_{name}" for name in DIFFERENTIABLE)
    return {**came, **_shared(p, threads), **kept, **absent, **results}


def backward(p: Problem, saved: Arrays, threads: int = 1, without: tuple[str, ...] = ()) -> Arrays:
    """The gradient of every argument that has one; `without` leaves results out."""
    buffer = Buffers(p.arrays["x"].dtype)
    wanted = [name for name in DIFFERENTIABLE if name in p.arrays and f"grad_{name}" not in without]
    results = {f"grad_{name}": buffer(*p.arrays[name].shape) for name in wanted}
    _native.backward(**backward_arguments(p, saved, results, threads))
    buffer.check()
    return results


def run(p: Problem, threads: int = 1) -> Arrays:
    """All results and all gradients."""
    results = forward(p, threads)
    results |= backward(p, results, threads)
    for name, value in results.items():
        assert np.isfinite(value).all(), f"{name} is not finite"
    return results


def same_bits(got: Arrays, expected: Arrays, what: object = "") -> None:
    """The same results, bit for bit."""
    assert got.keys() == expected.keys()
    for name in got:
        assert got[name].tobytes() == np.ascontiguousarray(expected[name]).tobytes(), f"{what}: {name}"


def points(dtype: str) -> np.ndarray:
    """Where the functions of one number are measured."""
    rng = np.random.default_rng(1)
    edge = 110 if dtype == "float32" else 760
    small = np.ldexp(rng.uniform(1, 2, 20_000), rng.integers(-149 if dtype == "float32" else -1074, 4, 20_000))
    near = [rng.uniform(-edge, edge, 60_000), rng.uniform(-2, 2, 60_000), rng.uniform(-20, 20, 60_000)]
    return np.concatenate([*near, small, -small]).astype(dtype)


# what a call may have beside its cell: for all cells, and for the LSTM alone
INPUTS: list[Arrays] = [{}, {"bias_in": True}, {"inputs": 5, "bias_in": True}, {"inputs": 19}]
INPUTS += [{"symbols": 4, "bias_in": True}, {"symbols": 6, "inputs": 3, "bias_in": True}, {"symbols": 1, "inputs": 1}]
LSTM_PARTS: list[Arrays] = [{"peepholes": True}, {"width": 5}, {"width": 40, "peepholes": True}]


def parts(cell: str) -> list[Arrays]:
    """Options of `problem` that together ask for everything a cell can have."""
    lstm = [{**INPUTS[i], **more} for i, more in zip((2, 5, 1), LSTM_PARTS, strict=True)]
    return INPUTS + (lstm if cell == "lstm" else [])


Case = tuple[str, tuple[int, int, int], Arrays]

# Few rows and large weights: here a team shares out the units of every step (choose_team in native/calls.cpp), and
# here alone a worker reads what another one has just written.
BY_UNITS: list[Case] = [
    *(("elman-tanh", (6, batch, 321), {"inputs": 7, "bias_in": True}) for batch in (1, 3)),
    *((cell, (6, batch, 190), {"inputs": 7}) for cell in ("gru", "gru-before") for batch in (1, 3)),
    *(("lstm", (6, batch, 170), {"symbols": 5, "inputs": 4}) for batch in (1, 3)),
    *(("lstm", (6, batch, 170), {"width": 150, "peepholes": True, "bias_in": True}) for batch in (1, 3)),
    ("lstm", (4, 5, 225), {"inputs": 30, "peepholes": True}),
]

# More than one chunk, of the steps in forward and backward or of the symbols, and more rows than a chunk is meant for.
CHUNKS: list[Case] = [
    ("elman-relu", (90, 17, 33), {"inputs": 9, "bias_in": True}),
    ("gru", (80, 17, 33), {"inputs": 9}),
    ("gru-before", (70, 17, 33), {}),
    ("lstm", (60, 17, 33), {"symbols": 5, "peepholes": True, "width": 21}),
    ("lstm", (3, 530, 40), {"inputs": 3, "width": 10}),
    ("gru", (2, 600, 9), {"symbols": 5, "inputs": 4, "bias_in": True}),
    ("elman-tanh", (3, 4, 20), {"symbols": 1100, "inputs": 7}),
]


def case_problem(case: Case, number: int, dtype: str = "float32") -> Problem:
    """The problem of a case; every other one runs in reverse. One row alone takes part in every step."""
    cell, shape, more = case
    return problem(cell, *shape, dtype, seed=number, reverse=number % 2 == 1, ragged=shape[1] > 1, **more)


def digest(threads: int = 1, steps: int = 20, batch: int = 24) -> str:
    """One number for the results of many problems: equal only where every bit is."""
    total = hashlib.sha256()
    for dtype in ("float32", "float64"):
        for cell in CELLS:
            for i, more in enumerate(parts(cell)):
                results = run(problem(cell, steps, batch, 37, dtype, reverse=i % 2 == 1, **more), threads)
                total.update(b"".join(results[name].tobytes() for name in sorted(results)))
        for name in ("exp", "sigmoid", "tanh"):
            x = points(dtype)[::7].copy()
            out = np.empty_like(x)
            getattr(_native, name)(x, out)
            total.update(out.tobytes())
    return total.hexdigest()


if __name__ == "__main__":
    print(_native.simd(), digest(*map(int, sys.argv[1:])))
