"""`torch.compile(fullgraph=True)` and `torch.export` with free batch and time, for a stack of each cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from recurra.cells import CELLS
from recurra.layers import Stack, StackConfig
from recurra.state import leaves
from tolerances import assert_close

WIDTH, HIDDEN = 3, 8


def stack(cell: str) -> Stack:
    return Stack.build(WIDTH, StackConfig(cell=cell, hidden=HIDDEN, layers=2)).eval()


@pytest.mark.parametrize("cell", CELLS)
def test_compiled_whole(cell: str) -> None:
    # every cell compiles the same lines of a stack, and torch remembers a few versions of them only
    torch.compiler.reset()
    network = stack(cell)
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager", dynamic=True)
    for steps, batch in ((5, 2), (7, 3)):
        x = torch.randn(steps, batch, WIDTH)
        gradients = []
        for run in (network, compiled):
            network.zero_grad()
            outputs, after = run(x, network.initial_state(batch))
            loss = outputs.square().sum()
            for leaf in leaves(after).values():
                loss = loss + leaf.sum()
            loss.backward()
            gradients.append(
                [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]
            )
        plain, other = network(x, network.initial_state(batch)), compiled(x, network.initial_state(batch))
        assert_close(other[0], plain[0])
        for one, two in zip(*gradients, strict=True):
            assert_close(two, one, "gradients")


class WithLengths(nn.Module):
    """A stack on padded rows, its batch and time free."""

    def __init__(self, network: Stack) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, state: Any, lengths: Tensor) -> tuple[Tensor, Any]:
        return self.network(x, state, lengths)


@pytest.mark.parametrize("cell", CELLS)
def test_exported_saved_and_loaded(cell: str, tmp_path: Path) -> None:
    network = WithLengths(stack(cell))
    steps, batch = torch.export.Dim("steps", min=1, max=4096), torch.export.Dim("batch", min=1, max=4096)
    state = network.network.initial_state(3)
    dims = tuple([{0: batch} for _ in vars(part)] for part in state)
    with torch.no_grad():
        program = torch.export.export(
            network,
            (torch.randn(6, 3, WIDTH), state, torch.tensor([6, 2, 4])),
            dynamic_shapes=({0: steps, 1: batch}, dims, {0: batch}),
        )
        torch.export.save(program, tmp_path / "stack.pt2")
        loaded = torch.export.load(tmp_path / "stack.pt2").module()
        for count, rows in ((1, 1), (4, 2), (9, 5)):
            x, lengths = torch.randn(count, rows, WIDTH), torch.randint(0, count + 1, (rows,))
            given = network.network.initial_state(rows)
            outputs, after = loaded(x, given, lengths)
            wanted, wanted_after = network(x, given, lengths)
            assert torch.equal(outputs, wanted)
            for one, two in zip(leaves(after).values(), leaves(wanted_after).values(), strict=True):
                assert torch.equal(one, two)


@pytest.mark.parametrize("name", ["elman", "gru", "lstm"])
def test_operations_are_well_made(name: str) -> None:
    """torch's own check of an operation: schema, shapes without data, gradient registration, tracing."""
    gates = {"elman": 1, "gru": 3, "lstm": 4}[name]
    x = torch.randn(3, 2, 5, requires_grad=True)
    weight_in, bias_in = torch.randn(gates * 4, 5, requires_grad=True), torch.randn(gates * 4, requires_grad=True)
    h, weight = torch.randn(2, 4, requires_grad=True), torch.randn(gates * 4, 4, requires_grad=True)
    lengths, resets = torch.tensor([3, 1]), torch.rand(3, 2) < 0.3
    options = (weight_in, bias_in, None, lengths, resets, None)
    arguments = {
        "elman": (x, h, weight, *options, "tanh", False, True),
        "gru": (x, h, weight, torch.randn(4), *options, True, False, True),
        "lstm": (x, h, torch.randn(2, 4), weight, *options, None, None, False, True),
    }[name]
    torch.library.opcheck(getattr(torch.ops.recurra, name).default, arguments)
