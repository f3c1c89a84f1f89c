"""Elman, GRU and LSTM in Triton against the reference in float64, run by Triton's interpreter where there is no GPU."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from gpu_calls import cast, complete, shares
from interpreted import round_as_a_device
from recurra.kernels import KERNELS, reference
from recurra.kernels.derived import derived_gradient
from test_kernels import arguments
from tolerances import assert_close

pytest.importorskip("triton", reason="Triton is made for Linux alone")

from recurra.kernels.gpu import layers
from recurra.kernels.gpu.layers import Way
from recurra.kernels.gpu.resident_shares import Resident, keep
from recurra.kernels.gpu.shares import Device, Shares, share_out

DTYPES = (torch.float32, torch.float64)
AS_CHOSEN = Way()
round_as_a_device()


def equal_reference(name: str, given: dict[str, Any], dtype: torch.dtype, way: Way = AS_CHOSEN) -> None:
    """Results, gates included, and all gradients, those through an LSTM's cells included."""
    kernel, exact = KERNELS[name], complete(name, given)
    truth = getattr(reference, name)(**exact)
    grads: list[Tensor | None] = [shares(result) for result in truth]
    grads[len(grads) - kernel.saved] = None  # no kernel goes through the gates
    true_gradients = derived_gradient(getattr(reference, name), kernel.differentiable, exact, grads)

    inputs = cast(exact, dtype)
    results = layers.forward(name, inputs, way)
    for result, true in zip(results, truth, strict=True):
        assert result.dtype == dtype
        assert_close(result, true)
    names = [f"grad_{part.split()[-1]}" for part in kernel.results.split(", ")]
    arrived = {key: None if grad is None else grad.to(dtype) for key, grad in zip(names, grads, strict=True)}
    kept = {"outputs": results[0], "gates": results[len(results) - kernel.saved], "cells": results[-1]}
    gradients = layers.backward(name, arrived, inputs, kept, True, way)
    assert gradients.keys() == true_gradients.keys()
    for key, true in true_gradients.items():
        assert_close(gradients[key], true, "gradients")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", KERNELS)
def test_triton_equals_reference(name: str, reverse: bool, dtype: torch.dtype) -> None:
    more = {"inputs": 3, "bias_in": True} if reverse else {"symbols": 4}
    given = arguments(name, 5, 3, 4, lengths=True, resets=True, mask=True, reverse=reverse, seed=1, **more)
    if "tokens" not in given:
        given["x"][torch.arange(5)[:, None] >= given["lengths"]] = torch.nan  # what pads a row reaches nothing
    equal_reference(name, given, dtype)
    equal_reference(name, arguments(name, 4, 2, 3, reverse=reverse), dtype)


# three parts, of which the last has one unit
PARTS = Resident(parts=3, units=16, chunk=32, chunks=2, split=2)
COLUMNS = Resident(parts=3, units=16, chunk=64)
READ = Shares(parts=3, units=16, depth=64)


@pytest.mark.parametrize(
    ("name", "shares"),
    [
        ("elman", PARTS),
        ("gru", PARTS),
        ("lstm", PARTS),
        ("gru", COLUMNS),
        ("elman", Shares(parts=2, units=16, depth=16)),  # three blocks of units, of which one part has two
        ("gru", Shares(parts=1, units=16, depth=32)),
        ("lstm", READ),
        ("gru", Shares(parts=2, units=32, depth=32, rows=64)),
    ],
)
def test_rows_and_units_in_several_programs(name: str, shares: Shares | Resident) -> None:
    given = arguments(
        name, 2, 17 if name == "gru" else 3, 33, lengths=True, resets=True, mask=True, reverse=name == "lstm"
    )
    equal_reference(name, given, torch.float32, Way(shares))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", KERNELS)
def test_a_weight_that_is_read_at_every_step(name: str, reverse: bool) -> None:
    given = arguments(name, 5, 3, 4, lengths=True, resets=True, mask=True, reverse=reverse, seed=1)
    equal_reference(name, given, torch.float64, Way(Shares(parts=1, units=16, depth=16)))


@pytest.mark.parametrize("name", KERNELS)
def test_states_may_lie_in_memory_as_they_like(name: str) -> None:
    given = arguments(name, 3, 3, 4, inputs=2, lengths=True)
    for key in ("h", "c"):
        if key in given:
            given[key] = given[key].T.contiguous().T
    equal_reference(name, given, torch.float64)
    assert layers.forward(name, complete(name, given))[1].is_contiguous()


@pytest.mark.parametrize("gates", [1, 3, 4])
def test_every_unit_is_in_a_part_and_every_part_finds_a_place(gates: int) -> None:
    for hidden, batch, multiprocessors, dtype, backward in itertools.product(
        (3, 64, 65, 300, 768, 1024, 5000),
        (1, 16, 128, 4096),
        (1, 8, 132),
        (torch.float32, torch.bfloat16),
        (False, True),
    ):
        blocks, device = -(-batch // 16), Device(multiprocessors)
        for shared in (share_out(hidden, batch, device), share_out(hidden, batch, device, many=True)):
            assert shared.units in (16, 32, 64) and shared.depth % 16 == 0
            assert shared.parts == 1 or -(-batch // shared.rows) * shared.parts <= multiprocessors
            assert (shared.parts - 1) * shared.units < hidden
        kept = keep(gates, hidden, batch, dtype, device, backward)
        if kept is not None:
            assert kept.parts * kept.units >= hidden and kept.chunk * kept.chunks >= hidden
            assert kept.parts == 1 or blocks * kept.parts <= multiprocessors
            assert kept.chunk // kept.split >= 16 and kept.split in (1, kept.warps)
            columns = gates if gates == 1 or backward or kept.parts == 1 else 4
            assert backward or kept.parts == 1 or kept.units * columns <= 64
            assert kept.units * kept.chunk * kept.chunks * columns * dtype.itemsize <= 128 * 1024
    assert keep(gates, 300, 16, torch.float32, Device(132, tensor_cores=False)) is None


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize(("batch", "hidden"), [(16, 768), (64, 256), (128, 256), (1, 512)])
def test_the_shapes_that_are_measured_stay_in_their_programs(batch: int, hidden: int, backward: bool) -> None:
    for gates, dtype in itertools.product((1, 3, 4), (torch.float32, torch.bfloat16)):
        kept = keep(gates, hidden, batch, dtype, Device(132), backward)
        assert kept is not None and kept.parts > 1


def test_what_has_no_room_in_shared_memory_is_shared_out_further_or_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled for 9.0: the LSTM of 768 units in tf32 has 192 KiB backward, an Elman of 128 units 144 KiB."""
    hopper, ampere, small = Device(132), Device(132, shared=163 * 1024), Device(132, shared=99 * 1024)
    assert keep(4, 768, 16, torch.float32, ampere, True) == keep(4, 768, 16, torch.float32, hopper, True) is not None
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        assert keep(4, 768, 16, torch.float32, hopper, True) is not None
        assert keep(4, 768, 16, torch.float32, ampere, True) is None
        assert keep(4, 768, 16, torch.float32, small, False) is not None
    finally:
        torch.set_float32_matmul_precision(before)
    for device, parts in ((hopper, 1), (ampere, 1), (small, 16)):
        kept = keep(1, 128, 16, torch.float32, device)
        assert kept is not None and kept.parts == parts
    found = SimpleNamespace(
        multi_processor_count=132, major=8, shared_memory_per_block=49152, shared_memory_per_block_optin=99 * 1024
    )
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: found)
    tensor: Any = SimpleNamespace(is_cuda=True, device=None)
    assert Device.of(tensor) == small
    assert [share_out(2048, 48, device).units for device in (hopper, ampere, small)] == [64, 64, 32]


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "identity"])
def test_activations(activation: str) -> None:
    equal_reference("elman", arguments("elman", 4, 2, 3, activation=activation), torch.float64)


@pytest.mark.parametrize("name", KERNELS)
def test_nothing_is_run_without_steps_or_rows(name: str) -> None:
    for steps, batch in ((0, 2), (3, 0)):
        equal_reference(name, arguments(name, steps, batch, 3, inputs=2), torch.float64)


EVERY = pytest.mark.parametrize(
    "way",
    [AS_CHOSEN, Way(Resident(parts=2, units=16, chunk=32)), Way(Shares(1, 16, 16))],
    ids=["alone", "parts", "read"],
)


@EVERY
def test_rows_and_pieces_do_not_matter(way: Way) -> None:
    given = complete("gru", cast(arguments("gru", 6, 3, 4), torch.float32))
    outputs, last, _ = layers.forward("gru", given, way)
    for row in range(3):
        alone = {**given, "x": given["x"][:, row : row + 1], "h": given["h"][row : row + 1]}
        assert torch.equal(layers.forward("gru", alone, way)[0], outputs[:, row : row + 1])
    first, state, _ = layers.forward("gru", {**given, "x": given["x"][:3]}, way)
    second, state, _ = layers.forward("gru", {**given, "x": given["x"][3:], "h": state}, way)
    assert torch.equal(torch.cat([first, second]), outputs) and torch.equal(state, last)


@EVERY
def test_a_reset_ends_even_a_state_that_is_no_number(way: Way) -> None:
    given = complete("lstm", arguments("lstm", 4, 1, 3))
    given["h"] = torch.full_like(given["h"], torch.nan)
    given["resets"] = torch.tensor([True, False, False, False])[:, None]
    results = layers.forward("lstm", given, way)
    assert all(result.isfinite().all() for result in results)
    zeros = layers.forward("lstm", {**given, "h": torch.zeros(1, 3).double()}, way)
    assert all(torch.equal(value, true) for value, true in zip(results, zeros, strict=True))
