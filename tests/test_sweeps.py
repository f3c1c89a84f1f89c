"""Every sweep of the native build against the reference in float64, over its options, sizes and both dtypes."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from recurra import kernels
from recurra.cells import CELLS
from recurra.kernels import SWEEPS, Parameters, backend, native
from tolerances import assert_close

DTYPES = (torch.float32, torch.float64)
OPTIONS = [
    dict(zip(("lengths", "resets", "reverse"), on, strict=True)) for on in itertools.product((False, True), repeat=3)
]


def arguments(
    name: str,
    steps: int,
    batch: int,
    hidden: int,
    inputs: int = 4,
    *,
    symbols: int | None = None,
    project: bool = True,
    lengths: bool = False,
    resets: bool = False,
    reverse: bool = False,
    seed: int = 0,
) -> dict[str, Any]:
    """Random arguments of a sweep in float64; what pads a row is NaN."""
    random = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    sweep = SWEEPS[name]
    read, width = sweep.read * hidden, next(width for width in (8, 5, 4, 1) if hidden % width == 0)
    if sweep.hands_out and hidden % 8:
        width = hidden  # a head of one unit divides by what it multiplied with
    heads = hidden // width
    widths = [hidden, hidden * width, heads] if sweep.hands_out else [hidden] * sweep.leaves
    read += 2 * heads if sweep.hands_out else 0
    projects = project or inputs != hidden or sweep.read == sweep.gates
    parts = {
        "weight_in": draw(read, inputs) / inputs**0.5 if projects else None,
        "bias_in": draw(read) if projects else None,
        "weight_gates": draw(sweep.blocks, hidden, width) / width**0.5 if sweep.blocks else None,
        "bias_gates": draw(sweep.blocks * hidden) if sweep.read < sweep.gates else None,
        "own": draw(sweep.parameters, hidden) if sweep.parameters else None,
    }
    parameters = Parameters(**parts)
    made: dict[str, Any] = {
        "x": draw(*((steps, batch) if symbols is None else (symbols,)), inputs),
        # a normaliser is not below zero
        "states": [draw(batch, width).abs() + 0.5 if sweep.recurrent else draw(batch, width) for width in widths],
        "weights": parameters.tensors,
        "present": parameters.present,
        "reverse": reverse,
    }
    if symbols is not None:
        made["tokens"] = torch.randint(0, symbols, (steps, batch), generator=random)
    if lengths:
        made["lengths"] = torch.randint(0, steps + 1, (batch,), generator=random)
        if symbols is None:
            made["x"][torch.arange(steps)[:, None] >= made["lengths"]] = torch.nan
    if resets:
        made["resets"] = torch.rand(steps, batch, generator=random) < 0.3
    return made


def run(name: str, given: dict[str, Any], chosen: str, dtype: torch.dtype) -> tuple[list[Tensor], list[Tensor]]:
    """(results, gradients of x, states and weights); the loss weighs every output and last state."""
    x, states, weights = (
        given["x"].to(dtype).requires_grad_(),
        *([value.to(dtype).requires_grad_() for value in given[group]] for group in ("states", "weights")),
    )
    rest = {key: value for key, value in given.items() if key not in ("x", "states", "weights", "present")}
    with backend(chosen):
        outputs, last, kept = kernels.sweep(name, x, states, Parameters.of(weights, given["present"]), **rest)
        loss = torch.zeros((), dtype=dtype)
        for result in (outputs, *last):
            # the same numbers in every dtype
            share = torch.cos(torch.arange(result.numel(), dtype=torch.float64)).bfloat16().to(dtype)
            loss = loss + (result * share.view(result.shape)).sum()
        gradients = torch.autograd.grad(loss, [x, *states, *weights])
    return [outputs, *last, kept], list(gradients)


def away_from_zero(given: dict[str, Any]) -> dict[str, Any]:
    """The same of an mLSTM whose inputs, keys and queries are not below zero: what it divides by is a sum of one sign.

    Among many steps of any signs some divide by nearly nothing. There the reference in single precision is as far from the
    one in double as any other way to compute it, and no table holds.
    """
    hidden = given["states"][0].shape[1]
    weights = [torch.cat([value[: 2 * hidden].abs(), value[2 * hidden :]]) for value in given["weights"]]
    return {**given, "x": given["x"].abs(), "weights": weights}


def equal_reference(name: str, given: dict[str, Any], dtype: torch.dtype) -> None:
    results, gradients = run(name, given, "native", dtype)
    truth, true_gradients = run(name, given, "reference", torch.float64)
    for result, true in zip(results, truth, strict=True):
        assert result.dtype == dtype
        assert_close(result, true)
    for gradient, true in zip(gradients, true_gradients, strict=True):
        assert_close(gradient, true, "gradients")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("symbols", [None, 5])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda on: "+".join(key for key in on if on[key]) or "plain")
@pytest.mark.parametrize("name", SWEEPS)
def test_native_equals_reference(name: str, options: dict[str, bool], symbols: int | None, dtype: torch.dtype) -> None:
    equal_reference(name, arguments(name, 6, 5, 11, symbols=symbols, **options), dtype)


@pytest.mark.parametrize("seed", range(3))
def test_an_mlstm_over_many_steps_in_single_precision(seed: int) -> None:
    given = arguments("mlstm", 70, 3, 16, lengths=True, resets=True, seed=seed)
    equal_reference("mlstm", away_from_zero(given), torch.float32)


@pytest.mark.parametrize("symbols", [None, 5])
@pytest.mark.parametrize("options", OPTIONS[::3], ids=lambda on: "+".join(key for key in on if on[key]) or "plain")
def test_a_real_gated_unit_that_reads_its_inputs_as_they_are(options: dict[str, bool], symbols: int | None) -> None:
    given = arguments("rglru", 6, 5, 12, 12, symbols=symbols, project=False, **options)
    assert not given["present"][0]
    equal_reference("rglru", given, torch.float32)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(list(SWEEPS)),
    steps=st.integers(0, 9) | st.integers(130, 200),
    batch=st.integers(0, 9) | st.integers(130, 140),
    hidden=st.sampled_from([1, 2, 7, 16, 17, 40]),
    inputs=st.sampled_from([1, 3, 17]),
    symbols=st.sampled_from([None, None, 1, 40, 600]),
    options=st.sampled_from(OPTIONS),
    seed=st.integers(0, 1000),
)
def test_native_equals_reference_for_any_shape(
    name: str, steps: int, batch: int, hidden: int, inputs: int, symbols: int | None, options: dict[str, bool],
    seed: int,
) -> None:  # fmt: skip
    batch = min(batch, 9) if steps > 9 else batch
    given = arguments(name, steps, batch, hidden, inputs, symbols=symbols, seed=seed, **options)
    equal_reference(name, given, torch.float64)


@pytest.mark.parametrize("order", ["first", "second"])
@pytest.mark.parametrize("symbols", [None, 3])
@pytest.mark.parametrize("name", SWEEPS)
def test_gradients_are_right(name: str, symbols: int | None, order: str) -> None:
    given = arguments(name, 3, 2, 3, 2, symbols=symbols, resets=True)
    rest = {key: value for key, value in given.items() if key not in ("x", "states", "weights", "present")}
    scale = given["states"].pop() if SWEEPS[name].recurrent else None  # it takes no gradient, and cancels in outputs
    count = len(given["states"])
    inputs = [value.clone().requires_grad_() for value in (given["x"], *given["states"], *given["weights"])]

    def outcome(x: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        parameters = Parameters.of(others[count:], given["present"])
        states = [*others[:count], *([] if scale is None else [scale])]
        outputs, last, _ = kernels.sweep(name, x, states, parameters, **rest)
        return (outputs, *last) if scale is None else (outputs,)

    with backend("native"):
        check = torch.autograd.gradcheck if order == "first" else torch.autograd.gradgradcheck
        assert check(outcome, inputs)


@pytest.mark.parametrize("symbols", [None, 7])
@pytest.mark.parametrize("name", SWEEPS)
def test_the_same_bits_for_any_number_of_threads(name: str, symbols: int | None) -> None:
    """Outputs, states and all gradients; rows alone too, but for the gradients of weights."""
    given = arguments(name, 150, 13, 70, 40, symbols=symbols, lengths=True, resets=True)
    native.module().be_patient()
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(run(name, given, "native", torch.float32))
    finally:
        torch.set_num_threads(before)
    for results, gradients in found[1:]:
        assert all(torch.equal(one, other) for one, other in zip(results, found[0][0], strict=True))
        assert all(
            torch.equal(one.nan_to_num(), other.nan_to_num()) for one, other in zip(gradients, found[0][1], strict=True)
        )


@pytest.mark.parametrize("name", SWEEPS)
def test_bfloat16_is_float32_rounded(name: str) -> None:
    given = arguments(name, 6, 5, 11, resets=True)
    given |= {"x": given["x"].bfloat16(), "states": [value.bfloat16() for value in given["states"]]}
    given["weights"] = [value.bfloat16() for value in given["weights"]]
    results, gradients = run(name, given, "native", torch.bfloat16)
    wide, _ = run(name, given, "native", torch.float32)
    _, true_gradients = run(name, given, "reference", torch.float32)
    for result, unrounded in zip(results, wide, strict=True):
        assert torch.equal(result, unrounded.bfloat16())
    for gradient, true in zip(gradients, true_gradients, strict=True):
        assert_close(gradient, true, "gradients")


@pytest.mark.parametrize("name", SWEEPS)
def test_sums_at_the_ends_of_the_range(name: str) -> None:
    """Gates that are fully open or shut overflow nowhere, forward and backward."""
    given = arguments(name, 4, 3, 8, 2)
    ends = torch.tensor([300.0, -300.0, 100.0, -90.0, 0.0, 1e4, -1e4, 30.0]).double()
    given["weights"] = [
        ends.repeat(len(value) // 8 + 1)[: len(value)] if value.dim() == 1 else value for value in given["weights"]
    ]
    for dtype in DTYPES:
        results, gradients = run(name, given, "native", dtype)
        assert all(value.isfinite().all() for value in (*results, *gradients))
        if dtype == torch.float64 or not SWEEPS[name].recurrent:  # exp of 1e4 knows no small differences
            equal_reference(name, given, dtype)


def test_a_minimal_gru_by_hand() -> None:
    """One unit: z = σ(0) = 1/2 moves the state halfway to each candidate."""
    weights = [torch.tensor([[0.0], [1.0]]), torch.zeros(2)]
    outputs, (last,), _ = kernels.sweep(
        "mingru", torch.tensor([[[4.0]], [[8.0]]]), [torch.zeros(1, 1)], Parameters(*weights)
    )
    assert outputs.flatten().tolist() == [2.0, 5.0] and last.item() == 5.0


def test_a_minimal_lstm_by_hand() -> None:
    """f = σ(0) and i = σ(0) share alike; f = σ(log 3) = 3/4 against i = 1/2 keeps 3/5."""
    weights = [torch.tensor([[0.0], [0.0], [1.0]]), torch.zeros(3)]
    x = torch.tensor([[[4.0]], [[8.0]]])
    outputs, _, _ = kernels.sweep("minlstm", x, [torch.zeros(1, 1)], Parameters(*weights))
    assert outputs.flatten().tolist() == [2.0, 5.0]
    weights[1][0] = torch.tensor(3.0).log()
    outputs, _, _ = kernels.sweep("minlstm", x[:1], [torch.full((1, 1), 10.0)], Parameters(*weights))
    assert abs(outputs.item() - (0.6 * 10 + 0.4 * 4)) < 1e-5


def test_a_real_gated_unit_by_hand() -> None:
    """Gates at σ(0) = 1/2 and a decay of 1/4 at an open gate: half the state stays, sqrt(3)/2 of half the input comes."""
    decay = torch.tensor([[2.0]]).log().div(4).expm1().log()
    parameters = Parameters(None, None, torch.zeros(2, 1, 1), torch.zeros(2), decay)
    outputs, _, _ = kernels.sweep("rglru", torch.tensor([[[2.0]]]), [torch.full((1, 1), 4.0)], parameters)
    assert abs(outputs.item() - (0.5 * 4 + 0.75**0.5 * 0.5 * 2)) < 1e-6


def test_a_complex_unit_by_hand() -> None:
    """λ = i/2 turns the state by a quarter and halves it."""
    ring = torch.tensor([[math.log(math.log(2))], [math.log(math.pi / 2)], [0.0]])
    parameters = Parameters(torch.tensor([[1.0], [0.0]]), torch.zeros(2), own=ring)
    x = torch.tensor([[[2.0]], [[0.0]], [[0.0]]])
    outputs, last, _ = kernels.sweep("lru", x, [torch.zeros(1, 1), torch.zeros(1, 1)], parameters)
    assert_close(outputs[:, 0], torch.tensor([[2.0, 0.0], [0.0, 1.0], [-0.5, 0.0]]))
    assert torch.equal(torch.cat(last, dim=1), outputs[-1])


@pytest.mark.parametrize("name", ["mingru", "minlstm", "rglru", "slstm", "mlstm"])
def test_units_begin_with_many_lengths_of_memory(name: str) -> None:
    """What a step without input keeps of the state: of some units little, of others nearly all."""
    cell = CELLS[name](8, 128)
    inner = cell.trace(torch.zeros(1, 1, 8), cell.initial_state(1))[2]
    keep = {"mingru": lambda: 1 - inner["z"], "rglru": lambda: inner["a"]}.get(name, lambda: inner["f"])().flatten()
    low, high = {"rglru": (0.68, 0.99), "mlstm": (0.8, 0.99)}.get(name, (0.13, 0.98))
    assert keep.min() < low and keep.max() > high and keep.max() < 0.9999


def test_operation_is_well_made() -> None:
    """torch's own check: schema, shapes without data, gradient registration, tracing."""
    x, h = torch.randn(3, 2, 5, requires_grad=True), torch.randn(2, 4, requires_grad=True)
    weights = [torch.randn(8, 5, requires_grad=True), torch.randn(8, requires_grad=True)]
    options = (None, torch.tensor([3, 1]), torch.rand(3, 2) < 0.3, False, True)
    torch.library.opcheck(
        torch.ops.recurra.sweep.default, ("mingru", x, [h], weights, [True, True, False, False, False], *options)
    )


@pytest.mark.parametrize("name", ["mingru", "minlstm", "lru"])
def test_sums_of_few_inputs_are_not_kept(name: str) -> None:
    """They are made again in backward, which the other tests compare with the reference."""
    for inputs, kept in ((16, False), (17, True)):
        given = arguments(name, 4, 3, 8, inputs)
        weights = [value.requires_grad_() for value in given["weights"]]
        parameters = Parameters.of(weights, given["present"])
        sums = kernels.sweep(name, given["x"], given["states"], parameters)[2]
        assert (sums.numel() > 0) == kept
