"""The scan in Triton against the walk of the reference in float64, run by Triton's interpreter where there is no GPU."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from gpu_calls import outcome
from recurra.kernels import Parameters
from recurra.kernels.reference import run
from recurra.kernels.sweeps import by_reference
from test_sweeps import arguments
from tolerances import assert_close

pytest.importorskip("triton", reason="Triton is made for Linux alone")

from recurra.kernels.gpu.scans import linear_scan
from recurra.kernels.gpu.sweeps import COEFFICIENTS, by_scan

DTYPES = (torch.float32, torch.float64)
CHUNK = 4
"""Few steps a program, so that a short sequence has several chunks."""


def walked(a: Tensor, b: Tensor, first: Tensor, lengths: Any, resets: Any, reverse: bool, pairs: bool) -> Any:
    """The same, a step at a time."""
    width = b.shape[-1]

    def step(row: Tensor, state: tuple[Tensor, ...]) -> Any:
        by, add = row.chunk(2, dim=-1)
        if pairs:
            (by_re, by_im), (re, im) = by.chunk(2, dim=-1), state[0].chunk(2, dim=-1)
            new = torch.cat([by_re * re - by_im * im, by_re * im + by_im * re], dim=-1) + add
        else:
            new = by * state[0] + add
        return (new,), (new,)

    (outputs,), (last,) = run(step, torch.cat([a, b], dim=-1), (first,), lengths, resets, reverse, (width,))
    return outputs, last


def drawn(steps: int, batch: int, width: int, seed: int = 0) -> list[Tensor]:
    random = torch.Generator().manual_seed(seed)
    shapes = (steps, batch, width), (steps, batch, width), (batch, width)
    return [torch.randn(*shape, generator=random, dtype=torch.float64) for shape in shapes]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("pairs", "reverse"), list(itertools.product((False, True), repeat=2)))
@pytest.mark.parametrize("ragged", [False, True])
def test_a_scan_is_the_walk(ragged: bool, pairs: bool, reverse: bool, dtype: torch.dtype) -> None:
    given = drawn(9, 3, 4)
    lengths, resets = None, None
    if ragged:
        lengths, resets = torch.tensor([9, 5, 0]), torch.zeros(9, 3, dtype=torch.bool)
        resets[[0, 4, 5, 8], [0, 0, 1, 2]] = True
        given[1][5:, 1] = given[0][7, 1] = torch.nan  # what pads a row reaches nothing
    truth = outcome(
        lambda *values: walked(*values, lengths=lengths, resets=resets, reverse=reverse, pairs=pairs),
        given,
        torch.float64,
    )
    how: dict[str, Any] = {"lengths": lengths, "resets": resets, "reverse": reverse, "pairs": pairs, "chunk": CHUNK}
    got = outcome(lambda *values: linear_scan(*values, **how), given, dtype)
    for at, (value, true) in enumerate(zip(got, truth, strict=True)):
        assert value.dtype == dtype
        assert_close(value, true, "values" if at < 2 else "gradients")


def test_a_reset_ends_even_a_state_that_is_no_number() -> None:
    a, b, first = drawn(6, 1, 2)
    b[1] = torch.nan
    resets = torch.tensor([False, False, False, True, False, False])[:, None]
    outputs, last = linear_scan(a, b, first, resets=resets, chunk=CHUNK)
    assert outputs[1:3].isnan().all() and outputs[3:].isfinite().all() and last.isfinite().all()
    leaves = [value.requires_grad_() for value in (b, first)]
    outputs, _ = linear_scan(a, *leaves, resets=resets, chunk=CHUNK)
    d_b, d_first = torch.autograd.grad(outputs[4].sum(), leaves)
    assert not d_b[:3].any() and not d_first.any() and d_b[3].all()


def test_rows_pieces_and_chunks_do_not_matter() -> None:
    a, b, first = drawn(11, 3, 5)
    whole, last = linear_scan(a, b, first, chunk=CHUNK)
    for row in range(3):
        alone, _ = linear_scan(*(value.narrow(-2, row, 1) for value in (a, b, first)), chunk=CHUNK)
        assert torch.equal(alone, whole[:, row : row + 1])
    state, pieces = first, []
    for piece in (slice(0, 5), slice(5, 5), slice(5, 11)):
        outputs, state = linear_scan(a[piece], b[piece], state, chunk=CHUNK)
        pieces.append(outputs)
    assert_close(torch.cat(pieces), whole)
    assert_close(state, last)
    assert_close(linear_scan(a, b, first)[0], whole)


def test_nothing_is_run_without_steps_rows_or_units() -> None:
    for shape in ((0, 2, 3), (4, 0, 3)):
        a, b, first = drawn(*shape)
        leaves = [value.requires_grad_() for value in (a, b, first)]
        outputs, last = linear_scan(*leaves)
        assert outputs.shape == shape and torch.equal(last, first) and last.data_ptr() != (first.data_ptr() or 1)
        gradients = torch.autograd.grad(outputs.sum() + last.sum(), leaves)
        assert torch.equal(gradients[2], torch.ones_like(first))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("symbols", [None, 5])
@pytest.mark.parametrize("name", COEFFICIENTS)
def test_a_sweep_by_scan_is_the_reference(name: str, symbols: int | None, dtype: torch.dtype) -> None:
    reverse = symbols is not None
    given = arguments(name, 6, 2, 3, 3, symbols=symbols, lengths=True, resets=True, reverse=reverse, seed=1)
    count = len(given["states"])
    rest = (given.get("tokens"), given["lengths"], given["resets"], reverse, True)

    def called(function: Any, *values: Tensor, **named: int) -> Any:
        parameters = Parameters.of(values[1 + count :], given["present"])
        results = function(name, values[0], values[1 : 1 + count], parameters, *rest, **named)
        outputs, *states, kept, marks = results
        assert marks.numel() == 0 and (kept.numel() == 0) == (symbols is not None)
        return [outputs, *states, kept] if symbols is None else [outputs, *states]

    leaves = [given["x"], *given["states"], *given["weights"]]
    truth = outcome(lambda *values: called(by_reference, *values), leaves, torch.float64)
    got = outcome(lambda *values: called(by_scan, *values, chunk=CHUNK), leaves, dtype)
    for at, (value, true) in enumerate(zip(got, truth, strict=True)):
        assert_close(value, true, "values" if at < len(truth) - len(leaves) else "gradients")


def test_bfloat16_is_float32_rounded() -> None:
    given = arguments("rglru", 5, 2, 4, 3)
    leaves = [value.bfloat16() for value in (given["x"], *given["states"], *given["weights"])]

    def called(*values: Tensor) -> list[Tensor]:
        parameters = Parameters.of(values[2:], given["present"])
        return by_scan("rglru", values[0], values[1:2], parameters, None, None, None, False, False)[:2]

    results, truth = outcome(called, leaves, torch.bfloat16), outcome(called, leaves, torch.float32)
    for at, (value, true) in enumerate(zip(results, truth, strict=True)):
        assert value.dtype == torch.bfloat16
        assert torch.equal(value, true.bfloat16()) if at < 2 else assert_close(value, true, "gradients") is None
