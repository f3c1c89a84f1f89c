"""The compiled kernels beside torch: values and all gradients against a plain loop, and torch's memory taken as it is.

The loop is in float64 with autograd, written from the definitions, not from the kernels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from native_calls import (
    BY_UNITS,
    CELLS,
    CHUNKS,
    DIFFERENTIABLE,
    GATES,
    Arrays,
    Case,
    Problem,
    case_problem,
    forward,
    forward_arguments,
    parts,
    problem,
    run,
)
from recurra import _native

TOLERANCE = {"float32": 3e-5, "float64": 1e-12}
SHAPES = [(7, 5, 33), (7, 17, 8), (1, 1, 100), (7, 2, 17), (0, 2, 3), (7, 1, 1), (1, 5, 3), (3, 17, 17)]
SHAPES += [(2, 49, 9)]  # more rows than one block holds


def step(p: Problem, a: Arrays, x: torch.Tensor, h: Any, c: Any) -> tuple[Any, Any, list[Any]]:
    """(next state, next second state, what is kept) from the sums that the inputs give."""
    xs, ws = x.chunk(GATES[p.family], dim=1), a["weight"].chunk(GATES[p.family], dim=0)
    fed = h * a["mask"] if "mask" in a else h
    if p.family == "elman":
        z, kind = xs[0] + fed @ ws[0].T, p.cell.split("-")[1]
        return z if kind == "identity" else getattr(torch, kind)(z), c, [z]
    if p.family == "gru":
        r, z = (torch.sigmoid(xs[g] + fed @ ws[g].T) for g in (0, 1))
        q = (fed if p.cell == "gru" else r * fed) @ ws[2].T + a.get("bias", 0)
        n = torch.tanh(xs[2] + (r * q if p.cell == "gru" else q))
        return (1 - z) * n + z * h, c, [r, z, n, q]
    sums = [xs[g] + fed @ ws[g].T for g in range(4)]
    peep = a.get("peepholes", torch.zeros(3, 1))
    i, f = (torch.sigmoid(sums[g] + peep[g] * c) for g in (0, 1))
    g = torch.tanh(sums[2])
    c = f * c + i * g
    o = torch.sigmoid(sums[3] + peep[2] * c)
    s = o * torch.tanh(c)
    return s @ a["projection"].T if "projection" in a else s, c, [i, f, g, o]


def reference(p: Problem) -> Arrays:
    """The same as `run`, by a plain loop and autograd in float64."""
    a: Arrays = {name: torch.tensor(value) for name, value in p.arrays.items()}
    a = {name: value.double() if value.is_floating_point() else value for name, value in a.items()}
    leaves = {name: a[name].requires_grad_() for name in DIFFERENTIABLE if name in a}
    steps, batch = a["tokens" if "tokens" in a else "x"].shape[:2]
    units = len(a["weight"]) // GATES[p.family]
    lengths = a.get("lengths", torch.full((batch,), steps))
    zero = torch.zeros((), dtype=torch.float64)
    h, c = a["h"], a.get("c", torch.zeros(batch, units, dtype=torch.float64))
    outputs: list[Any] = [None] * steps
    gates, cells = list(outputs), list(outputs)
    for t in reversed(range(steps)) if p.reverse else range(steps):
        valid = (t < lengths)[:, None]
        if "resets" in a:
            again = valid & a["resets"][t][:, None]
            h, c = torch.where(again, zero, h), torch.where(again, zero, c)
        x = a["x"][a["tokens"][t]] if "tokens" in a else torch.where(valid, a["x"][t], zero)
        if "weight_in" in a:
            x = x @ a["weight_in"].T
        new_h, new_c, kept = step(p, a, x + a.get("bias_in", 0), h, c)
        h, c = torch.where(valid, new_h, h), torch.where(valid, new_c, c)
        outputs[t], cells[t] = torch.where(valid, h, zero), torch.where(valid, c, zero)
        gates[t] = torch.where(valid, torch.cat(kept, dim=1), zero)
    result: Arrays = {"h_last": h, "c_last": c}
    if steps:
        result |= {"outputs": torch.stack(outputs), "gates": torch.stack(gates), "cells": torch.stack(cells)}
    loss = sum((leaf.nan_to_num() * 0).sum() for leaf in leaves.values())
    for name in ("outputs", "h_last", "c_last", "cells"):
        if f"grad_{name}" in a and name in result:
            loss = loss + (result[name] * a[f"grad_{name}"].nan_to_num()).sum()
    assert isinstance(loss, torch.Tensor)
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    result |= {f"grad_{name}": value for name, value in zip(leaves, gradients, strict=True)}
    return {name: value.detach().numpy() for name, value in result.items()}


def compare(p: Problem, threads: int, what: object) -> None:
    before = {name: value.copy() for name, value in p.arrays.items()}
    got, expected = run(p, threads), reference(p)
    for name, value in got.items():
        if value.size == 0:
            continue
        error = np.abs(value - expected[name]).max() / max(1.0, np.abs(expected[name]).max())
        assert error < TOLERANCE[value.dtype.name], (name, what)
    for name, value in before.items():
        assert np.array_equal(value, p.arrays[name], equal_nan=value.dtype.kind == "f"), f"{name} was written"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", CELLS)
def test_values_and_gradients_equal_a_plain_loop(cell: str, dtype: str) -> None:
    for seed, shape in enumerate(SHAPES):
        for number, more in enumerate(parts(cell)):
            bits = seed * 5 + number * 3
            options = {
                "ragged": number % 3 != 2,
                "resets": bool(bits & 1),
                "mask": bool(bits & 2),
                "reverse": bool(bits & 4),
                "bias": number % 4 != 1,
                "gradients": (number, seed) != (1, 1),
                **more,
            }
            compare(problem(cell, *shape, dtype, seed=seed, **options), 1 + number % 3, (shape, options))


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("number", range(len(BY_UNITS)))
def test_values_and_gradients_where_units_are_shared_out(number: int, dtype: str, threads: int) -> None:
    compare(case_problem(BY_UNITS[number], number, dtype), threads, BY_UNITS[number])


@pytest.mark.parametrize("case", CHUNKS, ids=lambda case: f"{case[0]}-{case[1]}")
def test_values_and_gradients_over_several_chunks(case: Case) -> None:
    compare(case_problem(case, CHUNKS.index(case)), 2, case)


@pytest.mark.parametrize("name", ["grad_outputs", "grad_h_last", "grad_c_last", "grad_cells"])
def test_each_gradient_that_comes_in_is_used_alone(name: str) -> None:
    p = problem("lstm", 6, 5, 19, inputs=4, width=7, peepholes=True)
    others = {"grad_outputs", "grad_h_last", "grad_c_last", "grad_cells"} - {name}
    compare(p.change(**dict.fromkeys(others)), 2, name)


def test_dlpack_capsules_of_torch_are_taken() -> None:
    p = problem("gru", 4, 3, 9, inputs=5, bias_in=True)
    expected = forward(p)
    results = {name: torch.full(value.shape, torch.nan) for name, value in expected.items()}
    tensors: Arrays = forward_arguments(p.change(**{k: torch.tensor(v) for k, v in p.arrays.items()}), results)
    capsules = {k: v.__dlpack__() if isinstance(v, torch.Tensor) else v for k, v in tensors.items()}
    _native.forward(**capsules)
    for name, value in expected.items():
        assert np.array_equal(results[name].numpy(), value)


def test_a_tensor_of_no_numbers_is_there() -> None:
    """torch gives null for its memory, which must not be taken for an argument that is absent."""
    p = problem("gru", 4, 3, 9, inputs=0, bias_in=True)
    expected = forward(p)
    p = p.change(weight_in=torch.zeros(27, 0), x=torch.zeros(4, 3, 0))
    results: Arrays = {name: np.full_like(value, np.nan) for name, value in expected.items()}
    _native.forward(**forward_arguments(p, results))
    assert all(np.array_equal(results[name], expected[name]) for name in expected)


def test_the_threads_are_those_of_torch() -> None:
    assert _native.thread_source() == "openmp"
