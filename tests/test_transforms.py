"""Derivatives and batches of every kind: torch.func, forward mode, batched gradients; over kernels, cells and models.

What comes out is compared with plain loops over ordinary calls, or with finite differences.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, func, nn
from torch.autograd import forward_ad

from networks import CODEC, HIDDEN, INPUTS, NETWORKS, Network
from recurra import kernels
from recurra.cells import CELLS
from recurra.errors import DataError
from recurra.kernels import KERNELS, backend, native, reference, transforms
from recurra.state import map_state
from test_kernels import arguments
from tolerances import assert_close

# torch itself, the first time that forward mode is used
pytestmark = pytest.mark.filterwarnings(r"ignore:.torch\.jit\.script. is deprecated:DeprecationWarning")

OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("elman", {"inputs": 2, "bias_in": True}),
    ("elman", {"symbols": 3, "reverse": True}),
    ("gru", {"inputs": 2, "bias_in": True}),
    ("gru", {"symbols": 3, "inputs": 2, "reset_after": False}),
    ("lstm", {"inputs": 2, "bias_in": True}),
    ("lstm", {"width": 3, "peepholes": True, "reverse": True}),
]


def call_of(name: str, **more: Any) -> tuple[Callable[..., tuple[Tensor, ...]], list[Tensor], dict[str, Any]]:
    """(outputs and states as a function of everything differentiable, its values, all arguments) of a small call."""
    given = arguments(name, 3, 2, 2, **{"lengths": True, "resets": True, **more})
    wanted = [key for key in given if key in KERNELS[name].differentiable]

    def outcome(*values: Tensor) -> tuple[Tensor, ...]:
        results = getattr(kernels, name)(**{**given, **dict(zip(wanted, values, strict=True))})
        return tuple(results[: len(results) - KERNELS[name].saved])

    return outcome, [given[key] for key in wanted], given


def loss_of(name: str, more: dict[str, Any]) -> tuple[Callable[..., Tensor], list[Tensor]]:
    outcome, values, _ = call_of(name, **more)
    return lambda *given: sum((result.sin().sum() for result in outcome(*given)), torch.zeros(())), values


def same(actual: Any, expected: Any, what: str = "gradients") -> None:
    if isinstance(actual, Tensor):
        assert_close(actual.detach(), expected.detach(), what)
        return
    for one, other in zip(actual, expected, strict=True):
        same(one, other, what)


@pytest.mark.parametrize(("name", "more"), OPTIONS)
def test_gradcheck_in_every_mode(name: str, more: dict[str, Any]) -> None:
    outcome, values, _ = call_of(name, **more)
    leaves = [value.clone().requires_grad_() for value in values]
    assert torch.autograd.gradcheck(
        outcome, leaves, check_batched_grad=True, check_forward_ad=True, check_batched_forward_grad=True
    )
    assert torch.autograd.gradgradcheck(outcome, leaves, check_batched_grad=True, check_fwd_over_rev=True)


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize(("name", "more"), OPTIONS)
def test_gradients_of_torch_func(name: str, more: dict[str, Any], recorded: bool) -> None:
    loss, values = loss_of(name, more)
    leaves = [value.clone().requires_grad_() for value in values]
    expected = torch.autograd.grad(loss(*leaves), leaves)
    everything = tuple(range(len(values)))
    with torch.set_grad_enabled(recorded):
        same(func.grad(loss, everything)(*values), expected)
        value, backwards = func.vjp(loss, *values)  # pyright: ignore[reportAssignmentType]
        same(value, loss(*values), "values")
        same(backwards(torch.ones_like(value)), expected)
        same(func.jacrev(loss, everything)(*values), expected)
        same(func.jacfwd(loss, everything)(*values), expected)
        tangents = tuple(value.cos() for value in values)
        along = func.jvp(loss, tuple(values), tangents)[1]
        slope = sum(((g * t).sum() for g, t in zip(expected, tangents, strict=True)), torch.zeros(()))
        same(along, slope)


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("name", KERNELS)
def test_forward_mode(name: str, recorded: bool) -> None:
    outcome, values, _ = call_of(name, inputs=2)
    tangents = [value.cos() for value in values]
    expected = torch.autograd.functional.jvp(outcome, tuple(values), tuple(tangents))[1]
    with torch.set_grad_enabled(recorded), forward_ad.dual_level():
        results = outcome(*map(forward_ad.make_dual, values, tangents))
        same([forward_ad.unpack_dual(result).tangent for result in results], expected)
        # a call that no tangent takes part in is none of its business
        assert all(forward_ad.unpack_dual(result).tangent is None for result in outcome(*values))


@pytest.mark.parametrize("name", KERNELS)
def test_a_tangent_that_only_the_gradient_has(name: str) -> None:
    outcome, values, _ = call_of(name, inputs=2)
    leaves = [value.clone().requires_grad_() for value in values]
    outputs = outcome(*leaves)[0]
    direction, tangent = torch.randn_like(outputs), torch.randn_like(outputs)
    expected = torch.autograd.grad(outputs, leaves, tangent, retain_graph=True)
    with forward_ad.dual_level():
        found = torch.autograd.grad(outputs, leaves, forward_ad.make_dual(direction, tangent))
        same([forward_ad.unpack_dual(gradient).tangent for gradient in found], expected)


@pytest.mark.parametrize(("name", "more"), OPTIONS)
def test_second_derivatives(name: str, more: dict[str, Any]) -> None:
    loss, values = loss_of(name, more)
    expected = torch.autograd.functional.hessian(lambda w: loss(*values[:2], w, *values[3:]), values[2])
    same(func.hessian(loss, 2)(*values), expected)
    same(func.jacfwd(func.jacfwd(loss, 2), 2)(*values), expected)
    same(func.jacrev(func.jacrev(loss, 2), 2)(*values), expected)


@pytest.mark.parametrize("name", KERNELS)
def test_batched_gradients_of_a_recorded_call(name: str) -> None:
    """The call is an ordinary one, so its gradient is the native one, once for each of the batch."""
    outcome, values, _ = call_of(name, inputs=2)
    leaves = [value.clone().requires_grad_() for value in values]
    outputs = outcome(*leaves)[0]
    directions = torch.randn(4, *outputs.shape, dtype=outputs.dtype)
    for create_graph in (False, True):
        found = torch.autograd.grad(
            outputs, leaves, directions, is_grads_batched=True, retain_graph=True, create_graph=create_graph
        )
        one_by_one = [torch.autograd.grad(outputs, leaves, each, retain_graph=True) for each in directions]
        same(found, [torch.stack(parts) for parts in zip(*one_by_one, strict=True)])
        assert all(gradient.requires_grad == create_graph for gradient in found)
        given = {"retain_graph": True, "create_graph": create_graph}
        same(
            func.vmap(lambda each, given=given: torch.autograd.grad(outputs, leaves, each, **given))(directions), found
        )


@pytest.mark.parametrize("chosen", ["native", "reference"])
@pytest.mark.parametrize("name", KERNELS)
def test_batched_gradients_through_the_gates(name: str, chosen: str) -> None:
    """What the native gradient does not know; and not every argument takes part."""
    _, _, given = call_of(name, inputs=2)
    weight = given["weight"].clone().requires_grad_()
    with backend(chosen):
        results = getattr(kernels, name)(**{**given, "weight": weight}, keep=True)
        for result in (results[0], results[-KERNELS[name].saved]):
            directions = torch.randn(3, *result.shape, dtype=result.dtype)
            each = torch.stack([torch.autograd.grad(result, weight, one, retain_graph=True)[0] for one in directions])
            for create_graph in (False, True):
                given_too = {"retain_graph": True, "create_graph": create_graph}
                mapped = func.vmap(
                    lambda one, result=result, more=given_too: torch.autograd.grad(result, weight, one, **more)
                )
                same(mapped(directions), [each])


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("strategy", ["reverse-mode", "forward-mode"])
def test_vectorised_jacobians(name: str, strategy: str) -> None:
    outcome, values, _ = call_of(name, inputs=2)
    expected = torch.autograd.functional.jacobian(outcome, tuple(values))
    found = torch.autograd.functional.jacobian(outcome, tuple(values), vectorize=True, strategy=strategy)
    same(found, expected)


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize(("name", "more"), OPTIONS)
def test_vmap_over_every_argument(name: str, more: dict[str, Any], recorded: bool) -> None:
    """Each argument by itself is batched, and all of them are: lengths, resets and tokens too."""
    calls = [arguments(name, 3, 2, 2, seed=seed, **{"lengths": True, "resets": True, **more}) for seed in range(3)]
    tensors = [key for key, value in calls[0].items() if isinstance(value, Tensor)]
    stacked = {key: torch.stack([call[key] for call in calls]) for key in tensors}
    kernel = getattr(kernels, name)
    with torch.set_grad_enabled(recorded):
        for batched in (*([key] for key in tensors), tensors):
            mapped = func.vmap(lambda part: kernel(**{**calls[0], **part}, keep=True))
            found = mapped({key: stacked[key] for key in batched})
            each = [kernel(**{**calls[0], **{key: call[key] for key in batched}}, keep=True) for call in calls]
            same(found, [torch.stack(parts) for parts in zip(*each, strict=True)], "values")


@pytest.mark.parametrize("name", KERNELS)
def test_the_operation_itself_has_a_batching_rule(name: str) -> None:
    """For calls in which torch finds a batch where none could be seen; arguments batched along any axis, or None."""
    _, _, given = call_of(name)
    operation = getattr(torch.ops.recurra, name)
    plain = {"activation": "tanh", "reset_after": True, "reverse": False, "keep": True}
    values: list[Any] = [given.get(key, plain.get(key)) for key in KERNELS[name].names]
    mapped = func.vmap(lambda x, h: operation(x, h, *values[2:]), in_dims=(1, -1), out_dims=1)
    found = mapped(torch.stack([values[0], -values[0]], dim=1), torch.stack([values[1], -values[1]], dim=-1))
    each = [operation(sign * values[0], sign * values[1], *values[2:]) for sign in (1, -1)]
    same(found, [torch.stack(parts, dim=1) for parts in zip(*each, strict=True)], "values")


def test_a_batching_rule_goes_through_lists() -> None:
    def operation(parts: list[Tensor], nothing: None, scale: float) -> tuple[Tensor, list[Tensor]]:
        return parts[0] * scale, [parts[1], parts[0]]

    class Info:
        batch_size = 2

    a, b = torch.randn(2, 3), torch.randn(3)
    found, dims = transforms.one_by_one(operation)(Info, ([0, None], None, None), [a, b], None, 2.0)
    assert dims == (0, [0, 0])
    assert torch.equal(found[0], 2 * a) and torch.equal(found[1][0], b.expand(2, 3)) and torch.equal(found[1][1], a)


def test_what_a_transform_does_not_touch_is_run_as_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside of a transform, a call on plain tensors only; its gradient goes to whoever records it outside."""
    outcome, values, _ = call_of("gru", inputs=2)
    weight = values[2].clone().requires_grad_()
    (expected,) = torch.autograd.grad(outcome(*values[:2], weight, *values[3:])[0].sum(), weight)
    monkeypatch.setattr(reference, "gru", None)
    scale = torch.tensor(3.0, dtype=torch.float64)

    def scaled(scale: Tensor) -> Tensor:
        return (outcome(*values[:2], weight, *values[3:])[0] * scale).sum()

    for value in (
        func.grad(scaled)(scale),
        func.jvp(scaled, (scale,), (torch.ones_like(scale),))[1],
        func.vmap(scaled)(scale[None] ** 0).sum(),
    ):
        same(torch.autograd.grad(value, weight), (expected,))


# ---- head and loss


def test_linear_under_transforms() -> None:
    x, weight, bias = (torch.randn(*shape, dtype=torch.float64) for shape in ((3, 4, 5), (2, 5), (2,)))
    with torch.no_grad():
        same(func.vmap(kernels.linear, (0, None, None))(x, weight, bias), kernels.linear(x, weight, bias), "values")
        found = func.jacfwd(kernels.linear, 1)(x[0, 0], weight, bias)
        same(found, torch.autograd.functional.jacobian(lambda w: kernels.linear(x[0, 0], w, bias), weight))
        found = func.vmap(torch.ops.recurra.linear, (0, None, None))(x, weight, bias)
        assert torch.equal(found, kernels.linear(x, weight, bias))


@pytest.mark.parametrize("masked", [False, True])
def test_the_loss_under_transforms(masked: bool) -> None:
    hidden, weight, bias = (torch.randn(*shape, dtype=torch.float64) for shape in ((3, 2, 4), (5, 4), (5,)))
    targets = torch.randint(0, 5, (3, 2))
    mask = torch.rand(2, 4, dtype=torch.float64) if masked else None

    def loss(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return kernels.cross_entropy(hidden, weight, bias, targets, mask)

    values = (hidden, weight, bias)
    leaves = [value.clone().requires_grad_() for value in values]
    expected = torch.autograd.grad(loss(*leaves), leaves)
    for recorded in (True, False):
        with torch.set_grad_enabled(recorded):
            same(func.grad(loss, (0, 1, 2))(*values), expected)
            same(func.jacfwd(loss, (0, 1, 2))(*values), expected)
    assert torch.autograd.gradcheck(
        loss, leaves, check_batched_grad=True, check_forward_ad=True, check_batched_forward_grad=True
    )
    assert torch.autograd.gradgradcheck(loss, leaves, check_batched_grad=True, check_fwd_over_rev=True)
    same(func.hessian(loss, 1)(*values), torch.autograd.functional.hessian(lambda w: loss(hidden, w, bias), weight))
    per_row = func.vmap(kernels.cross_entropy, (0, None, None, 0))(hidden, weight, bias, targets)
    each = [kernels.cross_entropy(h, weight, bias, t) for h, t in zip(hidden, targets, strict=True)]
    same(per_row, torch.stack(each), "values")


def test_the_loss_is_batched_where_it_was_recorded() -> None:
    weight = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    loss = kernels.cross_entropy(torch.randn(3, 4, dtype=torch.float64), weight, None, torch.tensor([0, 4, 2]))
    (one,) = torch.autograd.grad(loss, weight, retain_graph=True)
    scales = torch.tensor([1.0, 2.0, -3.0], dtype=torch.float64)
    (found,) = torch.autograd.grad(loss, weight, scales, is_grads_batched=True, retain_graph=True)
    same(found, scales[:, None, None] * one)
    with forward_ad.dual_level():
        (dual,) = torch.autograd.grad(
            loss, weight, forward_ad.make_dual(torch.ones_like(loss), 2 * torch.ones_like(loss))
        )
        same(forward_ad.unpack_dual(dual).tangent, 2 * one)


def test_the_loss_refuses_wrong_shapes_in_a_transform_too() -> None:
    hidden, weight = torch.randn(3, 2, 4), torch.randn(5, 4)
    with pytest.raises(DataError, match="'targets' has the wrong shape"):
        func.grad(kernels.cross_entropy)(hidden, weight, None, torch.zeros(3, 1, dtype=torch.int64))


# ---- cells, stacks and models

PER_STEP = [network for network in NETWORKS if not network.tokens and not network.batch_first]
# what fills missing values has no parameters to make several of
WITH_PARAMETERS = [network for network in PER_STEP if not network.name.startswith("filling")]


def run_of(network: Network, built: nn.Module, steps: int, batch: int) -> Callable[..., Tensor]:
    """(parameters, inputs, lengths) -> outputs of a network from its initial state."""

    def run(parameters: dict[str, Tensor], inputs: Tensor, lengths: Tensor) -> Tensor:
        state = map_state(lambda leaf: leaf.to(torch.float64), built.initial_state(batch))  # pyright: ignore
        return func.functional_call(built, parameters, (inputs, state, lengths))[0]

    return run


@pytest.mark.parametrize("network", WITH_PARAMETERS, ids=lambda network: network.name)
def test_an_ensemble_and_the_gradients_of_each_sample(network: Network) -> None:
    """Stacked parameters as one network, and a gradient for each sample, its own length included."""
    first = network.build(torch.float64)
    second = copy.deepcopy(first)
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.mul_(-0.7)
    parameters, _ = func.stack_module_state([first, second])
    run = run_of(network, first, 4, 1)
    inputs = network.inputs(4, 3, torch.float64)
    samples, lengths = inputs.transpose(0, 1)[:, :, None], torch.tensor([[4], [2], [0]])
    own = [dict(one.named_parameters()) for one in (first, second)]

    with torch.no_grad():
        found = func.vmap(run, (0, None, None))(parameters, samples[0], lengths[0])
        same(found, torch.stack([run(each, samples[0], lengths[0]) for each in own]), "values")

    def loss(parameters: dict[str, Tensor], inputs: Tensor, lengths: Tensor) -> Tensor:
        return run(parameters, inputs, lengths).square().sum()

    detached = {name: value.detach() for name, value in own[0].items()}
    each = func.vmap(func.grad(loss), (None, 0, 0))(detached, samples, lengths)
    for index in range(3):
        value = loss(own[0], samples[index], lengths[index])
        expected = torch.autograd.grad(value, list(own[0].values()))
        same([each[name][index] for name in own[0]], expected)


def test_lengths_out_of_range_are_still_refused_where_they_can_be_seen() -> None:
    cell = CELLS["gru"](INPUTS, HIDDEN)
    inputs, lengths = torch.randn(4, 2, INPUTS), torch.tensor([5, 1])
    with pytest.raises(DataError, match="out of range"):
        func.grad(lambda x: cell(x, cell.initial_state(2), lengths)[0].sum())(inputs)


def test_ensembles_and_sample_gradients_of_a_language_model() -> None:
    network = next(each for each in NETWORKS if each.name == "language-gru")
    model = network.build(torch.float64)
    tokens = torch.randint(0, CODEC.size, (3, 5))
    own = dict(model.named_parameters())

    def loss(parameters: dict[str, Tensor], tokens: Tensor) -> Tensor:
        logits = func.functional_call(model, parameters, (tokens[None],))[0]
        return logits.log_softmax(dim=-1)[..., 0].sum()

    each = func.vmap(func.grad(loss), (None, 0))({name: value.detach() for name, value in own.items()}, tokens)
    for index, row in enumerate(tokens):
        same([each[name][index] for name in own], torch.autograd.grad(loss(own, row), list(own.values())))
    stacked, _ = func.stack_module_state([model, model])
    found = func.vmap(loss, (0, None))(stacked, tokens[0])
    same(found, loss(own, tokens[0]).expand(2), "values")


@pytest.mark.parametrize("name", CELLS)
def test_forward_mode_of_a_cell_in_inference(name: str) -> None:
    """The short way with packed weights is not taken past a tangent."""
    cell = CELLS[name](INPUTS, HIDDEN).to(torch.float64)
    inputs, tangent = (torch.randn(3, 2, INPUTS, dtype=torch.float64) for _ in range(2))
    state = map_state(lambda leaf: leaf.to(torch.float64), cell.initial_state(2))
    expected = torch.autograd.functional.jvp(lambda x: cell(x, state)[0], inputs, tangent)[1]
    with torch.no_grad(), forward_ad.dual_level():
        outputs = cell(forward_ad.make_dual(inputs, tangent), state)[0]
        same(forward_ad.unpack_dual(outputs).tangent, expected)


@pytest.mark.parametrize("name", ["elman", "gru", "lstm"])
def test_transforms_inside_of_a_compiled_graph(name: str) -> None:
    cell = CELLS[name](INPUTS, HIDDEN).to(torch.float64).requires_grad_(False)
    one, other = (torch.randn(3, 2, INPUTS, dtype=torch.float64) for _ in range(2))
    state = cell.initial_state(2)

    def loss(inputs: Tensor) -> Tensor:
        return cell(inputs, state)[0].square().sum()

    for transform in (
        lambda x, _: func.grad(loss)(x),
        lambda x, y: func.vmap(loss)(torch.stack([x, y])),
        lambda x, y: func.jvp(loss, (x,), (y,))[1],
    ):
        same(torch.compile(transform, fullgraph=True, backend="aot_eager")(one, other), transform(one, other))


# ---- what is asked


def test_a_torch_that_lets_nothing_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the private names ordinary calls are right, and forward mode is too."""
    monkeypatch.setattr(transforms, "_transforming", lambda: False)
    monkeypatch.setattr(transforms, "forward_ad", SimpleNamespace(unpack_dual=forward_ad.unpack_dual))
    outcome, values, _ = call_of("lstm", inputs=2)
    assert transforms.watched() and not transforms.transformed(*values)
    with backend("native"):
        plain = outcome(*values)
    with forward_ad.dual_level(), backend("native"):
        results = outcome(*(forward_ad.make_dual(value, value.cos()) for value in values))
        same(results, plain, "values")
        assert all(forward_ad.unpack_dual(result).tangent is not None for result in results)


def test_asking_costs_nothing_to_speak_of() -> None:
    from timeit import repeat

    assert not transforms.watched()
    assert min(repeat(transforms.watched, number=10_000, repeat=20)) / 10_000 < 1e-6


def test_derivatives_under_the_choice_of_native_are_those_of_the_reference() -> None:
    assert native.usable()
    loss, values = loss_of("gru", {"inputs": 2})
    with backend("native"):
        found = func.grad(loss, 2)(*values)
    with backend("reference"):
        same(found, func.grad(loss, 2)(*values))


# ---- the page about it

PAGE = (Path(__file__).parents[1] / "docs" / "functions.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("heading", re.findall(r"^## (.*)$", PAGE, re.MULTILINE))
def test_what_the_page_shows_runs(heading: str) -> None:
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    (snippet,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    exec(compile(snippet, f"functions.md: {heading}", "exec"), {"__name__": "page"})
