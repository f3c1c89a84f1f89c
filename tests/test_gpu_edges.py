"""Kernels for GPUs at the edges: what is no number stays none, infinities, and lengths beyond the last step."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gpu_calls import cast, complete
from interpreted import round_as_a_device
from recurra.kernels import reference
from test_kernels import arguments

pytest.importorskip("triton", reason="Triton is made for Linux alone")

from recurra.kernels.gpu import cell_kernels, expressions, layers
from recurra.kernels.gpu.layers import Way
from recurra.kernels.gpu.resident_shares import Resident
from recurra.kernels.gpu.shares import Shares
from recurra.kernels.gpu.writing import write
from recurra.kernels.programs.program import Instruction, Program

round_as_a_device()
OF_A_GPU = torch.tensor([0x7FFFFFFF, -1], dtype=torch.int32).view(torch.float32)
"""What a GPU makes where there is no number: all bits set; and the same with a sign."""
ALONE, PARTS, READ = Way(), Way(Resident(parts=2, units=16, chunk=32)), Way(Shares(2, 16, 32))
EVERY = pytest.mark.parametrize("way", [ALONE, PARTS, READ], ids=["alone", "parts", "read"])


def called(name: str, steps: int, **more: Any) -> dict[str, Any]:
    return complete(name, cast(arguments(name, steps, 2, 17, **more), torch.float32))


def walked_back(name: str, given: dict[str, Any], results: Any, grad: Tensor, way: Way) -> dict[str, Tensor]:
    grads = {"grad_outputs": grad, "grad_h_last": None, "grad_c_last": None, "grad_cells": None}
    kept = {"outputs": results[0], "gates": results[-2 if name == "lstm" else -1], "cells": results[-1]}
    return layers.backward(name, grads, given, kept, True, way)


@pytest.mark.parametrize(
    ("precision", "way"),
    [("high", ALONE), ("high", PARTS), ("highest", READ)],
    ids=["alone, tf32", "parts, tf32", "read"],
)
def test_what_is_no_number_stays_none(precision: str, way: Way) -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        for activation in ("relu", "identity"):
            given = called("elman", 1, activation=activation)
            given["h"][:, 3] = OF_A_GPU
            results = layers.forward("elman", given, way)
            assert bool(results[0].isnan().all())
            found = walked_back("elman", given, results, torch.ones_like(results[0]), way)
            assert torch.equal(found["x"].isnan(), reference_gradient(given).isnan())
        given = called("gru", 1)
        results = layers.forward("gru", given, way)
        grad = torch.zeros_like(results[0])
        grad[0, :, 3] = OF_A_GPU
        assert bool(walked_back("gru", given, results, grad, way)["h"].isnan().all())
        given["weight"][3, 2] = OF_A_GPU[0]
        assert bool(layers.forward("gru", given, way)[1][:, 3].isnan().all())
    finally:
        torch.set_float32_matmul_precision(before)


def reference_gradient(given: dict[str, Any]) -> Tensor:
    x = given["x"].clone().requires_grad_()
    return torch.autograd.grad(reference.elman(**{**given, "x": x})[0].sum(), x)[0]


@EVERY
def test_an_infinite_state_is_multiplied_as_one(way: Way) -> None:
    """Halves have no bits beyond the leading ones: what these leave is zero, which an infinity must not meet."""
    given = called("elman", 1, activation="identity")
    given["weight"] = torch.full_like(given["weight"], 0.5)
    given["h"][:, 3] = torch.inf
    with np.errstate(invalid="ignore"):  # (what an infinity leaves)
        outputs = layers.forward("elman", given, way)[0]
    assert bool((outputs == torch.inf).all())


def test_no_maximum_of_a_device() -> None:
    """A device's own maximum of a number and of none is the number, which the interpreter does not show."""
    row = Program(inputs=(3,), instructions=(Instruction("rowmax", (0,), 1),), emitted=(1,))
    texts = [write(row, False).text, *expressions.TEXTS.values()]
    texts += [inspect.getsource(module) for module in (cell_kernels, expressions)]
    assert "largest(" in texts[0]
    assert not [text for text in texts if "tl.max" in text]


@pytest.mark.parametrize(("name", "way"), [("gru", ALONE), ("lstm", PARTS)], ids=["alone", "parts"])
def test_lengths_beyond_the_last_step_are_all_steps(name: str, way: Way) -> None:
    """On a device nobody looks at them; behind the arrays lies what belongs to others."""
    found: list[dict[str, Tensor]] = []
    for length in (2, 4):
        given = called(name, 2, reverse=True)
        given["lengths"] = torch.full((2,), length)
        results = []
        for value in layers.forward(name, given, way):
            memory = value.new_full((len(value) + 3, *value.shape[1:]), torch.nan)
            memory[: len(value)] = value
            results.append(memory[: len(value)])
        found.append(walked_back(name, given, results, torch.ones_like(results[0]), way))
    assert all(torch.equal(found[0][key], found[1][key]) for key in found[0])
