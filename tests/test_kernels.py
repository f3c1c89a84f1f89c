"""Every kernel against the reference in float64: outputs, states and all gradients, over its options and both dtypes."""

from __future__ import annotations

import itertools
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
    """Random arguments of a kernel in float64; `plain` sets lengths, resets, mask (True draws them) and options."""
    random = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    made: dict[str, Any] = {"x": draw(steps, batch, GATES[name] * hidden), "h": draw(batch, hidden)}
    if name == "lstm":
        made["c"] = draw(batch, hidden)
    made["weight"] = draw(GATES[name] * hidden, hidden) / hidden**0.5
    if name == "gru":
        made["bias"] = draw(hidden)
    if plain.pop("lengths", False):
        made["lengths"] = torch.randint(0, steps + 1, (batch,), generator=random)
    if plain.pop("resets", False):
        made["resets"] = torch.rand(steps, batch, generator=random) < 0.3
    if plain.pop("mask", False):
        made["mask"] = (torch.rand(batch, hidden, generator=random) < 0.7).double() / 0.7
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
            loss = loss + (result * torch.cos(torch.arange(result.numel(), dtype=dtype)).view(result.shape)).sum()
        if name == "lstm":
            loss = loss + (results[-1] * 0.3).sum()
        gradients = torch.autograd.grad(loss, list(leaves.values()))
    return list(results), list(gradients)


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
    given = arguments(name, 6, 5, 11, **options)
    results, gradients = run(name, given, "native", dtype)
    truth, true_gradients = run(name, given, "reference", torch.float64)
    for result, true in zip(results, truth, strict=True):
        assert result.dtype == dtype
        assert_close(result, true)
    for gradient, true in zip(gradients, true_gradients, strict=True):
        assert_close(gradient, true, "gradients")


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(list(KERNELS)),
    steps=st.integers(0, 9),
    batch=st.integers(0, 9),
    hidden=st.sampled_from([1, 2, 7, 8, 9, 16, 17, 31, 40]),
    options=st.sampled_from(OPTIONS),
    seed=st.integers(0, 1000),
)
def test_native_equals_reference_for_any_shape(
    name: str, steps: int, batch: int, hidden: int, options: dict[str, bool], seed: int
) -> None:
    given = arguments(name, steps, batch, hidden, seed=seed, **options)
    results, gradients = run(name, given, "native", torch.float32)
    truth, true_gradients = run(name, given, "reference", torch.float64)
    for result, true in zip(results, truth, strict=True):
        assert_close(result, true)
    for gradient, true in zip(gradients, true_gradients, strict=True):
        assert_close(gradient, true, "gradients")


@pytest.mark.parametrize("activation", native.ACTIVATIONS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_native_activations(activation: str, dtype: torch.dtype) -> None:
    given = arguments("elman", 5, 3, 9, activation=activation)
    results, gradients = run("elman", given, "native", dtype)
    truth, true_gradients = run("elman", given, "reference", torch.float64)
    for got, true in zip(results + gradients, truth + true_gradients, strict=True):
        assert_close(got, true, "gradients")


@pytest.mark.parametrize(
    "options", OPTIONS, ids=lambda on: "+".join(key for key, value in on.items() if value) or "plain"
)
def test_gru_with_the_reset_before_the_product(options: dict[str, bool]) -> None:
    given = arguments("gru", 5, 4, 9, reset_after=False, **options)
    results, gradients = run("gru", given, "native", torch.float64)
    truth, true_gradients = run("gru", given, "reference", torch.float64)
    for got, true in zip(results + gradients, truth + true_gradients, strict=True):
        assert_close(got, true, "gradients")


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
    ("lstm", {"peepholes": (3, 3)}),
    ("lstm", {"projection": (2, 3)}),
]
ORDERS = [("first", "auto"), ("first", "reference"), ("second", "auto")]


def _with_extras(name: str, extras: dict[str, Any], **options: bool) -> dict[str, Any]:
    given = arguments(name, 3, 2, 3, **options)
    for key, value in extras.items():
        given[key] = torch.randn(*value, dtype=torch.float64) if isinstance(value, tuple) else value
    if "projection" in extras:
        given["h"], given["weight"] = given["h"][:, :2], given["weight"][:, :2]
        given.pop("mask", None)
    return given


@pytest.mark.parametrize(("order", "chosen"), ORDERS)
@pytest.mark.parametrize(
    ("name", "extras"), EXTRAS, ids=lambda value: "+".join(value) if isinstance(value, dict) else value
)
@pytest.mark.filterwarnings("ignore::recurra.kernels.BackendWarning")
def test_gradients_are_right(name: str, extras: dict[str, Any], chosen: str, order: str) -> None:
    given = _with_extras(name, extras, lengths=True, resets=True)
    wanted = [key for key in given if key in KERNELS[name].differentiable]
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
    given = arguments("elman", 2, 1, 3, activation="softplus")
    with pytest.warns(BackendWarning, match=r"it has no activation 'softplus'") as caught:
        kernels.elman(**given)
        kernels.elman(**given)
    assert len(caught) == 1
    with backend("native"), pytest.raises(UsageError, match=r"cannot run 'elman'.*softplus"):
        kernels.elman(**given)


def test_a_missing_native_build_is_loud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "missing", "the native build cannot be loaded (no such module)")
    monkeypatch.setattr(native, "_warned", set())
    given = arguments("gru", 2, 1, 3)
    with pytest.warns(BackendWarning, match="native build cannot be loaded"):
        results = kernels.gru(**given)
    with backend("reference"):
        assert all(torch.equal(a, b) for a, b in zip(results, kernels.gru(**given), strict=True))


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no backend 'cudnn'.*auto, native, reference"), backend("cudnn"):
        pass
