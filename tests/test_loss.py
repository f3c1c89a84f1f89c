"""The loss over a vocabulary, computed in chunks: against the reference, over its options, in every order of gradient."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from recurra import kernels
from recurra.errors import DataError
from recurra.kernels import loss, reference
from tolerances import assert_close

DIFFERENTIABLE = ("hidden", "weight", "bias")


def arguments(steps: int, batch: int, hidden: int, vocabulary: int, **options: bool) -> dict[str, Any]:
    """Random arguments in float64; `bias` and `mask` say whether there is one."""

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64)

    return {
        "hidden": draw(steps, batch, hidden),
        "weight": draw(vocabulary, hidden),
        "bias": draw(vocabulary) if options.get("bias", True) else None,
        "targets": torch.randint(0, vocabulary, (steps, batch)),
        "mask": (torch.rand(batch, hidden) < 0.7).double() / 0.7 if options.get("mask") else None,
    }


def run(function: Any, given: dict[str, Any], dtype: torch.dtype, factor: float = 1.0) -> list[Tensor]:
    """The loss, and the gradients of `factor` times the loss by all that is differentiable."""
    inputs: dict[str, Any] = {
        key: value.to(dtype) if value is not None and value.is_floating_point() else value
        for key, value in given.items()
    }
    leaves = [inputs[key].requires_grad_() for key in DIFFERENTIABLE if inputs[key] is not None]
    total = function(**inputs)
    return [total.detach(), *torch.autograd.grad(total * factor, leaves)]


@pytest.fixture(params=[(4, 1), (64, 1), (256, 1 << 16)], ids=lambda sizes: f"rows={sizes[0]}")
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Chunks of a part of a step, of some steps, and of everything."""
    monkeypatch.setattr(loss, "ROWS", request.param[0])
    monkeypatch.setattr(loss, "NUMBERS", request.param[1])
    return request.param[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("bias", "mask"), list(itertools.product((False, True), repeat=2)))
def test_equals_the_reference(chunk: int, bias: bool, mask: bool, dtype: torch.dtype) -> None:
    given = arguments(15, 11, 7, 13, bias=bias, mask=mask)
    for factor in (1.0, 0.25):
        got = run(kernels.cross_entropy, given, dtype, factor)
        true = run(reference.cross_entropy, given, torch.float64, factor)
        assert len(got) == (4 if bias else 3)
        for one, two in zip(got, true, strict=True):
            assert one.dtype == dtype
            assert_close(one, two, "gradients")


def test_the_reference_is_the_loss_of_torch() -> None:
    given = arguments(4, 3, 5, 7)
    logits = torch.nn.functional.linear(given["hidden"], given["weight"], given["bias"])
    wanted = torch.nn.functional.cross_entropy(logits.flatten(0, 1), given["targets"].flatten(), reduction="sum")
    assert_close(reference.cross_entropy(**given), wanted)


def test_rows_without_steps() -> None:
    given = arguments(4, 3, 5, 7)
    rows = {**given, "hidden": given["hidden"].flatten(0, 1), "targets": given["targets"].flatten()}
    assert_close(kernels.cross_entropy(**rows), kernels.cross_entropy(**given))


@pytest.mark.parametrize(("steps", "batch"), [(0, 3), (3, 0)])
def test_nothing_has_no_loss(steps: int, batch: int) -> None:
    total, *gradients = run(kernels.cross_entropy, arguments(steps, batch, 5, 7, mask=True), torch.float32)
    assert total == 0
    assert all(torch.equal(gradient, torch.zeros_like(gradient)) for gradient in gradients)


@pytest.mark.parametrize("asked", [asked for n in range(4) for asked in itertools.combinations(DIFFERENTIABLE, n)])
def test_only_the_asked_for_gradients(asked: tuple[str, ...]) -> None:
    given = arguments(4, 3, 5, 7, mask=True)
    everything = dict(zip(DIFFERENTIABLE, run(reference.cross_entropy, given, torch.float64)[1:], strict=True))
    inputs = {
        key: value.requires_grad_(key in asked) if key in DIFFERENTIABLE else value for key, value in given.items()
    }
    total = kernels.cross_entropy(**inputs)
    assert total.requires_grad == bool(asked)
    if asked:
        total.backward()
    for key in DIFFERENTIABLE:
        assert (given[key].grad is not None) == (key in asked)
        if key in asked:
            assert_close(given[key].grad, everything[key], "gradients")


@pytest.mark.parametrize(("bias", "mask"), list(itertools.product((False, True), repeat=2)))
@pytest.mark.parametrize("order", ["first", "second"])
def test_gradients_are_right(chunk: int, order: str, bias: bool, mask: bool) -> None:
    given = arguments(3, 2, 3, 4, bias=bias, mask=mask)
    names = [key for key in DIFFERENTIABLE if given[key] is not None]

    def outcome(*values: Tensor) -> Tensor:
        return kernels.cross_entropy(**{**given, **dict(zip(names, values, strict=True))})

    check = torch.autograd.gradcheck if order == "first" else torch.autograd.gradgradcheck
    assert check(outcome, [given[key].clone().requires_grad_() for key in names])


def test_backward_twice_adds_up() -> None:
    """What is kept is handed out as it is where nothing scales it, and must not be what is then added to."""
    given = arguments(4, 3, 5, 7)
    true = run(reference.cross_entropy, given, torch.float64)[1:]
    leaves = [given[key].requires_grad_() for key in DIFFERENTIABLE]
    total = kernels.cross_entropy(**given)
    for times in (1, 2, 3):
        total.backward(retain_graph=True)
        for leaf, gradient in zip(leaves, true, strict=True):
            assert_close(leaf.grad, times * gradient, "gradients")


def test_the_logits_of_all_rows_are_never_held(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    addmm = torch.addmm

    def watched(*values: Any, **named: Any) -> Tensor:
        result = addmm(*values, **named)
        held.append(result.numel())
        return result

    monkeypatch.setattr(torch, "addmm", watched)
    monkeypatch.setattr(loss, "NUMBERS", 1 << 16)
    for steps, batch, vocabulary in ((64, 32, 65), (64, 32, 500), (1, 2048, 500)):
        held.clear()
        kernels.cross_entropy(**arguments(steps, batch, 4, vocabulary))
        assert sum(held) == steps * batch * vocabulary
        assert max(held) <= max(loss.NUMBERS, loss.ROWS * vocabulary) < steps * batch * vocabulary


def test_numbers_in_bfloat16_are_added_up_in_float32() -> None:
    given = arguments(64, 32, 5, 7, mask=True)
    narrow = {key: value.bfloat16() if value.is_floating_point() else value for key, value in given.items()}
    wide = {key: value.double() if value.is_floating_point() else value for key, value in narrow.items()}
    got, true = run(kernels.cross_entropy, narrow, torch.bfloat16), run(reference.cross_entropy, wide, torch.float64)
    for one, two in zip(got, true, strict=True):
        assert one.dtype == torch.bfloat16
        # half of the last place, and no more: of 2048 numbers added in bfloat16 most would be lost
        torch.testing.assert_close(one.double(), two, rtol=2**-8, atol=2**-8)


def test_a_target_of_no_chance_costs_what_it_should() -> None:
    """200 nats are no infinity: the loss is no logarithm of a probability that is zero in float32."""
    given = {"hidden": torch.tensor([[200.0]]), "weight": torch.tensor([[1.0], [0.0]]), "bias": None}
    assert kernels.cross_entropy(**given, targets=torch.tensor([1])) == 200.0
    assert kernels.cross_entropy(**given, targets=torch.tensor([0])) == 0.0
    lost = {**given, "hidden": torch.tensor([[float("nan")]])}
    assert kernels.cross_entropy(**lost, targets=torch.tensor([0])).isnan()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"targets": torch.tensor([[0, 1], [2, 4]])}, r"out of range\. Got: 0 to 4\. Expected: 0 to 3"),
        ({"targets": torch.tensor([[0, 1], [2, -100]])}, r"out of range\. Got: -100 to 2\. Expected: 0 to 3"),
        ({"targets": torch.tensor([[0, 1]])}, r"'targets' has the wrong shape\. Got: \(1, 2\)\. Expected: \(2, 2\)"),
        ({"targets": torch.zeros(2, 2)}, r"targets are wrong\. Got: torch.float32\. Expected: torch.int64"),
        ({"bias": torch.zeros(3)}, r"'bias' has the wrong shape\. Got: \(3,\)\. Expected: \(4,\)"),
        ({"mask": torch.ones(1, 3)}, r"'mask' has the wrong shape\. Got: \(1, 3\)\. Expected: \(2, 3\)"),
        ({"hidden": torch.zeros(2, 2, 5)}, r"'hidden' has the wrong shape\. Got: \(2, 2, 5\)\. Expected: \(2, 2, 3\)"),
        ({"weight": torch.zeros(3)}, r"'hidden' or 'weight' is wrong\. Got: \(2, 2, 3\) and \(3,\)"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Tensor], match: str) -> None:
    with pytest.raises(DataError, match=match):
        kernels.cross_entropy(**{**arguments(2, 2, 3, 4), **change})


def test_compiled_whole() -> None:
    def mean(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        return kernels.cross_entropy(hidden.tanh(), weight, bias, targets) / targets.numel()

    compiled = torch.compile(mean, fullgraph=True, backend="aot_eager", dynamic=True)
    for steps, batch in ((5, 2), (7, 3)):
        given = arguments(steps, batch, 5, 7)
        del given["mask"]
        for got, true in zip(run(compiled, given, torch.float32), run(mean, given, torch.float32), strict=True):
            assert_close(got, true, "gradients")


def test_the_operation_is_well_made() -> None:
    """torch's own check of an operation: schema, shapes without data, gradient registration, tracing."""
    given = {
        key: value.float() if value.is_floating_point() else value
        for key, value in arguments(3, 2, 5, 4, mask=True).items()
    }
    for asked in ((True, True, True), (True, False, False), (False, False, False)):
        inputs = [given[key].clone().requires_grad_(need) for key, need in zip(DIFFERENTIABLE, asked, strict=True)]
        torch.library.opcheck(
            torch.ops.recurra.cross_entropy.default, (*inputs, given["targets"], given["mask"], *asked)
        )
