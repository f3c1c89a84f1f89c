"""Gradients of gradients by programs, against the reference in float64: cells, options, laws, orders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from gpu_calls import cast
from own_steps import make_minimal, make_mixture
from recurra import kernels
from recurra.kernels import KERNELS, Parameters, backend, gpu, native, reference
from recurra.kernels.programs import Given, Sizes, Traced, by_native, by_torch, trace
from recurra.kernels.programs.gradient import gradient
from recurra.kernels.programs.program import parse
from recurra.kernels.steps import LSTMStep
from test_kernels import arguments
from test_options import NORMED, OTHERS, drawn
from test_sweeps import arguments as of_a_sweep
from tolerances import assert_close

RAGGED = {"lengths": True, "resets": True, "mask": True}
PLAIN: list[tuple[str, dict[str, Any]]] = [
    *((name, more) for name in KERNELS for more in ({}, RAGGED, {**RAGGED, "reverse": True})),
    ("elman", {**RAGGED, "activation": "relu", "inputs": 4, "bias_in": True}),
    ("gru", {**RAGGED, "reset_after": False, "inputs": 4}),
    ("gru", {**RAGGED, "reverse": True, "symbols": 5, "inputs": 3, "bias_in": True}),
    ("lstm", {**RAGGED, "peepholes": True, "width": 4, "inputs": 3, "bias_in": True}),
    ("lstm", {**RAGGED, "reverse": True, "symbols": 5}),
]


def _id(value: Any) -> str:
    return "+".join(f"{key}={each}" for key, each in value.items()) if isinstance(value, dict) else str(value)


def weighed(results: Sequence[Tensor], order: int) -> Tensor:
    """A loss that weighs every number of every result by another one, and is no straight line."""
    total = results[0].new_zeros(())
    for result in results:
        weights = torch.cos(torch.arange(result.numel(), dtype=torch.float64) + order).to(result.dtype)
        total = total + (torch.sin(result) * weights.view(result.shape)).sum()
    return total


def derivatives(function: Callable[..., Sequence[Tensor]], leaves: Sequence[Tensor], orders: int) -> list[list[Tensor]]:
    """The gradients of every order up to this one, each of a loss over those of the order before."""
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    current, found = function(*leaves), list[list[Tensor]]()
    for order in range(orders):
        loss = weighed([value for value in current if value.requires_grad], order)
        current = torch.autograd.grad(
            loss, leaves, create_graph=order + 1 < orders, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        found.append([value.detach() for value in current])
    return found


def called(name: str, given: dict[str, Any]) -> tuple[Callable[..., Sequence[Tensor]], list[Tensor]]:
    """A kernel as a function of all its numbers, without gates, and those numbers."""
    wanted = [
        key for key, value in given.items() if isinstance(value, Tensor) and value.is_floating_point() and key != "mask"
    ]

    def results(*values: Tensor) -> Sequence[Tensor]:
        found = getattr(kernels, name)(**{**given, **dict(zip(wanted, values, strict=True))})
        return found[: len(found) - KERNELS[name].saved]

    return results, [given[key] for key in wanted]


def equal_reference(name: str, given: dict[str, Any], orders: int = 2) -> None:
    function, leaves = called(name, given)
    got = derivatives(function, leaves, orders)
    with backend("reference"):
        truth = derivatives(function, leaves, orders)
    for values, trues in zip(got, truth, strict=True):
        for value, true in zip(values, trues, strict=True):
            assert_close(value, true, "gradients")
    assert any(value.abs().max() > 1e-3 for value in got[-1])


@pytest.fixture(autouse=True)
def _never_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the reference was not asked for, nothing walks through the steps in torch."""
    walk = reference.run

    def watched(*args: Any) -> Any:
        assert native.chosen() == "reference", "a derivative went step by step"
        return walk(*args)

    monkeypatch.setattr(reference, "run", watched)


@pytest.mark.parametrize(("name", "more"), PLAIN, ids=_id)
def test_of_a_layer(name: str, more: dict[str, Any]) -> None:
    equal_reference(name, arguments(name, 5, 4, 6, **more))


@pytest.mark.parametrize(("name", "option"), [*NORMED, *OTHERS], ids=_id)
def test_of_an_option(name: str, option: dict[str, Any]) -> None:
    equal_reference(name, drawn(name, 3, option, lengths=True, resets=True, inputs=4, bias_in=True))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", KERNELS)
def test_third_derivatives(name: str, reverse: bool) -> None:
    equal_reference(name, arguments(name, 4, 3, 3, reverse=reverse, **RAGGED), orders=3)


@pytest.mark.parametrize(
    "more", [{"lengths": True, "resets": True}, {"lengths": True, "reverse": True, "symbols": 5}], ids=_id
)
@pytest.mark.parametrize("name", [*sorted(gpu.LINEAR), "slstm"])
def test_of_a_sweep(name: str, more: dict[str, Any]) -> None:
    given = of_a_sweep(name, 5, 3, 4, **more)
    count = len(given["states"])
    marks: dict[str, Any] = {key: given.get(key) for key in ("tokens", "lengths", "resets")}
    marks["reverse"] = given.get("reverse", False)

    def run(x: Tensor, *values: Tensor) -> Sequence[Tensor]:
        parameters = Parameters.of(values[count:], given["present"])
        outputs, last, _ = kernels.sweep(name, x, values[:count], parameters, **marks)
        return outputs, *last

    leaves = [given["x"], *given["states"], *given["weights"]]
    got = derivatives(run, leaves, 2)
    with backend("reference"):
        truth = derivatives(run, leaves, 2)
    for some, true in zip(got, truth, strict=True):
        for value, other in zip(some, true, strict=True):
            assert_close(value, other, "gradients")


@pytest.mark.parametrize("make", [make_minimal, make_mixture])
def test_of_an_own_cell(make: Callable[..., Any]) -> None:
    cell = make(6, 7).double()
    x, lengths = torch.randn(5, 3, 6, dtype=torch.float64), torch.tensor([5, 2, 0])
    resets = torch.rand(5, 3) < 0.3
    names, values = zip(*cell.named_parameters(), strict=True)

    def run(x: Tensor, *parameters: Tensor) -> Sequence[Tensor]:
        outputs, state = torch.func.functional_call(
            cell, dict(zip(names, parameters, strict=True)), (x, cell.initial_state(3), lengths, resets)
        )
        return outputs, state.h

    got = derivatives(run, [x, *values], 2)
    with backend("reference"):
        truth = derivatives(run, [x, *values], 2)
    for some, true in zip(got, truth, strict=True):
        for value, other in zip(some, true, strict=True):
            assert_close(value, other, "gradients")


@pytest.mark.parametrize("name", KERNELS)
def test_in_single_precision_and_in_16_bits(name: str) -> None:
    given = arguments(name, 5, 4, 6, inputs=4, bias_in=True, **RAGGED)
    for dtype in (torch.float32, torch.bfloat16):
        here = cast(given, dtype)
        function, leaves = called(name, here)
        got = derivatives(function, leaves, 2)
        exact, leaves = called(name, cast(here, torch.float64))
        with backend("reference"):
            truth = derivatives(exact, leaves, 2)
        for values, trues in zip(got, truth, strict=True):
            for value, true in zip(values, trues, strict=True):
                assert value.dtype == dtype
                assert_close(value, true, "gradients")


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", KERNELS)
def test_what_pads_a_row_reaches_no_derivative(name: str, reverse: bool) -> None:
    given = arguments(name, 5, 3, 4, inputs=3, reverse=reverse)
    given["lengths"] = torch.tensor([5, 2, 0])
    behind = torch.arange(5)[:, None] >= given["lengths"]
    function, leaves = called(name, given)
    clean = derivatives(function, leaves, 2)
    leaves[0] = torch.where(behind[..., None], torch.nan, leaves[0])
    padded = derivatives(function, leaves, 2)
    for values, others in zip(clean, padded, strict=True):
        assert all(torch.equal(value, other) for value, other in zip(values, others, strict=True))
        assert not values[0][behind].any() and values[0][~behind].all()


def test_a_row_does_not_depend_on_the_others() -> None:
    given = arguments("lstm", 5, 3, 4, inputs=3, lengths=True, resets=True)

    def second(rows: slice) -> Tensor:
        x = given["x"][:, rows].clone().requires_grad_()
        some = {**{key: given[key][rows] for key in ("h", "c", "lengths")}, "resets": given["resets"][:, rows]}
        outputs = kernels.lstm(**{**given, **some, "x": x})[0]
        (first,) = torch.autograd.grad(outputs.sin().sum(), x, create_graph=True)
        return torch.autograd.grad(first.sin().sum(), x)[0]

    whole = second(slice(None))
    for row in range(3):
        assert_close(whole[:, row : row + 1], second(slice(row, row + 1)), "gradients")
    assert whole.any()


@pytest.mark.parametrize(("steps", "batch"), [(0, 3), (4, 0)])
def test_there_may_be_no_steps_or_rows(steps: int, batch: int) -> None:
    function, leaves = called("gru", arguments("gru", steps, batch, 4, inputs=3, lengths=True))
    _, got = derivatives(function, leaves, 2)
    with backend("reference"):
        _, truth = derivatives(function, leaves, 2)
    for value, true in zip(got, truth, strict=True):
        assert torch.equal(value, true)


def test_resets_of_a_gradients_program() -> None:
    """A reset acts after the step there, on the gradients of states alone, and in its gradient before the step again."""
    sizes = Sizes((12,), (3, 3), (("mask", 3),), (("weight", (12, 3)), ("norm", (12,))), False)
    traced = trace(LSTMStep(), sizes)
    assert isinstance(traced, Traced)
    random = torch.Generator().manual_seed(1)
    lengths, resets = torch.tensor([4, 1, 0]), torch.rand(4, 3, generator=random) < 0.4
    text = traced.hoisted.text
    for _ in range(2):
        text = gradient(text, tuple(True for _ in parse(text).emitted)).text
        program = parse(text)
        shapes = [
            *([4, 3, width] for width in program.inputs), *([3, width] for width in program.fixed + program.states),
            *([width] for width in program.shared), *(list(shape) for shape in program.weights),
        ]  # fmt: skip
        left = iter([torch.randn(shape, generator=random, dtype=torch.float64) for shape in shapes])
        counts = [len(each) for each in (program.inputs, program.fixed, program.states, program.shared)]
        inputs, fixed, states, shared = ([next(left) for _ in range(count)] for count in counts)
        given = Given(inputs, fixed, states, shared, list(left))
        with backend("reference"):
            truth = by_torch(text, given, lengths, resets, True, True)
        found = by_native(text, given, lengths, resets, True, True)
        for value, true in zip(found, truth, strict=True):
            assert_close(value, true)
        assert program.resettable == 2


def test_gradients_that_are_the_same_are_handed_out_once() -> None:
    """Sums of inputs and the product beside them have one gradient."""
    sizes = Sizes((12,), (3, 3), (), (("weight", (12, 3)),), False, emits=1)
    traced = trace(LSTMStep(), sizes)
    assert isinstance(traced, Traced)
    found = gradient(traced.hoisted.text, (True,))
    assert len(parse(found.text).emitted) == 1 and [part.of_product for part in found.parts] == [0]
