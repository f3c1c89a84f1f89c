"""The compiled kernels against plain loops: values, gradients, laws bit for bit, and what they refuse.

The reference is a torch loop in float64 with autograd, written from the definitions, not from the kernels.
Every result buffer is full of NaN before a call and lies between guards of NaN that must survive it.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recurra import _native

ACTIVATIONS = ("tanh", "relu", "sigmoid", "identity")
CELLS = (*(f"elman-{name}" for name in ACTIVATIONS), "gru", "gru-before", "lstm")
GATES = {"elman": 1, "gru": 3, "lstm": 4}
TOLERANCE = {"float32": 3e-5, "float64": 1e-12}
GUARD = 64

Arrays = dict[str, Any]


@dataclass(frozen=True)
class Problem:
    """One call: a cell, its arguments, and the gradients that come in.

    Arrays: x, h, c, weight, bias, lengths, resets, mask, grad_outputs, grad_h_last, grad_c_last, grad_cells.
    """

    cell: str
    arrays: Arrays
    reverse: bool = False

    @property
    def family(self) -> str:
        return self.cell.split("-")[0]

    def change(self, **arrays: Any) -> Problem:
        return replace(self, arrays={**self.arrays, **arrays})


def problem(cell: str, steps: int, batch: int, units: int, dtype: str = "float32", **options: Any) -> Problem:
    """A random problem. Options, all on but reverse: ragged, resets, mask, reverse, bias, gradients; seed."""
    rng = np.random.default_rng(options.get("seed", 0))
    gates = GATES[cell.split("-")[0]]

    def random(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(dtype)

    arrays: Arrays = {
        "x": random(steps, batch, gates * units),
        "h": random(batch, units),
        "c": random(batch, units),
        "weight": random(gates * units, units) / max(units, 1) ** 0.5,
        "bias": random(units),
        "lengths": rng.integers(0, steps + 1, size=batch),
        "resets": rng.random((steps, batch)) < 0.2,
        "mask": (rng.random((batch, units)) < 0.7).astype(dtype) / 0.7,
        "grad_outputs": random(steps, batch, units),
        "grad_h_last": random(batch, units),
        "grad_c_last": random(batch, units),
        "grad_cells": random(steps, batch, units),
    }
    arrays["weight"] = arrays["weight"].astype(dtype)
    arrays["mask"] = arrays["mask"].astype(dtype)
    gradients = ("grad_outputs", "grad_h_last", "grad_c_last", "grad_cells")
    absent = {"lengths": "ragged", **{name: "gradients" for name in gradients}}
    for name in ("lengths", "resets", "mask", "bias", *gradients):
        if not options.get(absent.get(name, name), True):
            arrays[name] = None
    return Problem(cell, arrays, options.get("reverse", False))


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
            assert np.isnan(whole[:GUARD]).all() and np.isnan(whole[whole.size - GUARD :]).all()


def forward(p: Problem, threads: int = 1) -> Arrays:
    """outputs, h_last, gates, and for an LSTM c_last and cells."""
    a = p.arrays
    steps, batch, units = *a["x"].shape[:2], a["h"].shape[-1]
    buffer = Buffers(a["x"].dtype)
    saved = 1 if p.family == "elman" else 4
    r = {
        "outputs": buffer(steps, batch, units),
        "h_last": buffer(batch, units),
        "gates": buffer(steps, batch, saved * units),
    }
    choice = (a["lengths"], a["resets"], a["mask"])
    if p.family == "elman":
        activation = ACTIVATIONS.index(p.cell.split("-")[1])
        results = r["outputs"], r["h_last"], r["gates"]
        _native.elman_forward(a["x"], a["h"], a["weight"], *choice, activation, p.reverse, *results, threads)
    elif p.family == "gru":
        after = p.cell == "gru"
        results = r["outputs"], r["h_last"], r["gates"]
        choice = a["bias"], *choice
        _native.gru_forward(a["x"], a["h"], a["weight"], *choice, after, p.reverse, *results, threads)
    else:
        r["c_last"], r["cells"] = buffer(batch, units), buffer(steps, batch, units)
        results = r["outputs"], r["h_last"], r["c_last"], r["gates"], r["cells"]
        _native.lstm_forward(a["x"], a["h"], a["c"], a["weight"], *choice, p.reverse, *results, threads)
    buffer.check()
    return r


def backward(p: Problem, saved: Arrays, threads: int = 1) -> Arrays:
    """grad_x, grad_h, for a GRU grad_q, for an LSTM grad_c."""
    a = p.arrays
    buffer = Buffers(a["x"].dtype)
    r = {"grad_x": buffer(*a["x"].shape), "grad_h": buffer(*a["h"].shape)}
    choice = (a["lengths"], a["resets"], a["mask"])
    came = a["grad_outputs"], a["grad_h_last"]
    if p.family == "elman":
        kept = ACTIVATIONS.index(p.cell.split("-")[1]), p.reverse, saved["outputs"], saved["gates"]
        _native.elman_backward(*came, a["weight"], *choice, *kept, r["grad_x"], r["grad_h"], threads)
    elif p.family == "gru":
        r["grad_q"] = buffer(*saved["outputs"].shape)
        kept = p.cell == "gru", p.reverse, saved["outputs"], saved["gates"]
        results = r["grad_x"], r["grad_q"], r["grad_h"]
        _native.gru_backward(*came, a["weight"], a["h"], *choice, *kept, *results, threads)
    else:
        r["grad_c"] = buffer(*a["c"].shape)
        came = *came, a["grad_c_last"], a["grad_cells"]
        kept = p.reverse, saved["gates"], saved["cells"]
        results = r["grad_x"], r["grad_h"], r["grad_c"]
        _native.lstm_backward(*came, a["weight"], a["c"], *choice, *kept, *results, threads)
    buffer.check()
    return r


def run(p: Problem, threads: int = 1) -> Arrays:
    results = forward(p, threads)
    return {**results, **backward(p, results, threads)}


def reference(p: Problem) -> Arrays:
    """The same as `run`, by a plain loop and autograd in float64."""
    import torch

    a: Arrays = {k: None if v is None else torch.tensor(v) for k, v in p.arrays.items()}
    a = {k: v.double() if v is not None and v.is_floating_point() else v for k, v in a.items()}
    x, h0, c0 = (a[k].requires_grad_() for k in ("x", "h", "c"))
    weight, mask = a["weight"], a["mask"]
    steps, batch, _ = x.shape
    units = h0.shape[1]
    lengths = torch.full((batch,), steps) if a["lengths"] is None else a["lengths"]
    nudge = torch.zeros(steps, batch, units, dtype=torch.float64, requires_grad=True)  # reads off dL/dq
    h, c, zero = h0, c0, torch.zeros(())
    outputs: list[Any] = [None] * steps
    gates, cells = list(outputs), list(outputs)
    for t in reversed(range(steps)) if p.reverse else range(steps):
        valid = (t < lengths)[:, None]
        if a["resets"] is not None:
            again = valid & a["resets"][t][:, None]
            h, c = torch.where(again, zero, h), torch.where(again, zero, c)
        fed = h if mask is None else h * mask
        xs, ws = x[t].split(units, dim=1), weight.split(units, dim=0)
        new_c = c
        if p.family == "elman":
            kept = [xs[0] + fed @ ws[0].T]
            kind = p.cell.split("-")[1]
            new_h = kept[0] if kind == "identity" else getattr(torch, kind)(kept[0])
        elif p.family == "gru":
            r, z = (torch.sigmoid(xs[g] + fed @ ws[g].T) for g in (0, 1))
            bias = 0 if a["bias"] is None else a["bias"]
            q = (fed if p.cell == "gru" else r * fed) @ ws[2].T + bias + nudge[t]
            n = torch.tanh(xs[2] + (r * q if p.cell == "gru" else q))
            kept, new_h = [r, z, n, q], (1 - z) * n + z * h
        else:
            sums = [xs[g] + fed @ ws[g].T for g in range(4)]
            i, f, o = (torch.sigmoid(sums[g]) for g in (0, 1, 3))
            g = torch.tanh(sums[2])
            new_c = f * c + i * g
            kept, new_h = [i, f, g, o], o * torch.tanh(new_c)
        h, c = torch.where(valid, new_h, h), torch.where(valid, new_c, c)
        outputs[t], cells[t] = torch.where(valid, h, zero), torch.where(valid, c, zero)
        gates[t] = torch.where(valid, torch.cat(kept, dim=1), zero)

    def stacked(values: list[Any]) -> Any:
        return torch.stack(values) if values else torch.zeros(0, batch, units, dtype=torch.float64)

    result = {"outputs": stacked(outputs), "h_last": h, "cells": stacked(cells), "c_last": c}
    loss = (x.sum() + h0.sum() + c0.sum() + nudge.sum()) * 0
    for name, gradient in (("outputs", "grad_outputs"), ("h_last", "grad_h_last"), ("c_last", "grad_c_last")):
        if a[gradient] is not None and (name != "c_last" or p.family == "lstm"):
            loss = loss + (result[name] * a[gradient]).sum()
    if p.family == "lstm" and a["grad_cells"] is not None:
        loss = loss + (result["cells"] * a["grad_cells"]).sum()
    grads = torch.autograd.grad(loss, (x, h0, c0, nudge))
    result |= dict(zip(("grad_x", "grad_h", "grad_c", "grad_q"), grads, strict=True))
    if steps:
        result["gates"] = stacked(gates)
    return {k: v.detach().numpy() for k, v in result.items()}


def same_bits(got: Arrays, expected: Arrays, what: str = "") -> None:
    assert got.keys() == expected.keys()
    for name in got:
        assert got[name].tobytes() == np.ascontiguousarray(expected[name]).tobytes(), f"{what} {name}"


SHAPES = [(7, 5, 33), (7, 17, 8), (1, 1, 100), (7, 2, 17), (0, 2, 3), (7, 1, 1), (1, 5, 3), (3, 17, 17)]
SHAPES += [(2, 49, 9)]  # more rows than one group holds


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", CELLS)
def test_values_and_gradients_equal_a_plain_loop(cell: str, dtype: str) -> None:
    for seed, shape in enumerate(SHAPES):
        for number in range(3):
            bits = seed * 5 + number * 3
            options = {
                "ragged": number != 2,
                "resets": bool(bits & 1),
                "mask": bool(bits & 2),
                "reverse": bool(bits & 4),
                "bias": number != 1,
                "gradients": (number, seed) != (1, 1),
            }
            p = problem(cell, *shape, dtype, seed=seed, **options)
            before = {k: None if v is None else v.copy() for k, v in p.arrays.items()}
            got, expected = run(p, threads=1 + number), reference(p)
            for name, value in got.items():
                if value.size == 0:
                    continue
                error = np.abs(value - expected[name]).max() / max(1.0, np.abs(expected[name]).max())
                assert error < TOLERANCE[dtype], (name, shape, options)
            for name, value in before.items():
                assert value is None or np.array_equal(value, p.arrays[name]), f"{name} was written"


@pytest.mark.parametrize("cell", CELLS)
def test_all_lengths_zero_keep_the_state_and_give_zeros(cell: str) -> None:
    p = problem(cell, 4, 3, 9, resets=False).change(lengths=np.zeros(3, np.int64))
    got = run(p)
    assert np.array_equal(got["h_last"], p.arrays["h"])
    assert np.array_equal(got["grad_h"], p.arrays["grad_h_last"])
    assert not got["outputs"].any() and not got["gates"].any() and not got["grad_x"].any()


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("shape", [(3, 0, 5), (3, 2, 0), (0, 0, 0), (0, 3, 5)])
def test_empty_axes(cell: str, shape: tuple[int, int, int]) -> None:
    got = run(problem(cell, *shape))
    assert np.array_equal(got["h_last"], problem(cell, *shape).arrays["h"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", CELLS)
def test_thread_count_and_other_rows_change_no_bit(cell: str, dtype: str) -> None:
    p = problem(cell, 6, 17, 61, dtype)  # enough work that threads are woken
    whole = run(p)
    for threads in (2, 3, 4):
        same_bits(run(p, threads), whole, f"{threads} threads")
    per_batch = ("h", "c", "lengths", "mask", "grad_h_last", "grad_c_last")
    per_step = ("x", "resets", "grad_outputs", "grad_cells")
    for rows in ([3], [0, 16], [5, 4, 9], list(range(1, 15))):
        part = p.change(
            **{k: np.ascontiguousarray(p.arrays[k][rows]) for k in per_batch},
            **{k: np.ascontiguousarray(p.arrays[k][:, rows]) for k in per_step},
        )
        last = ("h_last", "c_last", "grad_h", "grad_c")
        expected = {k: v[rows] if k in last else v[:, rows] for k, v in whole.items()}
        same_bits(run(part), expected, f"rows {rows}")


@pytest.mark.parametrize("cell", CELLS)
def test_cutting_the_steps_changes_no_bit(cell: str) -> None:
    p = problem(cell, 9, 5, 21, ragged=False)
    for reverse in (False, True):
        p = replace(p, reverse=reverse)
        whole = forward(p)
        for cut in range(10):
            halves = (slice(cut, None), slice(None, cut)) if reverse else (slice(None, cut), slice(cut, None))
            h, c, parts = p.arrays["h"], p.arrays["c"], []
            for steps in halves:
                cropped = {k: np.ascontiguousarray(p.arrays[k][steps]) for k in ("x", "resets")}
                parts.append(forward(p.change(**cropped, h=h, c=c)))
                h, c = parts[-1]["h_last"], parts[-1].get("c_last", c)
            ordered = parts[::-1] if reverse else parts
            joined = {k: np.concatenate([part[k] for part in ordered]) for k in ("outputs", "gates")}
            same_bits(joined, {k: whole[k] for k in joined}, f"cut at {cut}")
            assert np.array_equal(h, whole["h_last"])


def chain(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """x W^T + b in float32, each sum one chain of multiply-adds rounded once (80 bits hold the products)."""
    out = np.tile(bias, (len(x), 1)).astype(np.longdouble)
    for k in range(x.shape[1]):
        products = x[:, k, None].astype(np.longdouble) * weight[None, :, k].astype(np.longdouble)
        out = (out + products).astype(np.float32).astype(np.longdouble)
    return out.astype(np.float32)


def linear(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, threads: int = 1) -> np.ndarray:
    buffer = Buffers(x.dtype)
    out = buffer(len(x), len(weight))
    _native.linear(x, weight, bias, out, threads)
    buffer.check()
    return out


LINEAR_SHAPES = [(1, 9, 130), (2, 33, 1), (3, 64, 40), (7, 5, 16), (61, 70, 41), (0, 3, 4), (4, 0, 5)]


@pytest.mark.parametrize("shape", LINEAR_SHAPES)
def test_linear_is_one_chain_in_one_order(shape: tuple[int, int, int]) -> None:
    rows, depth, columns = shape
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, depth)).astype(np.float32)
    weight = rng.normal(size=(columns, depth)).astype(np.float32)
    bias = rng.normal(size=columns).astype(np.float32)
    for threads in (1, 3):
        assert np.array_equal(linear(x, weight, bias, threads), chain(x, weight, bias))
    assert np.array_equal(linear(x, weight, None), chain(x, weight, np.zeros(columns, np.float32)))
    exact = x.astype(np.float64) @ weight.astype(np.float64).T + bias
    doubles = linear(x.astype(np.float64), weight.astype(np.float64), bias.astype(np.float64))
    assert np.allclose(doubles, exact, rtol=0, atol=1e-12)


def points(dtype: str) -> np.ndarray:
    rng = np.random.default_rng(1)
    edge = 110 if dtype == "float32" else 760
    small = 10.0 ** rng.uniform(-45 if dtype == "float32" else -320, 1, 20_000)
    near = [rng.uniform(-edge, edge, 60_000), rng.uniform(-2, 2, 60_000), rng.uniform(-20, 20, 60_000)]
    return np.concatenate([*near, small, -small]).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "bound"), [("exp", 1.25), ("sigmoid", 2.5), ("tanh", 3.0)])
def test_error_of_the_functions(name: str, bound: float, dtype: str) -> None:
    x = points(dtype)
    got = np.full_like(x, np.nan)
    getattr(_native, name)(x, got)
    wide = x.astype(np.longdouble)
    with np.errstate(all="ignore"):
        small = np.exp(-np.abs(wide))
        sigmoid = np.where(x >= 0, 1, small) / (1 + small)
        exact = {"exp": np.exp(wide), "tanh": np.tanh(wide), "sigmoid": sigmoid}[name]
        rounded = exact.astype(dtype)
    finite = np.isfinite(rounded)
    assert np.array_equal(got[~finite], rounded[~finite])
    ulps = np.abs(got[finite] - exact[finite]) / np.spacing(np.abs(rounded[finite])).astype(np.longdouble)
    assert ulps.max() < bound
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0], dtype)
    result = np.empty_like(special)
    getattr(_native, name)(special, result)
    limits = {"exp": [np.inf, 0, 1, 1], "sigmoid": [1, 0, 0.5, 0.5], "tanh": [1, -1, 0.0, -0.0]}[name]
    assert np.isnan(result[0]) and np.array_equal(result[1:], np.array(limits, dtype))
    assert name != "tanh" or np.signbit(result[4])


@pytest.mark.parametrize("cell", CELLS)
def test_a_nan_stays_in_its_row(cell: str) -> None:
    p = problem(cell, 3, 4, 10, ragged=False, resets=False, mask=False)
    clean = forward(p)
    x = p.arrays["x"].copy()
    x[0, 1] = np.nan
    dirty = forward(p.change(x=x))
    assert np.isnan(dirty["h_last"][1]).all()
    keep = [0, 2, 3]
    assert np.array_equal(dirty["outputs"][:, keep], clean["outputs"][:, keep])


def digest(threads: int = 1) -> str:
    """One number for the results of many problems: equal only where every bit is."""
    total = hashlib.sha256()
    for dtype in ("float32", "float64"):
        for cell in CELLS:
            for reverse in (False, True):
                results = run(problem(cell, 20, 24, 37, dtype, reverse=reverse), threads)
                total.update(b"".join(results[k].tobytes() for k in sorted(results)))
        for name in ("exp", "sigmoid", "tanh"):
            x = points(dtype)[::7].copy()
            out = np.empty_like(x)
            getattr(_native, name)(x, out)
            total.update(out.tobytes())
    return total.hexdigest()


def elsewhere(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a new Python that has this file's names."""
    text = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from test_native import *\n"
    text += f"from recurra import _native\n{code}"
    arguments = [sys.executable, "-W", "ignore", "-c", text]
    env = {**os.environ, **environment}
    return subprocess.run(arguments, env=env, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("simd", _native.available_simd())
def test_every_instruction_set_gives_the_same_bits(simd: str) -> None:
    done = elsewhere("print(_native.simd(), digest(2))", RECURRA_SIMD=simd)
    assert done.stdout.split() == [simd, digest()], done.stderr


def test_an_instruction_set_that_cannot_run_is_refused() -> None:
    done = elsewhere("", RECURRA_SIMD="avx1024")
    assert done.returncode != 0
    assert "avx1024" in done.stderr and "portable" in done.stderr


def test_two_python_threads_at_once() -> None:
    problems = [problem("gru", 30, 12, 40, seed=0), problem("lstm", 30, 12, 40, seed=1)]
    expected = [run(p) for p in problems]
    failures: list[BaseException] = []

    def work(i: int) -> None:
        try:
            for _ in range(30):
                same_bits(run(problems[i], threads=3), expected[i])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures and not any(thread.is_alive() for thread in threads)


def test_a_forked_child_starts_its_own_threads() -> None:
    code = """
def threads():
    return len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 3

first = digest(3)
child = os.fork()
if child == 0:
    right = digest(3) == first and digest(2) == first
    os._exit(threads() if right else 100)
status = os.waitpid(child, 0)[1]
print(os.waitstatus_to_exitcode(status), digest(2) == first)
"""
    done = elsewhere(code)
    assert done.stdout.split() == ["3", "True"], done.stderr


def test_dlpack_capsules_of_torch_are_taken() -> None:
    import torch

    p = problem("gru", 4, 3, 9)
    a = p.arrays
    given = [torch.tensor(a[k]) for k in ("x", "h", "weight", "bias", "lengths", "resets", "mask")]
    outputs, h_last = torch.full((4, 3, 9), torch.nan), torch.full((3, 9), torch.nan)
    capsules = [t.__dlpack__() for t in given]
    _native.gru_forward(*capsules, True, False, outputs.__dlpack__(), h_last.__dlpack__(), None, 1)
    expected = forward(p)
    assert np.array_equal(outputs.numpy(), expected["outputs"])
    assert np.array_equal(h_last.numpy(), expected["h_last"])


@pytest.mark.parametrize("cell", ["elman-tanh", "gru", "gru-before", "lstm"])
def test_wrong_shapes_are_refused_by_name(cell: str) -> None:
    p = problem(cell, 4, 3, 8).change(lengths=np.array([0, 1, 2]))
    saved = forward(p)
    for name in ("x", "h", "weight", "lengths", "resets", "mask", *(["bias"] if "gru" in cell else [])):
        array = p.arrays[name]
        for wrong in (np.ascontiguousarray(array[:-1]), np.ascontiguousarray(array[..., :-1]), array[None]):
            with pytest.raises(ValueError, match=r"shape \("):
                forward(p.change(**{name: wrong}))
    for name in ("weight", "lengths", "resets", "mask", "grad_outputs", "grad_h_last"):
        array = p.arrays[name]
        for wrong in (np.ascontiguousarray(array[..., :-1]), array[None]):
            with pytest.raises(ValueError, match=name):
                backward(p.change(**{name: wrong}), saved)
    for name in ("gates", "cells" if cell == "lstm" else "outputs"):
        with pytest.raises(ValueError, match=r"shape \("):
            backward(p, {**saved, name: np.ascontiguousarray(saved[name][:, :-1])})


@pytest.mark.parametrize("wrong", [-1, 5, 2**62])
def test_wrong_lengths_are_refused(wrong: int) -> None:
    p = problem("gru", 4, 3, 8).change(lengths=np.array([0, wrong, 4]))
    with pytest.raises(ValueError, match=rf"lengths\[1\] is {wrong}; expected 0 to T=4"):
        forward(p)


def test_other_wrong_arguments_are_refused() -> None:
    p = problem("gru", 4, 3, 8)
    with pytest.raises(ValueError, match="threads is 0"):
        forward(p, threads=0)
    x = np.zeros((2, 3), np.float32)
    weight, out = np.zeros((5, 3), np.float32), np.zeros((2, 5), np.float32)
    with pytest.raises(ValueError, match=r"out has shape \(2, 5\); expected \(N=1, M=5\)"):
        _native.linear(x[:1], weight, None, out, 1)
    frozen = out.copy()
    frozen.flags.writeable = False
    wide = np.zeros((5, 2), np.float32).T
    for bad in (frozen, wide, out.astype(np.float64), out.tolist()):
        with pytest.raises(TypeError):
            _native.linear(x, weight, None, bad, 1)
    with pytest.raises(ValueError, match="activation is 4"):
        h = np.zeros((1, 2), np.float32)
        one = np.zeros((1, 1, 2), np.float32)
        square = np.zeros((2, 2), np.float32)
        _native.elman_forward(one, h, square, None, None, None, 4, False, one.copy(), h.copy(), None, 1)
