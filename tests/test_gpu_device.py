"""On a GPU alone: parts that meet within one launch, written kernels, captured steps. The first one tells of the barrier."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import recurra
from gpu_calls import cast, complete
from gpu_calls import shares as weighed
from recurra.kernels import backend, gpu, reference
from recurra.kernels.programs import Traced, backward_by_torch, by_torch, trace
from recurra.kernels.programs.program import parse
from recurra.kernels.programs.running import backward_with, recorded
from recurra.state import leaves
from recurra.streaming import graph
from test_gpu_programs import SHARED_OUT, STEPS, drawn
from test_gpu_scans import bfloat16_is_near, sums_of_a_cell, there_and_back
from test_kernels import arguments
from test_streaming import language
from tolerances import assert_close

pytest.importorskip("triton", reason="Triton is made for Linux alone")

from recurra.kernels.gpu import generated, layers, scans
from recurra.kernels.gpu.layers import Way
from recurra.kernels.gpu.resident_shares import Resident
from recurra.kernels.gpu.scan_cells import CELLS
from recurra.kernels.gpu.scans import Given
from recurra.kernels.gpu.shares import Shares

DEVICE = "cuda"
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")]


READ = Shares(parts=3, units=16, depth=64)
STAYS = Resident(parts=6, units=8, chunk=128, split=8)
"""A weight that is read at every step, and one that stays in its programs; of 48 units."""


def equal_from_launch_to_launch(
    name: str, inputs: dict[str, Any], way: Way, apart: Way, what: str = "gradients"
) -> tuple[Tensor, ...]:
    """The same bits each time, since a race would show there, and the numbers of other launches, which are compiled apart."""
    together = layers.forward(name, inputs, way)
    for value, true in zip(together, layers.forward(name, inputs, apart), strict=True):
        assert_close(value.cpu(), true.cpu(), what)
    for _ in range(5):
        assert all(map(torch.equal, layers.forward(name, inputs, way), together))
    grads: dict[str, Any] = {f"grad_{key}": None for key in ("h_last", "c_last", "cells")}
    grads["grad_outputs"] = weighed(together[0])
    kept = {"outputs": together[0], "gates": together[-2 if name == "lstm" else -1], "cells": together[-1]}
    found, true_gradients = (layers.backward(name, grads, inputs, kept, True, each) for each in (way, apart))
    for key, true in true_gradients.items():
        assert_close(found[key].cpu(), true.cpu(), "gradients")
    for _ in range(5):
        again = layers.backward(name, grads, inputs, kept, True, way)
        assert all(torch.equal(again[key], value) for key, value in found.items())
    return together


def on_a_gpu(name: str, hidden: int, dtype: torch.dtype, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """(arguments in float64 on the processor, the same numbers there)."""
    given = cast(complete(name, arguments(name, 33 if hidden < 99 else 9, 20, hidden, **more)), dtype)
    there = {key: value.to(DEVICE) if isinstance(value, Tensor) else value for key, value in given.items()}
    return cast(given, torch.float64), there


@pytest.mark.parametrize(("name", "shares"), [("elman", STAYS), ("gru", STAYS), ("lstm", STAYS), ("lstm", READ)])
def test_parts_that_meet_give_what_a_launch_a_step_gives(name: str, shares: Shares | Resident) -> None:
    _, inputs = on_a_gpu(name, 48, torch.float32, lengths=True, resets=True)
    results = equal_from_launch_to_launch(name, inputs, Way(shares), Way(shares, stepwise=True), "values")
    for value, true in zip(results, layers.forward(name, inputs), strict=True):  # (by one program)
        assert_close(value.cpu(), true.cpu())


@pytest.mark.parametrize(("name", "hidden"), [("elman", 256), ("gru", 256), ("lstm", 256), ("gru", 48), ("lstm", 768)])
def test_layers_of_16_bits_on_a_gpu(name: str, hidden: int) -> None:
    """As chosen, against float64 and, where parts meet, a launch a step."""
    exact, inputs = on_a_gpu(name, hidden, torch.bfloat16, lengths=True, resets=True, mask=True)
    results = equal_from_launch_to_launch(name, inputs, Way(), Way(stepwise=True))
    for value, true in zip(results, getattr(reference, name)(**exact), strict=True):
        assert_close(value.cpu(), true, "gradients")


@pytest.mark.parametrize(
    ("name", "precision"), [("elman", "highest"), ("gru", "highest"), ("lstm", "highest"), ("lstm", "high")]
)
def test_large_layers_on_a_gpu(name: str, precision: str) -> None:
    """96 parts that meet, in products of float32 in full or of tf32, and a weight for blocks of 64 rows that is read."""
    exact, inputs = on_a_gpu(name, 768, torch.float32, mask=True)
    truth = getattr(reference, name)(**exact)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        for way in (Way(), Way(Shares(parts=24, units=32, depth=32, rows=64))):
            for value, true in zip(layers.forward(name, inputs, way), truth, strict=True):
                if precision == "highest":
                    assert_close(value.cpu(), true)
                else:  # 2^-11 of each operand of 768, nine steps long
                    assert float((value.cpu().double() - true).abs().max()) < 2e-2
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("name", STEPS)
def test_a_written_kernel_on_a_gpu(name: str) -> None:
    step, sizes, _ = STEPS[name]
    traced = trace(step, sizes)
    assert isinstance(traced, Traced)
    text, given = traced.hoisted.text, drawn(sizes, traced, 4, 18)
    truth = by_torch(text, given, None, None, False, True)
    here, more = given.map(lambda value: value.to(DEVICE, torch.float32)), recorded(text)

    def run(*args: Any, **options: Any) -> Any:
        return generated.run(*args, **options, shares=SHARED_OUT)

    emitted, last = run(parse(more), more, here, None, None, False)
    for value, true in zip([*emitted, *last], truth, strict=True):
        assert value.device.type == DEVICE
        assert_close(value.cpu(), true)
    count = len(parse(text).emitted)
    grads, after = [weighed(value) for value in truth[:count]], [weighed(value) for value in truth[len(emitted) :]]
    true_gradients = backward_by_torch(text, [*grads, *after], given, None, None, False)
    arrived, arrived_after = ([grad.to(DEVICE, torch.float32) for grad in each] for each in (grads, after))
    found = backward_with(run, text, arrived, arrived_after, here, emitted[count:], None, None, False)
    for group, true_group in zip(found.groups, true_gradients.groups, strict=True):
        for value, true in zip(group, true_group, strict=True):
            assert_close(value.cpu(), true, "gradients")


@pytest.mark.parametrize("name", ["elman", "gru", "lstm", "mingru"])
def test_a_captured_step_on_a_gpu(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two pools that take turns in one captured step, against the same model on the processor."""
    monkeypatch.setattr(gpu, "ENABLED", True)
    model, far, rows = language(name), language(name).to(DEVICE), 20
    pools, true = [recurra.Pool(far, rows) for _ in range(2)], [recurra.Pool(model, rows) for _ in range(2)]
    assert pools[0].explain() == "as replays of one captured step"
    for step in range(6):
        tokens = [(row * 3 + step) % 7 for row in range(rows)]
        for there, here in zip(pools, true, strict=True):
            with backend("reference"):
                truth = here.advance(tokens)
            assert_close(there.advance(tokens).cpu(), truth)
    for there, here in zip(pools, true, strict=True):
        for value, truth in zip(leaves(there.state).values(), leaves(here.state).values(), strict=True):
            assert_close(value.cpu(), truth)
    assert list(graph._graphs[far]) == [rows]
    leaving, truth = pools[1].session(3), true[1].session(3)
    with backend("reference"):
        outputs = truth.outputs_after([2, 5])
    assert_close(leaving.outputs_after([2, 5]).cpu(), outputs)


@pytest.mark.parametrize("cell", CELLS)
def test_all_ways_of_a_scan_give_the_same_bits_on_a_gpu(cell: str) -> None:
    """And the numbers of float64, and a row's bits whether others are beside it or not."""
    lengths, resets = torch.tensor([300, 190, 7]), torch.zeros(300, 3, dtype=torch.bool)
    resets[[100, 130, 3], [0, 1, 2]] = True
    given = sums_of_a_cell(cell, 300, 3, 80, lengths=lengths, resets=resets, reverse=cell in ("complex", "rglru"))
    # (so small that nothing grows)
    small = {
        key: value * 0.3 for key, value in given._asdict().items() if key in ("a", "numbers") and value is not None
    }
    given = given._replace(**small)
    here = Given._make(value.to(DEVICE) if isinstance(value, Tensor) else value for value in given)
    along = there_and_back(here, scans.Way(at_once=False))
    for way in (scans.Way(at_once=True), scans.Way(at_once=False), scans.Way(at_once=False, tile=4, tile_back=4)):
        assert all(map(torch.equal, there_and_back(here, way), along))
    wide = Given._make(
        value.double() if isinstance(value, Tensor) and value.is_floating_point() else value for value in here
    )
    for at, (value, true) in enumerate(zip(along, there_and_back(wide, scans.CHOSEN), strict=True)):
        assert_close(value.cpu(), true.cpu(), "values" if at < 2 else "gradients")
    row = here._replace(
        x=here.x[:190, 1:2].contiguous(), a=None if here.a is None else here.a[:190, 1:2].contiguous(),
        first=here.first[1:2].contiguous(), lengths=None, resets=resets[:190, 1:2].to(DEVICE).contiguous(),
    )  # fmt: skip
    assert torch.equal(there_and_back(row, scans.CHOSEN)[0], along[0][:190, 1:2])


@pytest.mark.parametrize("name", sorted(gpu.LINEAR))
def test_a_scan_in_16_bits_on_a_gpu(name: str) -> None:
    bfloat16_is_near(name, DEVICE, scans.CHOSEN)
