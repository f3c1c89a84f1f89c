"""What each way of multiplying costs: Triton layers against a loop whose products round their operands, and against float64.

Products round what they multiply (to 8 bits of bfloat16, 11 of float16 and tf32); sums and the carried state are float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gpu_calls import cast, complete, shares
from interpreted import round_as_a_device
from recurra.kernels import KERNELS, reference
from recurra.kernels.derived import derived_gradient
from recurra.kernels.reference import project
from test_kernels import arguments
from tolerances import assert_close

pytest.importorskip("triton", reason="Triton is made for Linux alone")

from recurra.kernels.gpu import layers
from recurra.kernels.gpu.layers import PROJECTED, Way
from recurra.kernels.gpu.resident_shares import Resident
from recurra.kernels.gpu.shares import Shares

round_as_a_device()
ALONE = Way()
PARTS = Way(Resident(parts=3, units=16, chunk=32, chunks=2, split=2))
READ = Way(Shares(parts=3, units=16, depth=64))
Rounding = Callable[[Tensor], Tensor]
CASES = [
    pytest.param(name, dtype, way, id=f"{name}, {str(dtype).removeprefix('torch.')}, {how}")
    for name, dtype, way, how in (
        ("elman", torch.bfloat16, ALONE, "alone"), ("gru", torch.bfloat16, ALONE, "alone"),
        ("lstm", torch.bfloat16, ALONE, "alone"), ("gru", torch.bfloat16, PARTS, "parts"),
        ("lstm", torch.bfloat16, PARTS, "parts"), ("lstm", torch.bfloat16, READ, "read"),
        ("gru", torch.float16, PARTS, "parts"), ("lstm", torch.float16, ALONE, "alone"),
    )
]  # fmt: skip


@pytest.fixture
def high() -> Iterator[None]:
    """float32 is multiplied as tf32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision(before)


def to_tf32(value: Tensor) -> Tensor:
    """The nearest numbers that have eleven bits, ties away from zero."""
    bits = value.float().view(torch.int32)
    return torch.where(value == value, ((bits + 0x1000) & -8192).view(torch.float32), value).double()


def in_narrow(dtype: torch.dtype) -> Rounding:
    return lambda value: value.to(dtype).double()


def with_rounded_products(name: str, given: dict[str, Any], rounding: Rounding) -> tuple[Tensor, Tensor]:
    """(outputs, last h) of the plain loop in float64, but for what products multiply."""
    exact = cast(given, torch.float64)
    sums, weight = project(*(given[key] for key in PROJECTED)).double(), rounding(exact["weight"])
    h: Tensor = exact["h"]
    c: Tensor = exact["c"] if name == "lstm" else h
    mask, lengths, resets = exact["mask"], given["lengths"], given["resets"]
    outputs = torch.zeros(*sums.shape[:2], h.shape[1], dtype=torch.float64)
    for t in range(len(sums)):
        alive = torch.ones(len(h), dtype=torch.bool) if lengths is None else t < lengths
        goes_on = alive if resets is None else alive & ~resets[t]
        was, was_c = (state * goes_on[:, None] for state in (h, c))
        products = rounding(was if mask is None else was * mask) @ weight.T
        if name == "elman":
            new = torch.tanh(sums[t] + products)
        elif name == "gru":
            (x_r, x_z, x_n), (r, z, n) = sums[t].chunk(3, 1), products.chunk(3, 1)
            r, z = torch.sigmoid(x_r + r), torch.sigmoid(x_z + z)
            n = torch.tanh(x_n + r * (n + (0.0 if exact["bias"] is None else exact["bias"])))
            new = (1 - z) * n + z * was
        else:
            i, f, g, o = (sums[t] + products).chunk(4, 1)
            new_c = torch.sigmoid(f) * was_c + torch.sigmoid(i) * torch.tanh(g)
            new = torch.sigmoid(o) * torch.tanh(new_c)
            c = torch.where(alive[:, None], new_c, c)
        h = torch.where(alive[:, None], new, h)
        outputs[t] = new * alive[:, None]
    return outputs, h


@pytest.mark.parametrize(("name", "dtype", "way"), CASES)
def test_16_bits_are_multiplied_as_they_are_and_carried_in_float32(name: str, dtype: torch.dtype, way: Way) -> None:
    """A result in 16 bits is rounded once, so it tells the rounding of products from all others."""
    hidden = 5 if way is ALONE else 33
    given = cast(complete(name, arguments(name, 4, 2, hidden, lengths=True, resets=True, mask=True)), dtype)
    outputs, last = with_rounded_products(name, given, in_narrow(dtype))
    results = layers.forward(name, given, way)
    assert all(result.dtype == dtype for result in results)
    assert_close(results[0], outputs)
    assert_close(results[1], last)


@pytest.mark.usefixtures("high")
@pytest.mark.parametrize("way", [ALONE, PARTS], ids=["alone", "parts"])
@pytest.mark.parametrize("name", KERNELS)
def test_tf32_rounds_to_the_nearest(name: str, way: Way) -> None:
    hidden = 5 if way is ALONE else 33
    given = cast(complete(name, arguments(name, 4, 2, hidden, lengths=True, resets=True, mask=True)), torch.float32)
    outputs, last = with_rounded_products(name, given, to_tf32)
    results = layers.forward(name, given, way)
    assert_close(results[0], outputs)
    assert_close(results[1], last)


@pytest.mark.parametrize(("name", "dtype", "way"), CASES)
def test_gradients_in_16_bits(name: str, dtype: torch.dtype, way: Way) -> None:
    hidden = 5 if way is ALONE else 33
    more = {"inputs": 3, "bias_in": True} if way is ALONE else {}
    given = cast(complete(name, arguments(name, 3, 2, hidden, lengths=True, resets=True, mask=True, **more)), dtype)
    exact, kernel = cast(given, torch.float64), KERNELS[name]
    truth = getattr(reference, name)(**exact)
    grads: list[Tensor | None] = [shares(result) for result in truth]
    grads[len(grads) - kernel.saved] = None
    wanted = [key for key in kernel.differentiable if exact[key] is not None]
    true_gradients = derived_gradient(getattr(reference, name), wanted, exact, grads)
    results = layers.forward(name, given, way)
    names = [f"grad_{part.split()[-1]}" for part in kernel.results.split(", ")]
    arrived = {key: None if grad is None else grad.to(dtype) for key, grad in zip(names, grads, strict=True)}
    kept = {"outputs": results[0], "gates": results[len(results) - kernel.saved], "cells": results[-1]}
    found = layers.backward(name, arrived, given, kept, True, way)
    for key in wanted:
        assert found[key].dtype == dtype
        assert_close(found[key], true_gradients[key], "gradients")


# (way, dtype, precision, bits of operands that are rounded, how many of the two are): the error of a product of n pairs is at
# most 2^-bits times what the sizes of its terms add up to, for each rounded operand
MODES = [
    ("tf32x3", torch.float32, "highest", 19, 1),
    ("tf32", torch.float32, "high", 11, 2),
    ("bfloat16", torch.bfloat16, "highest", 8, 1),
    ("float16", torch.float16, "highest", 11, 1),
]


@pytest.mark.parametrize("way", [ALONE, PARTS], ids=["alone", "parts"])
@pytest.mark.parametrize(("mode", "dtype", "precision", "bits", "rounded"), MODES, ids=[mode[0] for mode in MODES])
def test_the_error_of_a_product(
    mode: str, dtype: torch.dtype, precision: str, bits: int, rounded: int, way: Way
) -> None:
    """One step of an Elman without activation hands the product out; a state that a mask scaled has more than 16 bits."""
    hidden = 16 if way is ALONE else 33
    given = cast(complete("elman", arguments("elman", 1, 16, hidden, mask=True, activation="identity")), dtype)
    given["x"] = torch.zeros_like(given["x"])
    h, w = given["h"].double() * given["mask"].double(), given["weight"].double()
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        outputs = layers.forward("elman", given, way)[0][0].double()
    finally:
        torch.set_float32_matmul_precision(before)
    error, size = (outputs - h @ w.T).abs(), h.abs() @ w.abs().T
    own_rounding = outputs.abs() * 2.0 ** -(8 if dtype == torch.bfloat16 else 11 if dtype == torch.float16 else 22)
    bound = rounded * size * 2.0**-bits + own_rounding
    assert bool((error <= bound).all())
    if mode != "tf32x3":
        assert float((error / bound).max()) > 0.05  # (something was rounded)


@pytest.mark.parametrize("way", [ALONE, PARTS, READ], ids=["alone", "parts", "read"])
def test_three_products_of_tf32_at_their_worst(way: Way) -> None:
    """All bits that are left out are set: 13 bits of either number, of which the device cuts off two, and their product."""
    hidden, worst = 16 if way is ALONE else 33, 1 + 2**-10 - 2**-23
    given = cast(complete("elman", arguments("elman", 1, 2, hidden, activation="identity")), torch.float32)
    given["x"] = torch.zeros_like(given["x"])
    given["h"], given["weight"] = torch.full_like(given["h"], worst), torch.full_like(given["weight"], worst)
    share = 1 - layers.forward("elman", given, way)[0].double() / (worst * worst * hidden)
    assert bool((share <= 2**-19).all()) and bool((share > 2**-20).all())


@pytest.mark.parametrize("name", KERNELS)
def test_bfloat16_is_at_least_as_exact_as_a_cell_of_torch(name: str) -> None:
    """Both against the same cell in float64, by the root of the mean square over outputs of 40 steps."""
    torch.manual_seed(3)
    cell: Any = {"elman": nn.RNNCell, "gru": nn.GRUCell, "lstm": nn.LSTMCell}[name](8, 32)
    x, h = torch.randn(40, 4, 8).bfloat16(), torch.zeros(4, 32)
    # (two biases that torch adds up are not to be rounded once more here)
    cell.bias_hh.data[: 64 if name == "gru" else None] = 0.0

    def through(dtype: torch.dtype) -> Tensor:
        cell.to(dtype)
        state, outputs = ((h, h) if name == "lstm" else (h,)), []
        state = [value.to(dtype) for value in state]
        for step in x.to(dtype):
            after = cell(step, tuple(state) if name == "lstm" else state[0])
            state = list(after) if name == "lstm" else [after]
            outputs.append(state[0])
        return torch.stack(outputs)

    with torch.no_grad():
        theirs, truth = through(torch.bfloat16), through(torch.float64)
        known = {key: value.detach().bfloat16() for key, value in cell.named_parameters()}
        given = {
            "x": x, "weight_in": known["weight_ih"], "weight": known["weight_hh"], "bias_in": known["bias_ih"],
            "bias": known["bias_hh"][64:], "h": h.bfloat16(), "c": h.bfloat16(),
        }  # fmt: skip
        ours = layers.forward(name, complete(name, given))[0]
    error, of_torch = (float((value.double() - truth).square().mean().sqrt()) for value in (ours, theirs))
    assert error <= of_torch
