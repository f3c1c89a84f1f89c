"""Networks written as ONNX: what ONNX Runtime computes with them is what they compute themselves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from networks import HIDDEN, INPUTS, NETWORKS, Network
from tolerances import assert_close
from torch import Tensor, nn

import recurra.onnx
from recurra import kernels
from recurra.cells import GRU, LSTM, Elman, FeedForward
from recurra.errors import EnvironmentFailure, UsageError
from recurra.layers import Bidirectional, Block, Stack
from recurra.onnx import backend
from recurra.state import leaves

onnxruntime.set_default_logger_severity(4)
SIZES = ((1, 1), (1, 3), (6, 1), (7, 3))
"""Steps and rows."""

RECURRENT_ACTIVATIONS = [name for name in kernels.ACTIVATIONS if name not in ("gelu", "silu", "sin")]
MIXED = Network(
    "mixed",
    lambda: Stack(
        [
            Block(Bidirectional(LSTM(INPUTS, 4), GRU(INPUTS, 3, reverse=True))),
            Block(Bidirectional(FeedForward(7, 4, activation="gelu"), Elman(7, 3, reverse=True)), residual=True),
            Block(Bidirectional(Elman(7, 4, activation="relu"), Elman(7, 4, reverse=True, activation="leaky_relu"))),
            Block(GRU(8, HIDDEN, reset_after=False)),
        ]
    ),
)
ALL = [
    *NETWORKS,
    *(
        Network(f"elman-{name}-both", lambda name=name: _both(Elman, name))
        for name in RECURRENT_ACTIVATIONS
    ),
    *(
        Network(f"feedforward-{name}", lambda name=name: FeedForward(INPUTS, HIDDEN, activation=name))
        for name in kernels.ACTIVATIONS
    ),
    MIXED,
]


def _both(kind: Any, activation: str) -> Bidirectional:
    return Bidirectional(
        kind(INPUTS, HIDDEN, activation=activation), kind(INPUTS, HIDDEN, activation=activation, reverse=True)
    )


Run = Callable[[Tensor, dict[str, Tensor], Tensor | None], tuple[Tensor, dict[str, Tensor]]]


def runtime(model: onnx.ModelProto) -> Run:
    """(inputs, the state's leaves, lengths) -> (outputs, the next state's leaves) by ONNX Runtime."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return _runner(model, lambda feeds: session.run(None, feeds))


def ourselves(model: onnx.ModelProto) -> Run:
    """The same by our own backend."""
    return _runner(model, backend.prepare(model).run)


def _runner(model: onnx.ModelProto, call: Callable[[dict[str, Any]], Any]) -> Run:
    first, outputs = model.graph.input[0].name, [output.name for output in model.graph.output]

    def run(x: Tensor, state: dict[str, Tensor], lengths: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        feeds = {first: x.numpy(), **{f"state.{name}": leaf.numpy() for name, leaf in state.items()}}
        if lengths is not None:
            feeds["lengths"] = lengths.numpy()
        found = [torch.from_numpy(np.array(value)) for value in call(feeds)]
        return found[0], dict(zip((name.removeprefix("next.") for name in outputs[1:]), found[1:], strict=True))

    return run


def random_state(network: Any, batch: int) -> Any:
    from recurra.state import map_state

    # a classifier's greatest values are never below zero
    return map_state(lambda leaf: torch.rand(leaf.shape, dtype=leaf.dtype), network.initial_state(batch))


def check(found: tuple[Tensor, dict[str, Tensor]], outputs: Tensor, state: Any) -> None:
    assert_close(found[0], outputs)
    expected = leaves(state)
    assert list(found[1]) == list(expected)
    for name, leaf in expected.items():
        assert_close(found[1][name], leaf)


@pytest.mark.parametrize("network", ALL, ids=lambda network: network.name)
def test_onnx_runtime_computes_the_same(network: Network) -> None:
    built = network.build()
    run = runtime(recurra.onnx.export(built))
    with torch.no_grad():
        for steps, batch in SIZES:
            x = network.inputs(steps, batch, seed=steps)
            x = x.transpose(0, 1).contiguous() if network.batch_first else x
            state = random_state(built, batch)
            check(run(x, leaves(state), None), *built(x, state))


@pytest.mark.parametrize("network", ALL, ids=lambda network: network.name)
def test_with_lengths_zero_among_them(network: Network) -> None:
    built = network.build()
    run = runtime(recurra.onnx.export(built, lengths=True))
    lengths = torch.tensor([3, 0, 7, 1])
    x = network.inputs(7, 4)
    x = x.transpose(0, 1).contiguous() if network.batch_first else x
    state = random_state(built, 4)
    with torch.no_grad():
        check(run(x, leaves(state), lengths), *built(x, state, lengths))
