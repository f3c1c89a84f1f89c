"""The native loop of programs, with numpy alone: every instruction, rows that end, and programs that are not sound."""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recurra import _native

_native.be_patient()

Line = tuple[str, list[tuple[int, float]], int, int]


def product(v: Any, weight: Any) -> Any:
    return v @ weight.T


def _library(function: Callable[[float], float]) -> Any:
    return np.vectorize(function, otypes=[np.float64])


UNARY: dict[str, Any] = {
    "stop": np.copy,
    "neg": np.negative,
    "abs": np.abs,
    "sign": np.sign,
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "reciprocal": lambda x: 1 / x,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "sin": np.sin,
    "cos": np.cos,
    "erf": _library(math.erf),
}
BINARY: dict[str, Any] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "gt": np.greater,
    "ge": np.greater_equal,
    "lt": np.less,
    "le": np.less_equal,
    "eq": np.equal,
    "ne": np.not_equal,
}


def value(number: int) -> tuple[int, float]:
    return (number, 0.0)


def plain(number: float) -> tuple[int, float]:
    return (-1, number)


def run(
    lines: list[Line],
    inputs: list[Any],
    states: list[Any],
    emitted: list[int],
    after: list[int],
    *,
    shared: list[Any] | None = None,
    fixed: list[Any] | None = None,
    weights: list[Any] | None = None,
    lengths: Any = None,
    resets: Any = None,
    reverse: bool = False,
    reset_after: bool = False,
    threads: int = 1,
    resettable: int = -1,
) -> tuple[list[Any], list[Any]]:
    """A program over inputs[T, B, .]; results of steps that no row takes part in are NaN."""
    shared, fixed, weights = shared or [], fixed or [], weights or []
    widths = [[array.shape[-1] for array in group] for group in (inputs, fixed, states, shared)]
    program = _native.Program(
        given=widths, weights=[weight.shape for weight in weights], instructions=lines, emitted=emitted, after=after,
        resettable=resettable,
    )  # fmt: skip
    steps, batch = inputs[0].shape[:2]
    every = [*widths[0], *widths[1], *widths[2], *widths[3], *(line[2] for line in lines)]
    dtype = inputs[0].dtype
    out = [np.full((steps, batch, every[number]), np.nan, dtype) for number in emitted]
    last = [np.full(state.shape, np.nan, dtype) for state in states]
    call = program.run32 if dtype == np.float32 else program.run64
    call(
        steps=steps, batch=batch, inputs=inputs, fixed=fixed, states=states, shared=shared, weights=weights,
        lengths=lengths, resets=resets, emitted=out, after=last, reverse=reverse, reset_after=reset_after,
        threads=threads,
    )  # fmt: skip
    return out, last


def numbers(*shape: int, seed: int = 0, dtype: Any = np.float64, positive: bool = False) -> Any:
    drawn = np.random.default_rng(seed).uniform(0.1 if positive else -3, 3, shape)
    return drawn.astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("width", [1, 5, 16, 37])
@pytest.mark.parametrize("name", UNARY)
def test_each_function_of_one_value(name: str, width: int, dtype: Any) -> None:
    x = numbers(3, 4, width, dtype=dtype, positive=name in ("log", "sqrt", "rsqrt", "log1p"))
    (out,), _ = run([(name, [value(0)], width, 0)], [x], [], [1], [])
    np.testing.assert_allclose(out, UNARY[name](x.astype(np.float64)), rtol=2e-6 if dtype == np.float32 else 1e-14)


@pytest.mark.parametrize("widths", [(7, 7), (7, 1), (1, 7), (1, 1), (33, 33)])
@pytest.mark.parametrize("name", BINARY)
def test_each_function_of_two_values(name: str, widths: tuple[int, int]) -> None:
    x, y = numbers(3, 4, widths[0]).round(), numbers(3, 4, widths[1], seed=1).round()
    (out,), _ = run([(name, [value(0), value(1)], max(widths), 0)], [x, y], [], [2], [])
    with np.errstate(divide="ignore", invalid="ignore"):
        np.testing.assert_array_equal(out, BINARY[name](x, y).astype(np.float64))


@pytest.mark.parametrize("narrow", [(), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)])
def test_choosing(narrow: tuple[int, ...]) -> None:
    given = [numbers(3, 4, 1 if place in narrow else 9, seed=place).round() for place in range(3)]
    width = max(array.shape[-1] for array in given)
    (out,), _ = run([("where", [value(0), value(1), value(2)], width, 0)], given, [], [3], [])
    np.testing.assert_array_equal(out, np.where(given[0] != 0, given[1], given[2]))


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_no_number_is_not_lost(name: str) -> None:
    x, y = np.array([[[np.nan, 1.0, 2.0]]]), np.array([[[1.0, np.nan, 3.0]]])
    (out,), _ = run([(name, [value(0), value(1)], 3, 0)], [x, y], [], [2], [])
    assert np.isnan(out[0, 0, :2]).all() and not np.isnan(out[0, 0, 2])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("width", [1, 15, 16, 17, 40])
def test_sums_and_maxima_of_rows(width: int, dtype: Any) -> None:
    x = numbers(2, 3, width, dtype=dtype)
    lines: list[Line] = [("rowsum", [value(0)], 1, 0), ("rowmax", [value(0)], 1, 0)]
    (total, largest), _ = run(lines, [x], [], [1, 2], [])
    np.testing.assert_allclose(total, x.sum(-1, keepdims=True, dtype=np.float64), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(largest, x.max(-1, keepdims=True))


def _recurrence(steps: int, batch: int, dtype: Any = np.float64) -> dict[str, Any]:
    """A small cell with parts of every kind: s' = tanh(x + W s + b f + 2), t' = cat(s[:2], s'[2:])."""
    lines: list[Line] = [
        ("product", [value(2)], 6, 0),  # 5
        ("add", [value(0), value(5)], 6, 0),
        ("mul", [value(4), value(1)], 6, 0),
        ("add", [value(6), value(7)], 6, 0),
        ("add", [value(8), plain(2.0)], 6, 0),
        ("tanh", [value(9)], 6, 0),  # 10
        ("slice", [value(2)], 2, 0),
        ("slice", [value(10)], 4, 2),
        ("cat", [value(11), value(12)], 6, 0),  # 13
        ("product", [value(10)], 6, 1),  # transposed
    ]
    return {
        "lines": lines,
        "inputs": [numbers(steps, batch, 6, dtype=dtype)],
        "fixed": [numbers(batch, 1, seed=1, dtype=dtype)],
        "states": [numbers(batch, 6, seed=2, dtype=dtype), numbers(batch, 6, seed=3, dtype=dtype)],
        "shared": [numbers(6, seed=4, dtype=dtype)],
        "weights": [numbers(6, 6, seed=5, dtype=dtype) / 4],
        "emitted": [10, 14],
        "after": [10, 13],
    }


def _expected(given: dict[str, Any], lengths: Any, resets: Any, reverse: bool) -> tuple[list[Any], list[Any]]:
    x, (f,), (s, t), (b,), (weight,) = (given[name] for name in ("inputs", "fixed", "states", "shared", "weights"))
    x, s, t = x[0], s.copy(), t.copy()
    out = [np.full(x.shape, np.nan), np.full(x.shape, np.nan)]
    for at in range(len(x))[:: -1 if reverse else 1]:
        for row in range(x.shape[1]):
            if lengths is not None and at >= lengths[row]:
                continue
            if resets is not None and resets[at, row]:
                s[row], t[row] = 0, 0
            before = s[row].copy()
            s[row] = np.tanh(x[at, row] + weight @ before + b * f[row] + 2)
            t[row] = np.concatenate([before[:2], s[row][2:]])
            out[0][at, row], out[1][at, row] = s[row], s[row] @ weight
    return out, [s, t]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("with_resets", [False, True])
@pytest.mark.parametrize("with_lengths", [False, True])
def test_a_recurrence(with_lengths: bool, with_resets: bool, reverse: bool, threads: int) -> None:
    given = _recurrence(7, 29)
    random = np.random.default_rng(6)
    lengths = random.integers(0, 8, 29) if with_lengths else None
    resets = random.random((7, 29)) < 0.3 if with_resets else None
    out, last = run(**given, lengths=lengths, resets=resets, reverse=reverse, threads=threads)
    wanted, wanted_last = _expected(given, lengths, resets, reverse)
    for got, true in zip([*out, *last], [*wanted, *wanted_last], strict=True):
        np.testing.assert_allclose(got, true, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_row_does_not_depend_on_the_others(dtype: Any) -> None:
    given = _recurrence(5, 40, dtype)
    lengths = np.random.default_rng(7).integers(0, 6, 40)
    out, last = run(**given, lengths=lengths, threads=2)
    for row in (0, 13, 39):
        alone = {**given, "inputs": [given["inputs"][0][:, row : row + 1].copy()]}
        for name in ("fixed", "states"):
            alone[name] = [array[row : row + 1].copy() for array in given[name]]
        one, one_last = run(**alone, lengths=lengths[row : row + 1].copy())
        for got, whole in zip(one, out, strict=True):
            np.testing.assert_array_equal(got[:, 0], whole[:, row])
        for got, whole in zip(one_last, last, strict=True):
            np.testing.assert_array_equal(got[0], whole[row])


def test_places_that_are_used_again_belong_to_one_row() -> None:
    """Values of many widths that come and go, over more rows than go through the instructions at once."""
    lines: list[Line] = []

    def add(*line: Any) -> int:
        lines.append(line)
        return len(lines) + 1  # the values 0 and 1 are given

    x, expected = numbers(3, 50, 600), numbers(3, 50, 600)
    wide = 0
    for first, width in ((150, 400), (20, 300), (77, 200), (100, 100), (3, 90), (50, 40)):
        wide = add("tanh", [value(wide)], expected.shape[-1], 0)
        part = add("slice", [value(wide)], width, first)
        wide = add("mul", [value(part), plain(1.5)], width, 0)
        expected = np.tanh(expected)[..., first : first + width] * 1.5
        total = add("rowsum", [value(wide)], 1, 0)
        wide = add("add", [value(wide), value(total)], width, 0)
        expected = expected + expected.sum(-1, keepdims=True)
    (out,), _ = run(lines, [x], [np.zeros((50, 1))], [wide], [1], threads=2)
    np.testing.assert_allclose(out, expected, rtol=1e-10)


def test_states_may_change_places() -> None:
    s, t = numbers(3, 4), numbers(3, 4, seed=1)
    _, last = run([], [numbers(3, 3, 1)], [s, t], [], [2, 1])
    np.testing.assert_array_equal(last[0], t)
    np.testing.assert_array_equal(last[1], s)


def test_resets_after_the_step_and_of_some_states() -> None:
    x, resets = np.ones((2, 1, 2)), np.array([[False], [True]])
    lines: list[Line] = [("add", [value(0), value(1)], 2, 0), ("add", [value(0), value(2)], 2, 0)]
    states = [np.zeros((1, 2)), np.zeros((1, 2))]
    for reset_after, wanted in ((False, 1.0), (True, 0.0)):
        _, last = run(
            lines, [x], states, [], [3, 4], resets=resets, reset_after=reset_after, resettable=1
        )  # fmt: skip
        np.testing.assert_array_equal(last[0], np.full((1, 2), wanted))
        np.testing.assert_array_equal(last[1], np.full((1, 2), 2.0))


def test_nothing_to_do() -> None:
    s = numbers(3, 4)
    _, last = run([], [np.zeros((0, 3, 1))], [s], [], [1])
    np.testing.assert_array_equal(last[0], s)
    run([], [np.zeros((2, 0, 1))], [np.zeros((0, 4))], [], [1])


GOOD: dict[str, Any] = {
    "given": [[3], [], [3], [3]], "weights": [(3, 3)], "instructions": [("add", [value(0), value(1)], 3, 0)],
    "emitted": [3], "after": [3], "resettable": -1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"given": [[0], [], [3], [3]]}, "width is below 1"),
        ({"given": [[3], [], [3]]}, "given are"),
        ({"after": []}, "another number of states"),
        ({"resettable": 2}, "another number of states"),
        ({"emitted": [9]}, "no value"),
        ({"after": [-2]}, "no value"),
        ({"instructions": [("add", [value(0), value(7)], 3, 0)]}, "operand is no value"),
        ({"instructions": [("add", [value(0), value(3)], 3, 0)]}, "operand is no value"),
        ({"instructions": [("add", [value(0)], 3, 0)]}, "number of operands"),
        ({"instructions": [("add", [value(0), value(1)], 4, 0)]}, "other widths"),
        ({"instructions": [("add", [value(0), value(1)], -4, 0)]}, "width is below 1"),
        ({"instructions": [("rowsum", [value(0)], 2, 0)]}, "has width 1"),
        ({"instructions": [("slice", [value(0)], 3, 1)]}, "leaves its value"),
        ({"instructions": [("slice", [value(0)], 3, 2**62)]}, "leaves its value"),
        ({"instructions": [("slice", [value(0)], 3, -1)]}, "leaves its value"),
        ({"instructions": [("cat", [value(0), value(1)], 5, 0)]}, "another width"),
        ({"instructions": [("cat", [value(0), value(1)], 7, 0)]}, "another width"),
        ({"instructions": [("product", [value(0)], 3, 2)]}, "no such weight"),
        ({"instructions": [("product", [value(0)], 3, -1)]}, "no such weight"),
        ({"instructions": [("product", [value(0)], 4, 0)]}, "does not fit"),
        ({"instructions": [("fork", [value(0)], 3, 0)]}, "no operation 'fork'"),
        ({"instructions": [("slice", [value(0)], 2, 0)], "after": [3]}, "changes its width"),
    ],
)
def test_an_unsound_program_is_refused(change: dict[str, Any], problem: str) -> None:
    _native.Program(**GOOD)
    with pytest.raises(ValueError, match=problem):
        _native.Program(**{**GOOD, **change})


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"inputs": []}, "inputs are 0; expected 1"),
        ({"inputs": [np.zeros((2, 4, 2))]}, r"inputs\[0\] has shape"),
        ({"states": [np.zeros((3, 3))]}, r"states\[0\] has shape"),
        ({"shared": [np.zeros(2)]}, r"shared\[0\] has shape"),
        ({"weights": []}, "number of weights"),
        ({"weights": [np.zeros((3, 2))]}, "weights has shape"),
        ({"emitted": [np.zeros((2, 4, 1))]}, r"emitted\[0\] has shape"),
        ({"after": []}, "after are 0"),
        ({"lengths": np.array([0, 1, 3, 2])}, "lengths"),
        ({"lengths": np.array([0, 1])}, "lengths"),
        ({"resets": np.zeros((2, 3), bool)}, "resets"),
        ({"threads": 0}, "threads"),
        ({"steps": -1}, "below zero"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change: dict[str, Any], problem: str) -> None:
    arguments: dict[str, Any] = {
        "steps": 2, "batch": 4, "inputs": [np.zeros((2, 4, 3))], "fixed": [], "states": [np.zeros((4, 3))],
        "shared": [np.zeros(3)], "weights": [np.zeros((3, 3))], "lengths": None, "resets": None,
        "emitted": [np.zeros((2, 4, 3))], "after": [np.zeros((4, 3))], "reverse": False, "reset_after": False,
        "threads": 1,
    }  # fmt: skip
    program = _native.Program(**GOOD)
    program.run64(**arguments)
    with pytest.raises(ValueError, match=problem):
        program.run64(**{**arguments, **change})


def digest() -> str:
    """A hash of what programs give: every vector function, rows of every kind, and a recurrence, in both dtypes."""
    found = hashlib.sha256()
    names = ("exp", "sigmoid", "tanh", "sqrt", "rsqrt", "reciprocal", "abs", "sign", "neg")
    for dtype in (np.float32, np.float64):
        each: list[Line] = [(name, [value(0)], 37, 0) for name in names]
        results, _ = run(each, [numbers(5, 7, 37, dtype=dtype, positive=True)], [], list(range(1, 1 + len(each))), [])
        rows: list[Line] = [("rowsum", [value(0)], 1, 0), ("rowmax", [value(0)], 1, 0)]
        for width in (1, 7, 16, 33, 100):
            results += run(rows, [numbers(5, 7, width, dtype=dtype)], [], [1, 2], [])[0]
        outputs, last = run(**_recurrence(9, 31, dtype), threads=2)
        for array in (*results, *outputs, *last):
            found.update(array.tobytes())
    return found.hexdigest()


@pytest.mark.parametrize("simd", _native.available_simd())
def test_every_instruction_set_gives_the_same_bits(simd: str) -> None:
    code = "from recurra import _native\nfrom test_native_programs import digest\nprint(_native.simd(), digest())"
    environment = {**os.environ, "RECURRA_SIMD": simd, "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.split() == [simd, digest()], done.stderr
