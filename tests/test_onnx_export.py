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
from torch import Tensor, nn

import recurra.onnx
from networks import HIDDEN, INPUTS, NETWORKS, Network
from recurra import kernels
from recurra.cells import GRU, LSTM, Elman, FeedForward
from recurra.data.codecs import LabelCodec, SeriesCodec
from recurra.data.datasets import LongColumns
from recurra.errors import EnvironmentFailure, UsageError
from recurra.layers import Bidirectional, Block, Stack, StackConfig
from recurra.models import Classifier, ClassifierConfig
from recurra.onnx import backend
from recurra.state import leaves
from tolerances import assert_close

onnxruntime.set_default_logger_severity(4)
# the reference computes those activations that the native build does not have
pytestmark = pytest.mark.filterwarnings("ignore::recurra.kernels.BackendWarning")
SIZES = ((1, 1), (1, 3), (6, 1), (7, 3))
"""Steps and rows."""


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
WITHOUT = [
    network
    for network in NETWORKS
    if network.name.startswith(("tag", "translate", "dilated", "forecast", "convolution", "filling", "front"))
    or any(part in network.name for part in ("slstm", "mlstm"))
]
ALL = [
    *(network for network in NETWORKS if network not in WITHOUT),
    *(Network(f"elman-{name}-both", lambda name=name: _both(Elman, name)) for name in kernels.ACTIVATIONS),
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

    def drawn(leaf: Tensor) -> Tensor:
        # a classifier's greatest values are never below zero; whole numbers are those of tokens
        if leaf.dtype == torch.int64:
            return torch.randint(0, 5, leaf.shape)
        return torch.rand(leaf.shape, dtype=leaf.dtype)

    return map_state(drawn, network.initial_state(batch))


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


STREAMING = [
    each
    for each in NETWORKS
    if each not in WITHOUT
    and each.name.startswith(("language", "classify", "regress"))
    and "both-ways" not in each.name
]


@pytest.mark.parametrize("network", STREAMING, ids=lambda network: network.name)
def test_a_sequence_in_pieces_is_the_sequence(network: Network) -> None:
    built = network.build()
    run = runtime(recurra.onnx.export(built))
    x = network.inputs(7, 2).transpose(0, 1).contiguous()
    part, pieces = leaves(random_state(built, 2)), []
    outputs, state = run(x, part, None)
    for step in range(7):
        piece, part = run(x[:, step : step + 1].contiguous(), part, None)
        pieces.append(piece)
    assert_close(torch.cat(pieces, dim=1) if network.per_step else pieces[-1], outputs)
    for name, leaf in state.items():
        assert_close(part[name], leaf)


@pytest.mark.parametrize("lengths", [None, torch.tensor([40, 0, 25])], ids=["whole", "lengths"])
def test_fixed_convolutions_and_fillings_over_longer_windows_than_a_piece(lengths: Tensor | None) -> None:
    """So long that every kernel of the probes is filled, in pieces of eight from the true beginning."""
    network = next(each for each in NETWORKS if each.name == "classify-ensemble-holes")
    built = network.build()
    run = runtime(recurra.onnx.export(built, lengths=lengths is not None))
    x = network.inputs(40, 3).transpose(0, 1).contiguous()
    begin = leaves(built.initial_state(3))
    with torch.no_grad():
        outputs, state = built(x, built.initial_state(3), lengths)
    check(run(x, begin, lengths), outputs, state)
    part, said = begin, outputs
    for step in range(0, 40, 8):
        ends = None if lengths is None else (lengths - step).clamp(0, 8)
        said, part = run(x[:, step : step + 8].contiguous(), part, ends)
    check((said, part), outputs, state)


@pytest.mark.parametrize("how", [{"flat": 4}, {"single": True}], ids=["whole", "pixels"])
def test_pictures_read_otherwise_than_by_rows(how: dict[str, Any]) -> None:
    codec = SeriesCodec(np.zeros(2), np.ones(2), LongColumns("id", None, ("p", "q")))
    config = ClassifierConfig(classes=2, features=2, stack=StackConfig(hidden=3), summary="all", **how)
    task = Classifier(config, LabelCodec(["a", "b"]), codec).eval()
    model = recurra.onnx.export(task)
    x = task.encode([np.arange(8.0).reshape(4, 2), np.ones((4, 2))]).inputs
    state = random_state(task, 2)
    with torch.no_grad():
        check(runtime(model)(x, leaves(state), None), *task(x, state))
    about = {each.key: each.value for each in model.metadata_props}
    assert about["recurra.read"] == ("whole" if "flat" in how else "pixels")
    assert json.loads(about["recurra.channels"]) == ["p", "q"]


def test_the_numbers_of_a_regressor_are_told_with_their_units() -> None:
    network = next(each for each in NETWORKS if each.name == "regress-ensemble").build()
    about = {each.key: each.value for each in recurra.onnx.export(network).metadata_props}
    assert json.loads(about["recurra.targets"]) == ["a", "b"] and about["recurra.kind"] == "regress"
    assert json.loads(about["recurra.targets.mean"]) == [0, 0] and json.loads(about["recurra.targets.scale"]) == [1, 1]


TORCH = [
    (kind, options)
    for kind in (nn.RNN, nn.GRU, nn.LSTM)
    for options in (
        {},
        {"num_layers": 2, "bidirectional": True, "batch_first": True, "dropout": 0.5},
        {"num_layers": 3, "bias": False},
        *([{"nonlinearity": "relu", "bidirectional": True}] if kind is nn.RNN else []),
    )
]


@pytest.mark.parametrize("lengths", [None, torch.tensor([6, 2, 4])], ids=["whole", "lengths"])
@pytest.mark.parametrize(("kind", "options"), TORCH, ids=lambda value: getattr(value, "__name__", None))
def test_modules_of_torch(kind: Any, options: dict[str, Any], lengths: Tensor | None) -> None:
    module = kind(INPUTS, HIDDEN, **options).eval()
    run = runtime(recurra.onnx.export(module, lengths=lengths is not None))
    lines = module.num_layers * (1 + module.bidirectional)
    state = tuple(torch.randn(lines, 3, HIDDEN) for _ in range(2 if kind is nn.LSTM else 1))
    x = torch.randn(3, 6, INPUTS) if module.batch_first else torch.randn(6, 3, INPUTS)
    with torch.no_grad():
        given: Any = x
        if lengths is not None:
            given = nn.utils.rnn.pack_padded_sequence(x, lengths, module.batch_first, enforce_sorted=False)
        outputs, after = module(given, state if kind is nn.LSTM else state[0])
        if lengths is not None:
            outputs, _ = nn.utils.rnn.pad_packed_sequence(outputs, module.batch_first)
    found, last = run(x, dict(zip("hc", state, strict=False)), lengths)
    assert_close(found, outputs)
    for name, leaf in zip("hc", after if kind is nn.LSTM else (after,), strict=False):
        assert_close(last[name], leaf)


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_a_derived_module_is_exported_by_its_parameters(kind: Any) -> None:
    derived = type(kind.__name__, (kind,), {})(INPUTS, HIDDEN)
    plain = kind(INPUTS, HIDDEN)
    plain.load_state_dict(derived.state_dict())
    assert recurra.onnx.export(derived) == recurra.onnx.export(plain)


@pytest.mark.parametrize("network", [*ALL[:8], MIXED], ids=lambda network: network.name)
def test_double_precision_by_our_own_backend(network: Network) -> None:
    # ONNX Runtime has no recurrent node in float64
    built = network.build(torch.float64)
    if network is MIXED:
        # an alpha of 0.01 is kept in float32, and onnx.reference has its Erf in float32
        built.blocks[2].cell.back.activation, built.blocks[1].cell.ahead.activation = "elu", "silu"
    run = ourselves(recurra.onnx.export(built, lengths=True))
    x, state, lengths = network.inputs(5, 3, torch.float64), random_state(built, 3), torch.tensor([5, 0, 2])
    with torch.no_grad():
        check(run(x, leaves(state), lengths), *built(x, state, lengths))


@pytest.mark.parametrize("opset", [14, 18, onnx.defs.onnx_opset_version()])
def test_opsets_from_the_oldest_to_the_newest(opset: int) -> None:
    for name in ("classify-gru-max", "language-lstm", "classify-both-ways", "classify-ensemble-holes"):
        network = next(each for each in NETWORKS if each.name == name)
        built = network.build()
        model = recurra.onnx.export(built, opset=opset, lengths=True)
        assert [each.version for each in model.opset_import] == [opset]
        x = network.inputs(5, 3).transpose(0, 1).contiguous()
        state, lengths = random_state(built, 3), torch.tensor([5, 0, 2])
        with torch.no_grad():
            check(ourselves(model)(x, leaves(state), lengths), *built(x, state, lengths))


def test_the_file_the_axes_and_the_labels(tmp_path: Path) -> None:
    network = next(each for each in NETWORKS if each.name == "classify-text-lstm").build()
    model = recurra.onnx.export(network, tmp_path / "model.onnx")
    assert onnx.load(str(tmp_path / "model.onnx")) == model
    shapes = {
        each.name: [axis.dim_param or axis.dim_value for axis in each.type.tensor_type.shape.dim]
        for each in (*model.graph.input, *model.graph.output)
    }
    assert shapes["tokens"] == ["batch", "time"] and shapes["logits"] == ["batch", 3]
    assert shapes["state.stack.1.c"] == shapes["next.summary"] == ["batch", HIDDEN]
    assert json.loads({each.key: each.value for each in model.metadata_props}["recurra.labels"]) == ["a", "b", "c"]
    assert recurra.onnx.export(recurra.Model(network)) == model


def test_an_embedding_is_kept_once() -> None:
    network = next(each for each in NETWORKS if each.name == "language-gru").build()
    kept = recurra.onnx.export(network).graph.initializer
    assert sum(list(each.dims) == list(network.embedding.shape) for each in kept) == 1


class Louder(GRU):
    """A cell of somebody's own."""


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (lambda: nn.Linear(2, 3), "Linear"),
        (lambda: Louder(2, 3), "Louder"),
        (lambda: GRU(2, 3).half(), "float16"),
    ],
)
def test_what_has_no_onnx_form(network: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        recurra.onnx.export(network())


def test_opsets_out_of_range_and_places_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="opset"):
        recurra.onnx.export(GRU(2, 3), opset=13)
    with pytest.raises(EnvironmentFailure, match="Cannot write"):
        recurra.onnx.export(GRU(2, 3), tmp_path)


@pytest.mark.parametrize("network", WITHOUT, ids=lambda network: network.name)
def test_what_has_no_form_says_so(network: Network) -> None:
    with pytest.raises(UsageError, match=r"no ONNX form.* Got: \w+\. Expected: a"):
        recurra.onnx.export(network.build())
