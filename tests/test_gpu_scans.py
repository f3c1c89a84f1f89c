"""The scan in Triton against the walk of the reference in float64, run by Triton's interpreter where there is no GPU."""

from __future__ import annotations

import inspect
import itertools
import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from gpu_calls import outcome, shares
from interpreted import round_as_a_device
from recurra.kernels import Parameters
from recurra.kernels.gpu import LINEAR
from recurra.kernels.reference import run
from recurra.kernels.sweeps import by_reference
from test_sweeps import arguments
from tolerances import assert_close

pytest.importorskip("triton", reason="Triton is made for Linux alone")
import triton
import triton.language as tl

from recurra.kernels.gpu import scan_kernels, scans
from recurra.kernels.gpu.scan_cells import CELLS
from recurra.kernels.gpu.scans import CHUNK, UNITS, Given, Way, at_once, backward, forward, linear_scan
from recurra.kernels.gpu.shares import Device
from recurra.kernels.gpu.sweeps import backward_by_scan, by_scan

round_as_a_device()
DTYPES = (torch.float32, torch.float64)
FEW = Way(chunk=4, tile=4, tile_back=2, units=4)
"""Few steps a chunk and tile, so that a short sequence has several chunks, and they several tiles."""
AT_ONCE, ALONG = replace(FEW, at_once=True), replace(FEW, at_once=False)
"""All chunks at once, and each program through all of them."""


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


@pytest.mark.parametrize(("ragged", "dtype"), [(False, torch.float64), *((True, dtype) for dtype in DTYPES)], ids=str)
@pytest.mark.parametrize(("pairs", "reverse"), list(itertools.product((False, True), repeat=2)))
def test_a_scan_is_the_walk(ragged: bool, pairs: bool, reverse: bool, dtype: torch.dtype) -> None:
    given = drawn(6, 3, 4 if pairs else 3)
    lengths, resets = None, None
    if ragged:
        lengths, resets = torch.tensor([6, 5, 0]), torch.zeros(6, 3, dtype=torch.bool)
        resets[[0, 4, 5, 5], [0, 0, 1, 2]] = True
        given[1][5, 1] = given[0][5, 1] = torch.nan  # what pads a row reaches nothing
    truth = outcome(
        lambda *values: walked(*values, lengths=lengths, resets=resets, reverse=reverse, pairs=pairs),
        given,
        torch.float64,
    )
    # (the two ways give the same bits, as another test tells)
    way = AT_ONCE if dtype == torch.float32 else ALONG
    how: dict[str, Any] = {"lengths": lengths, "resets": resets, "reverse": reverse, "pairs": pairs, "way": way}
    got = outcome(lambda *values: linear_scan(*values, **how), given, dtype)
    for at, (value, true) in enumerate(zip(got, truth, strict=True)):
        assert value.dtype == dtype
        assert_close(value, true, "values" if at < 2 else "gradients")


@pytest.mark.parametrize("way", [AT_ONCE, ALONG], ids=["at once", "along"])
def test_a_reset_ends_even_a_state_that_is_no_number(way: Way) -> None:
    a, b, first = drawn(10, 1, 2)
    b[1] = torch.nan
    resets = torch.arange(10)[:, None] == 5
    outputs, last = linear_scan(a, b, first, resets=resets, way=way)
    assert outputs[1:5].isnan().all() and outputs[5:].isfinite().all() and last.isfinite().all()
    leaves = [value.requires_grad_() for value in (b, first)]
    outputs, _ = linear_scan(a, *leaves, resets=resets, way=way)
    d_b, d_first = torch.autograd.grad(outputs[9].sum(), leaves)
    assert not d_b[:5].any() and not d_first.any() and d_b[5].all()


def test_rows_pieces_and_chunks_do_not_matter() -> None:
    a, b, first = drawn(7, 2, 3)
    whole, last = linear_scan(a, b, first, way=FEW)
    for row in range(2):
        alone, _ = linear_scan(*(value.narrow(-2, row, 1) for value in (a, b, first)), way=FEW)
        assert torch.equal(alone, whole[:, row : row + 1])
    state, pieces = first, []
    for piece in (slice(0, 5), slice(5, 5), slice(5, 7)):
        outputs, state = linear_scan(a[piece], b[piece], state, way=FEW)
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


def sums_of_a_cell(cell: str, steps: int, batch: int, hidden: int, **marks: Any) -> Given:
    planes, numbers, pairs = CELLS[cell]
    random = torch.Generator().manual_seed(3)
    width = hidden * (2 if pairs else 1)
    x, first = (torch.randn(*shape, generator=random) for shape in ((steps, batch, planes * hidden), (batch, width)))
    a = torch.randn(steps, batch, width, generator=random) if cell in ("real", "complex") else None
    own = -torch.rand(numbers, hidden, generator=random) if numbers else None
    lengths, resets = marks.get("lengths"), marks.get("resets")
    return Given(cell, x, a, own, first, lengths, resets, marks.get("reverse", False))


def there_and_back(given: Given, way: Way) -> list[Tensor]:
    """Outputs, last state, and the gradients that belong to a row each."""
    outputs, last = forward(given, way)
    d_x, d_a, _, d_first = backward(given, outputs, torch.cos(outputs), torch.cos(last), way)
    return [value for value in (outputs, last, d_x, d_first, d_a) if value is not None]


@pytest.mark.parametrize("cell", CELLS)
def test_all_ways_give_the_same_bits(cell: str) -> None:
    lengths, resets = torch.tensor([6, 5]), torch.zeros(6, 2, dtype=torch.bool)
    resets[[3, 4], [0, 1]] = True
    given = sums_of_a_cell(cell, 6, 2, 2, lengths=lengths, resets=resets, reverse=cell in ("complex", "rglru"))
    along = there_and_back(given, ALONG)
    for way in (AT_ONCE, replace(ALONG, tile=2, tile_back=4)):
        assert all(map(torch.equal, there_and_back(given, way), along))


@pytest.mark.parametrize("reverse", [False, True])
def test_a_row_s_bits_depend_on_nothing_beside_or_behind_it(reverse: bool) -> None:
    lengths = torch.tensor([9, 6])
    given = sums_of_a_cell("mingru", 9, 2, 3, lengths=lengths, reverse=reverse)
    given.x[6:, 1] = torch.nan
    both = there_and_back(given, ALONG)
    alone = given._replace(x=given.x[:6, 1:].contiguous(), first=given.first[1:], lengths=None)
    outputs, last, d_x, d_first = there_and_back(alone, AT_ONCE)
    for value, whole in ((outputs, both[0]), (d_x, both[2])):
        assert torch.equal(whole[:6, 1:], value) and not whole[6:, 1].any()
    assert torch.equal(last, both[1][1:]) and torch.equal(d_first, both[3][1:])


def test_offsets_of_64_bits_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    given = sums_of_a_cell("mingru", 5, 1, 2, reverse=True)
    near = there_and_back(given, FEW)
    monkeypatch.setattr(scans, "FAR", 1)
    assert all(map(torch.equal, there_and_back(given, FEW), near))


@triton.jit
def two_strides(out, B, H, count):
    tl.store(out, scan_kernels._stride(B, count, H))
    tl.store(out + 1, tl.max(scan_kernels._offsets(scan_kernels._stride(B, count, H), False, 2, True)))


def test_a_step_may_have_more_numbers_than_32_bits_count() -> None:
    out = torch.zeros(2, dtype=torch.int64)
    two_strides[(1,)](out, 2**20 + 1, 2**10, 3)
    assert out.tolist() == [(2**20 + 1) * 3 * 2**10] * 2
    # (every such distance is taken from there)
    assert not re.search(r"\bB \* \(", inspect.getsource(scan_kernels))


def test_chunks_run_at_once_where_programs_are_too_few() -> None:
    device = Device(multiprocessors=132)
    for batch, steps, hidden, few in ((16, 4096, 1024, False), (1, 65536, 256, True), (8, 4096, 256, True)):
        assert at_once(batch * -(-hidden // UNITS), -(-steps // CHUNK), device) is few
    assert not at_once(1, 1, device)


@pytest.mark.parametrize(
    ("symbols", "dtype"), [(None, torch.float32), (None, torch.float64), (5, torch.float32)], ids=str
)
@pytest.mark.parametrize("name", sorted(LINEAR))
def test_a_sweep_by_scan_is_the_reference(name: str, symbols: int | None, dtype: torch.dtype) -> None:
    reverse = symbols is not None
    given = arguments(name, 6, 2, 3, 3, symbols=symbols, lengths=True, resets=True, reverse=reverse, seed=1)
    count = len(given["states"])
    rest = (given.get("tokens"), given["lengths"], given["resets"], reverse)

    def called(function: Any, *values: Tensor, **named: Any) -> Any:
        parameters = Parameters.of(values[1 + count :], given["present"])
        results = function(name, values[0], values[1 : 1 + count], parameters, *rest, True, **named)
        outputs, *states, kept, marks = results
        assert marks.numel() == 0 and (kept.numel() == 0) == (symbols is not None)
        return [outputs, *states, kept] if symbols is None else [outputs, *states]

    leaves = [given["x"], *given["states"], *given["weights"]]
    truth = outcome(lambda *values: called(by_reference, *values), leaves, torch.float64)
    got = outcome(lambda *values: called(by_scan, *values, way=FEW), leaves, dtype)
    results = len(truth) - len(leaves)
    for at, (value, true) in enumerate(zip(got, truth, strict=True)):
        assert_close(value, true, "values" if at < results else "gradients")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_units_that_forget_slowly_keep_their_digits(dtype: torch.dtype) -> None:
    """1 - a² where a is one but for its last digits, as good as one, and somewhat less."""
    given = arguments("rglru", 6, 1, 4, 2)
    own = torch.tensor([[-14.0, -40.0, -2.9, -2.6]]).double()
    leaves = [given["x"], torch.zeros(1, 4), *given["weights"][:-1], own]

    def called(function: Any, *values: Tensor, **named: Any) -> list[Tensor]:
        parameters = Parameters.of(values[2:], given["present"])
        return function("rglru", values[0], values[1:2], parameters, None, None, None, False, False, **named)[:2]

    truth = outcome(lambda *values: called(by_reference, *values), leaves, torch.float64)
    got = outcome(lambda *values: called(by_scan, *values, way=FEW), leaves, dtype)
    for at, (value, true) in enumerate(zip(got, truth, strict=True)):
        assert_close(value, true, "values" if at < 2 else "gradients")


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("symbols", [None, 5])
@pytest.mark.parametrize("name", sorted(LINEAR))
def test_the_gradient_of_a_sweep_is_the_reference(name: str, symbols: int | None, keep: bool) -> None:
    """From what forward left, and without the sums that it may leave; not every gradient arrives."""
    given = arguments(name, 6, 2, 3, 3, symbols=symbols, lengths=True, resets=keep, seed=2)
    count, more = len(given["states"]), (given.get("tokens"), given["lengths"], given.get("resets"), False)
    leaves = [given["x"], *given["states"], *given["weights"]]

    def loss_of(*values: Tensor) -> list[Tensor]:
        parameters = Parameters.of(values[1 + count :], given["present"])
        outputs, *states, _, _ = by_reference(name, values[0], values[1 : 1 + count], parameters, *more, False)
        return states if symbols else [outputs, *states]

    true_gradients = outcome(loss_of, leaves, torch.float64)[-len(leaves) :]
    x, *values = (value.float() for value in leaves)
    states, parameters = values[:count], Parameters.of(values[count:], given["present"])
    outputs, *last, kept, _ = by_scan(name, x, states, parameters, *more, keep, way=FEW)
    grads = None if symbols else shares(outputs), [shares(state) for state in last]
    # (that of inputs is not always asked for)
    need_x = keep or symbols is None
    found = backward_by_scan(name, x, states, parameters, *more, outputs, kept, *grads, need_x, way=FEW)
    for at, (value, true) in enumerate(zip(found, true_gradients, strict=True)):
        if at or need_x:
            assert_close(value, true, "gradients")
    assert need_x or found[0].numel() == 0


def test_a_last_state_without_a_gradient() -> None:
    given = arguments("mingru", 4, 2, 3, 3)
    x, state, *weights = (value.float() for value in (given["x"], *given["states"], *given["weights"]))
    parameters = Parameters.of(weights, given["present"])
    outputs, _, kept, _ = by_scan("mingru", x, [state], parameters, None, None, None, False, True, way=FEW)

    def found(grad: Tensor | None) -> list[Tensor]:
        marks = None, None, None, False
        return backward_by_scan(
            "mingru", x, [state], parameters, *marks, outputs, kept, shares(outputs), [grad], True, way=FEW
        )

    assert all(map(torch.equal, found(None), found(torch.zeros_like(state))))


@pytest.mark.parametrize("name", ["rglru", "lru"])
def test_bfloat16_is_float32_rounded(name: str) -> None:
    given = arguments(name, 5, 1, 4, 3)
    count = len(given["states"])
    leaves = [value.bfloat16() for value in (given["x"], *given["states"], *given["weights"])]

    def called(*values: Tensor) -> list[Tensor]:
        parameters = Parameters.of(values[1 + count :], given["present"])
        found = by_scan(name, values[0], values[1 : 1 + count], parameters, None, None, None, False, False, way=FEW)
        return found[: 1 + count]

    results, truth = outcome(called, leaves, torch.bfloat16), outcome(called, leaves, torch.float32)
    for at, (value, true) in enumerate(zip(results, truth, strict=True)):
        assert value.dtype == torch.bfloat16
        assert torch.equal(value, true.bfloat16()) if at <= count else assert_close(value, true, "gradients") is None


def bfloat16_is_near(name: str, device: str, way: Way) -> None:
    """Results and gradients of a sweep in 16 bits, from sums that were kept in 16 bits, against the reference in float64."""
    given = arguments(name, 6, 2, 4, 20, resets=True)
    count, marks = len(given["states"]), (None, None, given["resets"], True)
    leaves = [value.bfloat16() for value in (given["x"], *given["states"], *given["weights"])]

    def by_steps(*values: Tensor) -> list[Tensor]:
        parameters = Parameters.of(values[1 + count :], given["present"])
        return by_reference(name, values[0], values[1 : 1 + count], parameters, *marks, False)[: 1 + count]

    truth = outcome(by_steps, leaves, torch.float64)
    x, *values = (value.to(device) for value in leaves)
    states, parameters = values[:count], Parameters.of(values[count:], given["present"])
    there = (None, None, given["resets"].to(device), True)
    outputs, *last, kept, _ = by_scan(name, x, states, parameters, *there, True, way)
    grads = shares(outputs), [shares(state) for state in last]
    found = backward_by_scan(name, x, states, parameters, *there, outputs, kept, *grads, True, way)
    for at, (value, true) in enumerate(zip([outputs, *last, *found], truth, strict=True)):
        assert value.dtype == torch.bfloat16
        assert_close(value.cpu(), true, "values" if at <= count else "gradients")


@pytest.mark.parametrize("name", ["mingru", "lru"])
def test_sums_that_were_kept_in_16_bits(name: str) -> None:
    bfloat16_is_near(name, "cpu", FEW)
