"""Every kernel against the reference in float64: outputs, states and all gradients, over its options and both dtypes."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from recurra import kernels
from recurra.errors import UsageError
from recurra.kernels import KERNELS, BackendWarning, backend, native
from tolerances import assert_close

GATES = {"elman": 1, "gru": 3, "lstm": 4}
DTYPES = (torch.float32, torch.float64)


def arguments(name: str, steps: int, batch: int, hidden: int, *, seed: int = 0, **plain: Any) -> dict[str, Any]:
    """Random arguments of a kernel in float64. `plain` sets options, and asks for others to be drawn.

    These are lengths, resets, mask, bias_in, peepholes (True draws them), inputs (the depth of a weight_in), symbols (the
    size of the table that tokens choose from) and width (that of a projection).
    """
    random = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    inputs, symbols, width = (plain.pop(key, None) for key in ("inputs", "symbols", "width"))
    sums, state = GATES[name] * hidden, width or hidden
    table = (steps, batch) if symbols is None else (symbols,)
    made: dict[str, Any] = {"x": draw(*table, inputs or sums), "h": draw(batch, state)}
    if name == "lstm":
        made["c"] = draw(batch, hidden)
    made["weight"] = draw(sums, state) / state**0.5
    if symbols is not None:
        made["tokens"] = torch.randint(0, symbols, (steps, batch), generator=random)
    if inputs is not None:
        made["weight_in"] = draw(sums, inputs) / inputs**0.5
    if width is not None:
        made["projection"] = draw(width, hidden) / hidden**0.5
    if plain.pop("bias_in", False):
        made["bias_in"] = draw(sums)
    if plain.pop("peepholes", False):
        made["peepholes"] = draw(3, hidden)
    if name == "gru":
        made["bias"] = draw(hidden)
    if plain.pop("lengths", False):
        made["lengths"] = torch.randint(0, steps + 1, (batch,), generator=random)
    if plain.pop("resets", False):
        made["resets"] = torch.rand(steps, batch, generator=random) < 0.3
    if plain.pop("mask", False):
        made["mask"] = (torch.rand(batch, state, generator=random) < 0.7).double() / 0.7
    return {**made, **plain}


def run(name: str, given: dict[str, Any], chosen: str, dtype: torch.dtype) -> tuple[list[Tensor], list[Tensor]]:
    """(results, gradients of all inputs) of a kernel on a backend; the loss weighs every output and state."""
    inputs = {
        key: value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
        for key, value in given.items()
    }
    leaves = {key: inputs[key].requires_grad_() for key in inputs if key in KERNELS[name].differentiable}
    with backend(chosen):
        results = getattr(kernels, name)(**inputs)
        plain = results[: len(results) - KERNELS[name].saved]
        loss = torch.zeros((), dtype=dtype)
        for result in plain:
            # the same numbers in every dtype
            weights = torch.cos(torch.arange(result.numel(), dtype=torch.float64)).bfloat16().to(dtype)
            loss = loss + (result * weights.view(result.shape)).sum()
        if name == "lstm":
            loss = loss + (results[-1] * 0.25).sum()
        gradients = torch.autograd.grad(loss, list(leaves.values()))
    return list(results), list(gradients)


def equal_reference(name: str, given: dict[str, Any], dtype: torch.dtype) -> None:
    """The native kernel in this dtype against the reference in float64, results and all gradients."""
    results, gradients = run(name, given, "native", dtype)
    truth, true_gradients = run(name, given, "reference", torch.float64)
    for result, true in zip(results, truth, strict=True):
        assert result.dtype == dtype
        assert_close(result, true)
    for gradient, true in zip(gradients, true_gradients, strict=True):
        assert_close(gradient, true, "gradients")


# where the inputs come from
INPUTS: list[dict[str, Any]] = [
    {"inputs": 4, "bias_in": True},
    {"inputs": 1},
    {"bias_in": True},
    {"symbols": 5},
    {"symbols": 5, "inputs": 4, "bias_in": True},
]
PARTS: list[tuple[str, dict[str, Any]]] = [
    *(("elman", more) for more in INPUTS),
    *(("gru", more) for more in INPUTS),
    *(("gru", {**more, "reset_after": False}) for more in INPUTS),
    *(("lstm", {**more, **parts}) for more, parts in itertools.product(INPUTS, ({}, {"width": 5, "peepholes": True}))),
    ("lstm", {"peepholes": True}),
    ("lstm", {"width": 3}),
    ("lstm", {"width": 20, "symbols": 1}),
]
OPTIONS = [
    dict(zip(("lengths", "resets", "mask", "reverse"), on, strict=True))
    for on in itertools.product((False, True), repeat=4)
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "options", OPTIONS, ids=lambda on: "+".join(key for key, value in on.items() if value) or "plain"
)
@pytest.mark.parametrize("name", KERNELS)
def test_native_equals_reference(name: str, options: dict[str, bool], dtype: torch.dtype) -> None:
    equal_reference(name, arguments(name, 6, 5, 11, **options), dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("name", "more"), PARTS, ids=lambda value: "+".join(value) if isinstance(value, dict) else value
)
def test_native_equals_reference_in_every_part(name: str, more: dict[str, Any], dtype: torch.dtype) -> None:
    for seed, options in enumerate(OPTIONS):
        equal_reference(name, arguments(name, 6, 5, 11, seed=seed, **options, **more), dtype)


@pytest.mark.parametrize(
    ("name", "more"), PARTS, ids=lambda value: "+".join(value) if isinstance(value, dict) else value
)
def test_bfloat16_is_float32_rounded(name: str, more: dict[str, Any]) -> None:
    """Results are rounded once. Gradients come from kept values that were rounded too."""
    given = arguments(name, 6, 5, 11, lengths=True, resets=True, **more)
    for key, value in given.items():
        if isinstance(value, Tensor) and value.is_floating_point():
            given[key] = value.bfloat16()
    results, gradients = run(name, given, "native", torch.bfloat16)
    wide, _ = run(name, given, "native", torch.float32)
    truth, true_gradients = run(name, given, "reference", torch.float32)
    for result, unrounded, true in zip(results, wide, truth, strict=True):
        assert torch.equal(result, unrounded.bfloat16())
        assert_close(result, true)
    for gradient, true in zip(gradients, true_gradients, strict=True):
        assert gradient.dtype == torch.bfloat16
        assert_close(gradient, true, "gradients")


def test_bfloat16_projects_in_float32() -> None:
    x, weight, bias = (torch.randn(*shape).bfloat16() for shape in ((23, 37), (19, 37), (19,)))
    with backend("native"):
        got = kernels.linear(x, weight, bias)
        wide = kernels.linear(x.float(), weight.float(), bias.float())
    assert got.dtype == torch.bfloat16 and torch.equal(got, wide.bfloat16())


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(list(KERNELS)),
    steps=st.integers(0, 9),
    batch=st.integers(0, 9),
    hidden=st.sampled_from([1, 2, 7, 8, 9, 16, 17, 31, 40]),
    inputs=st.sampled_from([None, 1, 3, 17, 40]),
    symbols=st.sampled_from([None, 1, 3, 40]),
    options=st.sampled_from(OPTIONS),
    seed=st.integers(0, 1000),
)
def test_native_equals_reference_for_any_shape(
    name: str,
    steps: int,
    batch: int,
    hidden: int,
    inputs: int | None,
    symbols: int | None,
    options: dict[str, bool],
    seed: int,
) -> None:
    given = arguments(name, steps, batch, hidden, inputs=inputs, symbols=symbols, seed=seed, **options)
    equal_reference(name, given, torch.float32)


@pytest.mark.parametrize("activation", native.ACTIVATIONS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_native_activations(activation: str, dtype: torch.dtype) -> None:
    equal_reference("elman", arguments("elman", 5, 3, 9, activation=activation), dtype)


@pytest.mark.parametrize(
    "options", OPTIONS, ids=lambda on: "+".join(key for key, value in on.items() if value) or "plain"
)
def test_gru_with_the_reset_before_the_product(options: dict[str, bool]) -> None:
    equal_reference("gru", arguments("gru", 5, 4, 9, reset_after=False, **options), torch.float64)


EXTRAS: list[tuple[str, dict[str, Any]]] = [
    ("elman", {}),
    ("elman", {"activation": "softplus"}),
    ("elman", {"norm": (3,)}),
    ("gru", {}),
    ("gru", {"reset_after": False}),
    ("gru", {"norm": (9,)}),
    ("lstm", {}),
    ("lstm", {"norm": (12,)}),
    ("lstm", {"norm_cell": (2, 3)}),
    ("lstm", {"peepholes": True}),
    ("lstm", {"width": 2}),
    ("lstm", {"width": 2, "peepholes": True, "inputs": 2, "bias_in": True}),
    ("lstm", {"norm": (12,), "symbols": 3, "inputs": 2}),
    *(("elman", more) for more in INPUTS),
    *(("gru", more) for more in INPUTS),
    ("gru", {"symbols": 3, "inputs": 2, "reset_after": False}),
]
ORDERS = [("first", "auto"), ("first", "reference"), ("second", "auto")]


def _with_extras(name: str, extras: dict[str, Any], **options: bool) -> dict[str, Any]:
    gains = {key: torch.randn(*value, dtype=torch.float64) for key, value in extras.items() if isinstance(value, tuple)}
    return {**arguments(name, 3, 2, 3, **{**extras, **options}), **gains}


@pytest.mark.parametrize(("order", "chosen"), ORDERS)
@pytest.mark.parametrize(
    ("name", "extras"), EXTRAS, ids=lambda value: "+".join(value) if isinstance(value, dict) else value
)
@pytest.mark.filterwarnings("ignore::recurra.kernels.BackendWarning")
def test_gradients_are_right(name: str, extras: dict[str, Any], chosen: str, order: str) -> None:
    given = _with_extras(name, extras, lengths=True, resets=True)
    wanted = [key for key in given if key in (*KERNELS[name].differentiable, "norm", "norm_cell")]
    leaves = [given[key].clone().requires_grad_() for key in wanted]

    def outcome(*values: Tensor) -> tuple[Tensor, ...]:
        results = getattr(kernels, name)(**{**given, **dict(zip(wanted, values, strict=True))})
        return tuple(results[: len(results) - KERNELS[name].saved])

    with backend(chosen):
        check = torch.autograd.gradcheck if order == "first" else torch.autograd.gradgradcheck
        assert check(outcome, leaves)


@pytest.mark.parametrize("name", KERNELS)
def test_a_gradient_through_the_gates(name: str) -> None:
    given = arguments(name, 3, 2, 4)
    gradients = []
    for chosen in ("native", "reference"):
        x = given["x"].clone().requires_grad_()
        with backend(chosen):
            gates = getattr(kernels, name)(**{**given, "x": x, "keep": True})[-KERNELS[name].saved]
            gradients += torch.autograd.grad(gates.square().sum(), x)
    assert_close(gradients[0], gradients[1], "gradients")
    assert gradients[0].abs().sum() > 0


@pytest.mark.parametrize("name", KERNELS)
def test_only_the_asked_for_gates_are_built(name: str) -> None:
    given = arguments(name, 3, 2, 4)
    for chosen in ("native", "reference"):
        with backend(chosen):
            assert getattr(kernels, name)(**given)[-1].numel() == 0
            assert getattr(kernels, name)(**given, keep=True)[-1].numel() > 0


@pytest.mark.parametrize("name", KERNELS)
def test_results_are_fresh_memory(name: str) -> None:
    """Neither an input nor another result shares memory with a result, in either backend, also where nothing is run."""
    for steps, chosen in itertools.product((0, 1, 3), ("native", "reference")):
        given = arguments(name, steps, 2, 4)
        with backend(chosen):
            results = getattr(kernels, name)(**given, keep=True)
        pointers = [
            value.data_ptr() for value in (*given.values(), *results) if isinstance(value, Tensor) and value.numel()
        ]
        assert len(set(pointers)) == len(pointers)


@pytest.mark.parametrize("name", KERNELS)
def test_inputs_of_any_layout(name: str) -> None:
    given = arguments(name, 4, 3, 5)
    strided = {
        **given,
        "x": given["x"].transpose(0, 1).contiguous().transpose(0, 1),
        "weight": given["weight"].T.contiguous().T,
    }
    with backend("native"):
        for got, true in zip(getattr(kernels, name)(**strided), getattr(kernels, name)(**given), strict=True):
            assert torch.equal(got, true)


@pytest.mark.parametrize("name", KERNELS)
def test_an_outcome_does_not_depend_on_threads_or_neighbours(name: str) -> None:
    given = arguments(name, 7, 13, 19, lengths=True)
    given = {key: value.float() if value.is_floating_point() else value for key, value in given.items()}
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        whole = getattr(kernels, name)(**given)
        torch.set_num_threads(2)
        assert all(torch.equal(a, b) for a, b in zip(whole, getattr(kernels, name)(**given), strict=True))
        per_row = {"x": 1, "h": 0, "c": 0, "lengths": 0}
        for row in range(13):
            alone = {
                key: value.narrow(per_row[key], row, 1) if key in per_row else value for key, value in given.items()
            }
            results = getattr(kernels, name)(**alone)
            assert torch.equal(results[0], whole[0][:, row : row + 1])
            assert torch.equal(results[1], whole[1][row : row + 1])
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_linear_is_one_chain_of_additions(dtype: torch.dtype) -> None:
    x, weight, bias = torch.randn(23, 37, dtype=dtype), torch.randn(19, 37, dtype=dtype), torch.randn(19, dtype=dtype)
    with backend("native"):
        whole = kernels.linear(x, weight, bias)
        assert_close(whole, x.double() @ weight.double().T + bias.double())
        for start in range(0, 23, 5):
            assert torch.equal(kernels.linear(x[start : start + 5], weight, bias), whole[start : start + 5])
        assert torch.equal(kernels.linear(x.view(1, 23, 37)[:, :4], weight, bias)[0], whole[:4])


def test_linear_records_gradients() -> None:
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(kernels.linear, (x, weight, bias))


def test_what_native_cannot_do_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_warned", set())
    given = {key: value.half() for key, value in arguments("elman", 2, 1, 3).items()}
    with pytest.warns(BackendWarning, match=r"it has no float16") as caught:
        kernels.elman(**given)
        kernels.elman(**given)
    assert len(caught) == 1
    with backend("native"), pytest.raises(UsageError, match=r"cannot run 'elman'.*float16"):
        kernels.elman(**given)


def test_a_missing_native_build_is_loud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "missing", "the native build cannot be loaded (no such module)")
    monkeypatch.setattr(native, "_warned", set())
    given = arguments("gru", 2, 1, 3)
    with pytest.warns(BackendWarning, match="native build cannot be loaded"):
        results = kernels.gru(**given)
    with backend("reference"):
        assert all(torch.equal(a, b) for a, b in zip(results, kernels.gru(**given), strict=True))


def test_a_native_build_of_another_version_is_refused_with_the_reason() -> None:
    """An older build may be left beside newer Python files; its functions take other arguments."""
    assert native.unfit(native.module()) is None
    reason = native.unfit(SimpleNamespace(abi=native.ABI - 1))
    assert reason == (
        f"the native build has the functions of version {native.ABI - 1}, this package calls those of version "
        f"{native.ABI}: install the package again"
    )


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no backend 'cudnn'.*auto, native, reference"), backend("cudnn"):
        pass
