"""torch.compile in one graph and torch.export, with dynamic batch and time: what torch's own modules refuse."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nn_cases import assert_same, total
from recurra import nn
from tolerances import assert_close

CASES: list[tuple[str, dict[str, Any]]] = [
    ("RNN", {}),
    ("GRU", {"num_layers": 2, "bias": False}),
    ("LSTM", {"num_layers": 2, "bidirectional": True, "batch_first": True}),
]
# what torch's compiler warns of in itself
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_one_graph_for_any_size(name: str, settings: dict[str, Any]) -> None:
    torch.compiler.reset()
    ours = getattr(nn, name)(3, 4, **settings)
    compiled: Any = torch.compile(ours, fullgraph=True, backend="aot_eager", dynamic=True)
    hx = None
    for steps, batch in ((4, 3), (6, 2)):
        x = torch.randn(steps, batch, 3, requires_grad=True)
        results = [ours(x, hx), compiled(x, hx)]
        assert_same(*results)
        gradients = [torch.autograd.grad(total(result), [x, *ours.parameters()]) for result in results]
        for one, other in zip(*gradients, strict=True):
            assert_close(other, one, "gradients")
        with torch.no_grad():
            assert_same(results[0], compiled(x, hx))


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
def test_states_lengths_and_resets(name: str) -> None:
    torch.compiler.reset()
    ours = getattr(nn, name)(3, 4)
    compiled: Any = torch.compile(ours, fullgraph=True, backend="aot_eager", dynamic=True)
    x = torch.randn(5, 2, 3)
    with torch.no_grad():
        hx = ours(x)[1]
    lengths, resets = torch.tensor([2, 5]), torch.rand(5, 2) < 0.3
    assert_same(ours(x, hx, lengths=lengths, resets=resets), compiled(x, hx, lengths=lengths, resets=resets))


@pytest.mark.parametrize("option", ["cell_clip", "zoneout"])
def test_modules_that_differ_in_a_number(option: str) -> None:
    torch.compiler.reset()
    x = torch.randn(5, 2, 3)
    for value in (0.1, 0.2, 0.3):
        ours: Any = nn.LSTM(3, 4, **{option: value}).eval()
        compiled: Any = torch.compile(ours, fullgraph=True, backend="aot_eager")
        assert_same(ours(x), compiled(x))


@pytest.mark.parametrize("name", ["RNNCell", "GRUCell", "LSTMCell"])
def test_a_loop_over_a_cell(name: str) -> None:
    torch.compiler.reset()
    cell = getattr(nn, name)(3, 4)

    def loop(x: torch.Tensor) -> Any:
        hx = None
        for x_t in x:
            hx = cell(x_t, hx)
        return hx

    compiled: Any = torch.compile(loop, fullgraph=True, backend="aot_eager")
    x = torch.randn(3, 2, 3)
    assert_same(loop(x), compiled(x))


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_export_with_dynamic_batch_and_time(name: str, settings: dict[str, Any]) -> None:
    ours = getattr(nn, name)(3, 4, **settings)
    sizes = {0: torch.export.Dim("first"), 1: torch.export.Dim("second")}
    program = torch.export.export(ours, (torch.randn(4, 3, 3),), dynamic_shapes={"input": sizes})
    assert set(program.state_dict) == set(ours.state_dict())
    for shape in ((4, 3, 3), (7, 2, 3)):
        x = torch.randn(shape)
        assert_same(ours(x), program.module()(x))
