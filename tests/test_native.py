"""The compiled kernels by themselves: laws that hold bit for bit, and what they refuse. Needs numpy alone.

So it runs where torch is not: under the sanitisers and on an emulated processor (tests/sanitised.sh). The values are
compared in test_native_values.py, beside torch.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from native_calls import (
    BY_UNITS,
    CELLS,
    CHUNKS,
    Arrays,
    Buffers,
    Case,
    backward,
    backward_arguments,
    case_problem,
    digest,
    forward,
    forward_arguments,
    parts,
    points,
    problem,
    run,
    same_bits,
)
from recurra import _native

DTYPES = ("float32", "float64")


@pytest.mark.parametrize("cell", CELLS)
def test_all_lengths_zero_keep_the_state_and_give_zeros(cell: str) -> None:
    for more in parts(cell):
        p = problem(cell, 4, 3, 9, ragged=False, **more).change(lengths=np.zeros(3, np.int64))
        got = run(p)
        kept = [("h_last", "h"), ("grad_h", "grad_h_last")]
        kept += [("c_last", "c"), ("grad_c", "grad_c_last")] if cell == "lstm" else []
        for result, given in kept:
            assert np.array_equal(got.pop(result), p.arrays[given])
        assert not any(value.any() for value in got.values())


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("shape", [(3, 0, 5), (3, 2, 0), (0, 0, 0), (0, 3, 5)])
def test_empty_axes(cell: str, shape: tuple[int, int, int]) -> None:
    for more in [*parts(cell), {"inputs": 0}, *([{"width": 0}] if cell == "lstm" else [])]:
        if "width" in more and shape[2] == 0:
            continue  # refused, see below
        p = problem(cell, *shape, **more)
        got = run(p)
        assert np.array_equal(got["h_last"], p.arrays["h"])
        for name in ("grad_x", "grad_weight", "grad_weight_in", "grad_bias_in", "grad_peepholes", "grad_projection"):
            assert name not in got or not got[name].any()


@pytest.mark.parametrize("cell", CELLS)
def test_inputs_and_states_of_no_width(cell: str) -> None:
    bare = problem(cell, 5, 3, 7, inputs=0, bias_in=True)
    zeros = np.zeros((5, 3, len(bare.arrays["weight"])), np.float32)
    plain = bare.change(weight_in=None, x=zeros)
    expected, got = run(plain), run(bare)
    for results in (got, expected):
        del results["grad_x"]
    del got["grad_weight_in"]
    same_bits(got, expected)
    if cell == "lstm":
        got = run(problem(cell, 5, 3, 7, width=0))
        assert got["outputs"].shape == (5, 3, 0) and got["gates"].any() and got["grad_x"].any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
def test_thread_count_and_other_rows_change_no_bit(cell: str, dtype: str) -> None:
    for number, more in enumerate(parts(cell)):
        p = problem(cell, 5, 17, 61, dtype, seed=number, **more)  # enough work that threads are woken
        whole = run(p)
        for threads in (2, 3, 4):
            same_bits(run(p, threads), whole, (more, threads))
        for rows in ([3], [0, 16], [5, 4, 9], list(range(1, 15))):
            got = run(p.rows(rows))
            axes = {name: axis for name, axis in p.result_axes.items() if name in whole}
            expected = {name: np.take(whole[name], rows, axis) for name, axis in axes.items()}
            same_bits({name: got[name] for name in axes}, expected, (more, rows))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("number", range(len(BY_UNITS)))
def test_sharing_out_units_changes_no_bit(number: int, dtype: str) -> None:
    p = case_problem(BY_UNITS[number], number, dtype)
    whole = run(p)
    for threads in (2, 3, 4):
        same_bits(run(p, threads), whole, threads)
        if p.arrays["h"].shape[0] > 1:
            alone = run(p.rows([1]), threads)
            axes = {name: axis for name, axis in p.result_axes.items() if name in whole}
            expected = {name: np.take(whole[name], [1], axis) for name, axis in axes.items()}
            same_bits({name: alone[name] for name in axes}, expected, f"row 1 alone, {threads} threads")


@pytest.mark.parametrize("case", CHUNKS, ids=lambda case: f"{case[0]}-{case[1]}")
def test_chunks_change_no_bit(case: Case) -> None:
    p = case_problem(case, CHUNKS.index(case))
    whole = run(p)
    for threads in (2, 3, 4):
        same_bits(run(p, threads), whole, threads)
    alone = run(p.rows([2]))
    axes = {name: axis for name, axis in p.result_axes.items() if name in whole}
    same_bits({n: alone[n] for n in axes}, {n: np.take(whole[n], [2], axis) for n, axis in axes.items()}, "row 2 alone")


def test_more_threads_than_a_team_may_have() -> None:
    """The room for a team is that of the team there is: sharing among 256 takes more of it than among 300."""
    p = problem("elman-tanh", 16, 300, 64, ragged=False)
    same_bits(forward(p, threads=300), forward(p))


@pytest.mark.parametrize("cell", CELLS)
def test_cutting_the_steps_changes_no_bit(cell: str) -> None:
    for number, more in enumerate(parts(cell)):
        p = problem(cell, 9, 5, 21, ragged=False, reverse=number % 2 == 1, **more)
        whole = forward(p)
        for cut in range(0, 10, 1 + number % 2):
            halves = [slice(None, cut), slice(cut, None)]
            state, made = {name: p.arrays[name] for name in ("h", "c") if name in p.arrays}, []
            for steps in halves[::-1] if p.reverse else halves:
                made.append(forward(p.cut(steps, **state)))
                state = {name: made[-1][f"{name}_last"] for name in state}
            ordered = made[::-1] if p.reverse else made
            joined = {name: np.concatenate([part[name] for part in ordered]) for name in ("outputs", "gates")}
            same_bits(joined, {name: whole[name] for name in joined}, (more, f"cut at {cut}"))
            same_bits(state, {name: whole[f"{name}_last"] for name in state}, (more, f"cut at {cut}"))


@pytest.mark.parametrize("cell", CELLS)
def test_leaving_out_results_changes_no_bit(cell: str) -> None:
    optional = ("grad_x", "grad_bias_in", "grad_bias")
    for more in parts(cell):
        p = problem(cell, 6, 5, 19, **more)
        whole = forward(p)
        for without in (("gates",), ("gates", "cells")):
            same_bits(forward(p, without=without), {k: v for k, v in whole.items() if k not in without}, without)
        gradients = backward(p, whole)
        for without in (*((name,) for name in optional), optional):
            expected = {name: value for name, value in gradients.items() if name not in without}
            same_bits(backward(p, whole, without=without), expected, (more, without))


@pytest.mark.parametrize("cell", CELLS)
def test_tokens_choose_lines_of_x(cell: str) -> None:
    options: list[Arrays] = [{"symbols": 6}, {"symbols": 6, "bias_in": True}]
    for more in [*options, {"symbols": 30, "inputs": 11, "bias_in": True}]:
        p = problem(cell, 7, 5, 21, ragged=False, **more)
        plain = p.change(tokens=None, x=p.arrays["x"][p.arrays["tokens"]])
        same_bits(forward(p), forward(plain), more)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
def test_the_input_weight_is_linear_before_the_layer(cell: str, dtype: str) -> None:
    p = problem(cell, 7, 5, 21, dtype, ragged=False, inputs=11, bias_in=True)
    a = p.arrays
    x = linear(a["x"].reshape(35, 11), a["weight_in"], a["bias_in"]).reshape(7, 5, -1)
    same_bits(forward(p), forward(p.change(x=x, weight_in=None, bias_in=None)))


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


@pytest.mark.parametrize("dtype", DTYPES)
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
    for more in [more for more in parts(cell) if "symbols" not in more]:
        p = problem(cell, 3, 4, 10, ragged=False, resets=False, mask=False, **more)
        clean = forward(p)
        x = p.arrays["x"].copy()
        x[0, 1] = np.nan
        dirty = forward(p.change(x=x))
        assert np.isnan(dirty["h_last"][1]).all()
        keep = [0, 2, 3]
        assert np.array_equal(dirty["outputs"][:, keep], clean["outputs"][:, keep])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_a_reset_stops_a_nan_in_both_directions(cell: str, reverse: bool) -> None:
    for more in parts(cell):
        p = problem(cell, 5, 3, 10, resets=False, ragged=False, reverse=reverse, **more)
        broken = {name: np.full_like(p.arrays[name], np.nan) for name in ("h", "c") if name in p.arrays}
        resets = np.zeros((5, 3), bool)
        resets[4 if reverse else 0] = True
        got = run(p.change(resets=resets, **broken))
        zeros = {name: np.zeros_like(value) for name, value in broken.items()}
        expected = run(p.change(resets=resets, **zeros))
        same_bits(got, expected)
        assert not any(got[f"grad_{name}"].any() for name in broken)


def elsewhere(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a new Python that has the names of native_calls."""
    text = f"import os, sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from native_calls import *\n"
    text += f"from recurra import _native\n{code}"
    arguments = [sys.executable, "-W", "ignore", "-c", text]
    env = {**os.environ, **environment}
    return subprocess.run(arguments, env=env, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("simd", _native.available_simd())
def test_every_instruction_set_gives_the_same_bits(simd: str) -> None:
    code = "large = [run(case_problem(case, 0), 3) for case in (BY_UNITS[5], BY_UNITS[7], CHUNKS[1], CHUNKS[6])]\n"
    code += "large = hashlib.sha256(b''.join(v.tobytes() for r in large for v in r.values())).hexdigest()\n"
    done = elsewhere(f"{code}print(_native.simd(), digest(2), large)", RECURRA_SIMD=simd)
    names: Arrays = {}
    exec(f"from native_calls import *\n{code}", names)
    assert done.stdout.split() == [simd, digest(), names["large"]], done.stderr


def test_an_instruction_set_that_cannot_run_is_refused() -> None:
    done = elsewhere("", RECURRA_SIMD="avx1024")
    assert done.returncode != 0
    assert "avx1024" in done.stderr and "portable" in done.stderr


def test_two_python_threads_at_once() -> None:
    problems = [
        problem("gru", 30, 12, 40, seed=0, inputs=9),
        problem("lstm", 30, 12, 40, seed=1, width=11, peepholes=True),
        case_problem(BY_UNITS[3], 3),
    ]
    expected = [run(p) for p in problems]
    failures: list[BaseException] = []

    def work(i: int) -> None:
        try:
            for _ in range(20):
                same_bits(run(problems[i], threads=3), expected[i])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(problems))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures and not any(thread.is_alive() for thread in threads)


FORK = """
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


@pytest.mark.parametrize("before", ["", *([] if _native.sanitized else ["import torch"])])
def test_a_forked_child_starts_its_own_threads(before: str) -> None:
    """Whoever gave the parent its threads, the pool of the module or the runtime that torch has loaded."""
    done = elsewhere(f"{before}\nprint(_native.thread_source())\n{FORK}")
    assert done.stdout.split() == ["openmp" if before else "own", "3", "True"], done.stderr


def wrong_shapes(array: np.ndarray) -> list[np.ndarray]:
    return [np.ascontiguousarray(array[:-1]), np.ascontiguousarray(array[..., :-1]), array[None]]


FULL: list[tuple[str, Arrays]] = [
    ("elman-tanh", {"inputs": 3, "bias_in": True}),
    ("gru", {"symbols": 6, "inputs": 3, "bias_in": True}),
    ("gru-before", {"symbols": 6}),
    ("lstm", {"inputs": 3, "width": 5, "peepholes": True, "bias_in": True}),
]


@pytest.mark.parametrize(("cell", "more"), FULL, ids=lambda value: value if isinstance(value, str) else "")
def test_wrong_shapes_are_refused_by_name(cell: str, more: Arrays) -> None:
    p = problem(cell, 4, 3, 8, ragged=False, **more).change(lengths=np.array([0, 1, 2]))
    saved = forward(p)
    gradients = backward(p, saved)
    calls = (
        (_native.forward, forward_arguments(p, saved)),
        (_native.backward, backward_arguments(p, saved, gradients)),
    )
    for function, arguments in calls:
        function(**arguments)
        arrays = {name: value for name, value in arguments.items() if isinstance(value, np.ndarray)}
        # from these the sizes are taken, so that another array, or a token, may be what does not fit
        sizes = {"x", "outputs", "weight"}
        for name, array in arrays.items():
            for wrong in wrong_shapes(array):
                with pytest.raises(ValueError, match=r"\w+ has shape \(|a token is 5") as caught:
                    function(**{**arguments, name: wrong})
                assert name in sizes or f": {name} has shape" in str(caught.value)


@pytest.mark.parametrize(("cell", "more"), FULL, ids=lambda value: value if isinstance(value, str) else "")
def test_wrong_numbers_and_layouts_are_refused(cell: str, more: Arrays) -> None:
    p = problem(cell, 4, 3, 8, ragged=False, **more).change(lengths=np.array([0, 1, 2]))
    saved = forward(p)
    arguments = backward_arguments(p, saved, backward(p, saved))
    for name, array in [(name, value) for name, value in arguments.items() if isinstance(value, np.ndarray)]:
        frozen = array.copy()
        frozen.flags.writeable = False
        wide = np.repeat(array, 2, axis=-1)[..., ::2]
        other = array.astype(np.int32 if array.dtype in (np.int64, bool) else "float16")
        result = name.startswith("grad_") and not name.endswith(("last", "outputs", "cells"))
        for wrong in (wide, other, array.tolist(), *([frozen] if result else [])):
            with pytest.raises(TypeError):
                _native.backward(**{**arguments, name: wrong})


@pytest.mark.parametrize("wrong", [-1, 5, 2**62])
def test_wrong_lengths_are_refused(wrong: int) -> None:
    p = problem("gru", 4, 3, 8, ragged=False).change(lengths=np.array([0, wrong, 4]))
    with pytest.raises(ValueError, match=rf"lengths\[1\] is {wrong}; expected 0 to T=4"):
        forward(p)


@pytest.mark.parametrize("wrong", [-1, 6, 2**62])
@pytest.mark.parametrize("inputs", [None, 3])
def test_tokens_outside_the_table_are_refused(inputs: int | None, wrong: int) -> None:
    p = problem("gru", 4, 3, 8, symbols=6, inputs=inputs)
    saved = forward(p)
    tokens = p.arrays["tokens"].copy()
    tokens[3, 2] = wrong
    for call in (forward, lambda p: backward(p, saved)):
        with pytest.raises(ValueError, match=rf"a token is {wrong}; expected 0 to V-1=5"):
            call(p.change(tokens=tokens))


MISSING = ["c", "c_last", "cells", "gates", "grad_c", "grad_weight_in", "grad_peepholes", "grad_projection"]


@pytest.mark.parametrize("name", MISSING)
def test_what_a_call_needs_is_asked_for_by_name(name: str) -> None:
    p = problem("lstm", 4, 3, 8, inputs=3, width=5, peepholes=True)
    saved = forward(p)
    arguments = backward_arguments(p, saved, backward(p, saved))
    with pytest.raises(ValueError, match=f": {name} is missing"):
        if name == "c_last":
            _native.forward(**{**forward_arguments(p, saved), name: None})
        _native.backward(**{**arguments, name: None})


def test_other_wrong_arguments_are_refused() -> None:
    p = problem("gru", 4, 3, 8)
    ones = np.ones((3, 8), np.float32)
    for changes, message in (
        ({"threads": 0}, "threads is 0"),
        ({"cell": 4}, "cell is 4"),
        ({"cell": -1}, "cell is -1"),
        ({"activation": 4}, "activation is 4"),
        ({"peepholes": ones}, "only an LSTM has peepholes"),
        ({"projection": np.ones((8, 8), np.float32)}, "only an LSTM"),
    ):
        saved = forward(p)
        gradients = backward(p, saved)
        with pytest.raises(ValueError, match=f"forward: {message}"):
            _native.forward(**{**forward_arguments(p, saved), **changes})
        with pytest.raises(ValueError, match=f"backward: {message}"):
            _native.backward(**{**backward_arguments(p, saved, gradients), **changes})
    for cell in ("elman-tanh", "lstm"):
        p = problem(cell, 4, 3, 8)
        saved = forward(p)
        bias = np.ones(8, np.float32)
        with pytest.raises(ValueError, match="only a GRU has a bias"):
            _native.forward(**{**forward_arguments(p, saved), "bias": bias})
        arguments = backward_arguments(p, saved, backward(p, saved))
        with pytest.raises(ValueError, match="only a GRU has a grad_bias"):
            _native.backward(**{**arguments, "grad_bias": bias})
    with pytest.raises(ValueError, match="no units for the projection"):
        forward(problem("lstm", 4, 3, 0, width=5))


def test_wrong_arguments_of_linear_are_refused() -> None:
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
