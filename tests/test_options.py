"""Layers with options that have no kernel of their own: as programs of the native loop, against the reference in float64."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from recurra import kernels
from recurra.kernels import ACTIVATIONS, KERNELS, backend, reference
from test_kernels import GATES, OPTIONS, arguments
from tolerances import assert_close

STEPS, BATCH, HIDDEN = 6, 5, 11


def drawn(name: str, seed: int, option: dict[str, Any], **plain: Any) -> dict[str, Any]:
    """Arguments in float64. In `option` "draw" asks for a tensor that fits its name."""
    random = torch.Generator().manual_seed(seed + 100)
    shapes = {
        "norm": (GATES[name] * HIDDEN,),
        "norm_cell": (2, HIDDEN),
        "zoneout": (STEPS, BATCH, plain.get("width") or HIDDEN),
        "zoneout_cell": (STEPS, BATCH, HIDDEN),
    }
    made: dict[str, Any] = dict(option)
    for key, value in option.items():
        if value == "draw":
            made[key] = torch.randn(shapes[key], generator=random, dtype=torch.float64)
            if key.startswith("zoneout"):
                made[key] = (made[key] > 0.3).double()
    return {**arguments(name, STEPS, BATCH, HIDDEN, seed=seed, **plain), **made}


def outcome(name: str, given: dict[str, Any], chosen: str, dtype: torch.dtype) -> tuple[list[Tensor], list[Tensor]]:
    """(results with the gates, gradients of every input); the loss weighs every result."""
    inputs = {
        key: value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
        for key, value in given.items()
    }
    leaves = [
        value.requires_grad_()
        for key, value in inputs.items()
        if isinstance(value, Tensor) and value.is_floating_point() and key != "mask"
    ]
    if chosen == "truth":
        # the equations themselves: no program comes between
        plain: dict[str, Any] = {"activation": "tanh", "reset_after": True, "reverse": False, **inputs, "keep": True}
        classic = [key for key in KERNELS[name].names if key != "activation" or name == "elman"]
        options = {key: value for key, value in inputs.items() if key not in classic}
        results = getattr(reference, name)(*(plain.get(key) for key in classic), **options)
    else:
        with backend(chosen):
            results = getattr(kernels, name)(**inputs, keep=True)
    loss = torch.zeros((), dtype=dtype)
    for result in results:
        weights = torch.cos(torch.arange(result.numel(), dtype=torch.float64)).bfloat16().to(dtype)
        loss = loss + (result * weights.view(result.shape)).sum()
    gradients = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
    return list(results), list(gradients)


NORMED: list[tuple[str, dict[str, Any]]] = [
    ("elman", {"norm": "draw"}),
    ("gru", {"norm": "draw"}),
    ("gru", {"norm": "draw", "reset_after": False}),
    ("lstm", {"norm": "draw"}),
    ("lstm", {"norm": "draw", "norm_cell": "draw"}),
]
OTHERS: list[tuple[str, dict[str, Any]]] = [
    *(("elman", {"activation": name}) for name in ACTIVATIONS),
    ("elman", {"zoneout": "draw"}),
    ("elman", {"zoneout": 0.3, "activation": "relu"}),
    ("gru", {"zoneout": "draw"}),
    ("gru", {"zoneout": 0.3, "reset_after": False}),
    ("gru", {"gate_activation": "hardsigmoid", "activation": "softsign"}),
    ("lstm", {"coupled": True}),
    ("lstm", {"clip": 0.4}),
    ("lstm", {"zoneout": "draw"}),
    ("lstm", {"zoneout_cell": "draw"}),
    ("lstm", {"zoneout": "draw", "zoneout_cell": "draw"}),
    ("lstm", {"zoneout": 0.1, "zoneout_cell": 0.3}),
    ("lstm", {"gate_activation": "hardsigmoid", "activation": "softsign"}),
    ("lstm", {"coupled": True, "clip": 0.4, "zoneout_cell": 0.2}),
]


def _id(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    return "+".join(f"{key}={each}" for key, each in value.items())


@pytest.mark.parametrize(("name", "option"), [*NORMED, *OTHERS], ids=_id)
def test_an_option_equals_the_reference(name: str, option: dict[str, Any]) -> None:
    extras: list[dict[str, Any]] = [{}, {"inputs": 4, "bias_in": True}, {"symbols": 5, "inputs": 4}]
    if name == "lstm":
        extras += [{"peepholes": True, "width": 5}]
    for seed, (options, extra) in enumerate(itertools.product(OPTIONS[:: 5 if name == "elman" else 3], extras)):
        given = drawn(name, seed, option, **options, **extra)
        if "norm" in option and "width" in extra:
            given["norm"] = given["norm"].contiguous()
        truth, true_gradients = outcome(name, given, "truth", torch.float64)
        for chosen in ("native", "reference"):
            results, gradients = outcome(name, given, chosen, torch.float64)
            for got, true in zip(results, truth, strict=True):
                assert_close(got, true)
            for got, true in zip(gradients, true_gradients, strict=True):
                assert_close(got, true, "gradients")


@pytest.mark.parametrize(("name", "option"), OTHERS, ids=_id)
def test_an_option_in_single_precision(name: str, option: dict[str, Any]) -> None:
    given = drawn(name, 3, option, lengths=True, resets=True, inputs=4, bias_in=True)
    truth, true_gradients = outcome(name, given, "truth", torch.float64)
    results, gradients = outcome(name, given, "native", torch.float32)
    for got, true in zip(results, truth, strict=True):
        assert_close(got, true)
    for got, true in zip(gradients, true_gradients, strict=True):
        assert_close(got, true, "gradients")


@pytest.mark.parametrize(("name", "option"), NORMED, ids=_id)
def test_a_norm_in_single_precision_is_as_exact_as_torch(name: str, option: dict[str, Any]) -> None:
    """A norm divides by a spread that may be small, so single precision loses as much in torch: no more than that here."""
    given = drawn(name, 3, option, lengths=True, resets=True, inputs=4, bias_in=True)
    truth, true_gradients = outcome(name, given, "truth", torch.float64)
    plain, plain_gradients = outcome(name, given, "truth", torch.float32)
    results, gradients = outcome(name, given, "native", torch.float32)
    pairs = zip([*results, *gradients], [*plain, *plain_gradients], [*truth, *true_gradients], strict=True)
    for got, torchs, true in pairs:
        scale = true.abs().max()
        assert (got - true).abs().max() <= 4 * (torchs - true).abs().max() + 1e-6 * scale


@pytest.mark.parametrize(("name", "option"), [NORMED[4], OTHERS[-5], OTHERS[-1], OTHERS[13]], ids=_id)
@pytest.mark.parametrize("order", ["first", "second"])
def test_gradients_of_every_order(name: str, option: dict[str, Any], order: str) -> None:
    given = {key: value for key, value in drawn(name, 1, option, lengths=True).items() if key != "mask"}
    given["x"] = given["x"][:3]
    given["lengths"] = given["lengths"].clamp(max=3)
    given |= {key: given[key][:3] for key in ("zoneout", "zoneout_cell") if isinstance(given.get(key), Tensor)}
    wanted = [key for key in given if isinstance(given[key], Tensor) and given[key].is_floating_point()]
    leaves = [given[key].clone().requires_grad_() for key in wanted]

    def results(*values: Tensor) -> Any:
        return getattr(kernels, name)(**{**given, **dict(zip(wanted, values, strict=True))})[:2]

    check = torch.autograd.gradcheck if order == "first" else torch.autograd.gradgradcheck
    assert check(results, leaves, fast_mode=True)


@pytest.mark.parametrize(("name", "option"), [NORMED[4], OTHERS[-1], ("gru", {"zoneout": 0.3})], ids=_id)
def test_cuts_rows_and_threads_change_no_bit(name: str, option: dict[str, Any]) -> None:
    given = drawn(name, 2, option, inputs=4, bias_in=True)
    given = {key: value.float() if isinstance(value, Tensor) else value for key, value in given.items()}
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        whole = getattr(kernels, name)(**given)
        torch.set_num_threads(1)
        assert all(torch.equal(a, b) for a, b in zip(whole, getattr(kernels, name)(**given), strict=True))
    finally:
        torch.set_num_threads(before)
    state = {"h": given["h"], **({"c": given["c"]} if name == "lstm" else {})}
    pieces = []
    for x in given["x"].split([1, 3, 2]):
        results = getattr(kernels, name)(**{**given, **state, "x": x})
        pieces.append(results[0])
        state = dict(zip(state, results[1:], strict=False))
    assert torch.equal(torch.cat(pieces), whole[0])
    assert torch.equal(state["h"], whole[1])
    for row in range(BATCH):
        alone = {**given, **{key: given[key][row : row + 1] for key in state}, "x": given["x"][:, row : row + 1]}
        assert torch.equal(getattr(kernels, name)(**alone)[0], whole[0][:, row : row + 1])


def test_compiled_whole_with_free_sizes() -> None:
    weight, weight_in, norm = torch.randn(16, 4), torch.randn(16, 3), torch.randn(16)

    def run(x: Tensor, h: Tensor) -> Tensor:
        return kernels.lstm(x, h, h, weight, weight_in=weight_in, norm=norm, coupled=True, clip=1.0)[0]

    compiled = torch.compile(run, fullgraph=True, backend="aot_eager", dynamic=True)
    for steps, batch in ((4, 3), (6, 2)):
        x, h = torch.randn(steps, batch, 3, requires_grad=True), torch.randn(batch, 4)
        (expected,) = torch.autograd.grad(run(x, h).square().sum(), x)
        assert_close(compiled(x, h), run(x, h))
        (got,) = torch.autograd.grad(compiled(x, h).square().sum(), x)
        assert_close(got, expected, "gradients")
