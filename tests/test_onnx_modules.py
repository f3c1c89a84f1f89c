"""Modules in torch's form as ONNX, with every option of `recurra.nn`: ONNX Runtime computes what they compute."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor
from torch import nn as theirs
from torch.nn.utils import parametrizations, weight_norm

import recurra.onnx
from recurra import nn
from recurra.errors import UsageError
from recurra.nn import cells
from recurra.onnx import backend
from tolerances import assert_close

onnxruntime.set_default_logger_severity(4)
INPUTS, HIDDEN = 3, 5
ONE_STEP: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in ("RNN", "GRU", "LSTM")),
    *((name, {"layer_norm": True}) for name in ("RNN", "GRU", "LSTM")),
    *((name, {"zoneout": 0.3}) for name in ("RNN", "GRU", "LSTM")),
    *((name, {"weight_drop": 0.5, "recurrent_dropout": 0.5}) for name in ("RNN", "GRU", "LSTM")),
    *((name, {"bias": False, "layer_norm": True}) for name in ("RNN", "GRU", "LSTM")),
    ("RNN", {"nonlinearity": "relu"}),
    ("RNN", {"nonlinearity": "relu", "zoneout": 0.2}),
    *(("RNN", {"activation": name}) for name in ("gelu", "silu", "sin", "leaky_relu")),
    ("GRU", {"reset_after": False}),
    ("GRU", {"reset_after": False, "layer_norm": True, "zoneout": 0.1}),
    ("GRU", {"activation": "relu", "gate_activation": "hardsigmoid"}),
    ("LSTM", {"zoneout": (0.2, 0.4)}),
    ("LSTM", {"peepholes": True}),
    ("LSTM", {"coupled": True, "peepholes": True}),
    ("LSTM", {"coupled": True, "layer_norm": True}),
    ("LSTM", {"cell_clip": 0.2, "forget_bias": 1.0}),
    ("LSTM", {"activation": "softplus", "gate_activation": "hardsigmoid"}),
]
"""Kinds and options that cells have too."""
WHOLE: list[tuple[str, dict[str, Any]]] = [
    *ONE_STEP,
    *((name, {"learn_initial_state": True, "recompute": 2}) for name in ("RNN", "GRU", "LSTM")),
    *((name, {"hidden_sizes": (4, HIDDEN), "zoneout": 0.1}) for name in ("RNN", "GRU", "LSTM")),
    ("LSTM", {"proj_size": 2}),
    ("LSTM", {"proj_size": 2, "layer_norm": True, "peepholes": True, "coupled": True, "cell_clip": 0.3}),
    ("LSTM", {"hidden_sizes": (4, HIDDEN), "proj_size": 3, "learn_initial_state": True}),
]
FORMS: list[dict[str, Any]] = [{}, {"bidirectional": True, "batch_first": True, "dropout": 0.5}]


def name_of(value: Any) -> str | None:
    if isinstance(value, dict):
        return "-".join(f"{key}={each}" for key, each in value.items()) or "plain"
    return None


def made(kind: Any, *sizes: int, **options: Any) -> Any:
    """A module with random parameters, in evaluation mode."""
    torch.manual_seed(2)
    module = kind(*sizes, **options).eval()
    for parameter in module.parameters():
        theirs.init.normal_(parameter, std=0.5)
    return module


def named(module: Any, hx: Any) -> dict[str, Tensor]:
    """The tensors of hx by their names in ONNX."""
    found: dict[str, Tensor] = {}
    lstm = isinstance(module, theirs.LSTMCell) or getattr(module, "mode", "") == "LSTM"
    for name, kind in zip("hc", hx if lstm else (hx,), strict=False):
        found |= {name: kind} if isinstance(kind, Tensor) else {f"{k}.{name}": each for k, each in enumerate(kind)}
    return found


def random_like(hx: Any) -> Any:
    return torch.randn_like(hx) if isinstance(hx, Tensor) else tuple(map(random_like, hx))


class Runtime:
    """A module's export in ONNX Runtime, called as the module is."""

    def __init__(self, module: Any, **options: Any) -> None:
        self.module = module
        self.model = recurra.onnx.export(module, **options)
        self.session = onnxruntime.InferenceSession(self.model.SerializeToString(), providers=["CPUExecutionProvider"])

    def __call__(self, x: Tensor, hx: Any, lengths: Tensor | None = None) -> dict[str, Tensor]:
        feeds = {"inputs": x} | {f"state.{name}": value for name, value in named(self.module, hx).items()}
        feeds |= {} if lengths is None else {"lengths": lengths}
        found = self.session.run(None, {name: value.numpy() for name, value in feeds.items()})
        names = [each.name for each in self.session.get_outputs()]
        return {name: torch.from_numpy(np.asarray(value)) for name, value in zip(names, found, strict=True)}

    def check(self, x: Tensor, hx: Any, outputs: Tensor | None, last: Any, lengths: Tensor | None = None) -> None:
        found = self(x, hx, lengths)
        expected = {f"next.{name}": value for name, value in named(self.module, last).items()}
        expected |= {} if outputs is None else {"outputs": outputs}
        assert set(found) == set(expected)
        for name, value in expected.items():
            assert_close(found[name], value)


@pytest.mark.parametrize(("name", "options"), WHOLE, ids=name_of)
@torch.no_grad()
def test_sequences_with_every_option(name: str, options: dict[str, Any]) -> None:
    """One way without lengths, time first; both ways with lengths, batch first."""
    module = made(getattr(nn, name), INPUTS, HIDDEN, num_layers=2, **options)
    run = Runtime(module)
    for steps, batch in ((1, 1), (6, 3)):
        x = torch.randn(steps, batch, INPUTS)
        hx = random_like(module(x)[1])
        outputs, last = module(x, hx)
        run.check(x, hx, outputs, last)
    module = made(getattr(nn, name), INPUTS, HIDDEN, num_layers=2, **FORMS[1], **options)
    run = Runtime(module, lengths=True)
    for lengths in (torch.tensor([3, 0, 6, 1]), torch.tensor([6, 6])):
        x = torch.randn(len(lengths), 6, INPUTS)
        x[torch.arange(6) >= lengths[:, None]] = torch.nan
        hx = random_like(module(x)[1])
        outputs, last = module(x, hx, lengths=lengths)
        run.check(x, hx, outputs, last, lengths)


@pytest.mark.parametrize(("name", "options"), ONE_STEP, ids=name_of)
@torch.no_grad()
def test_cells_with_every_option(name: str, options: dict[str, Any]) -> None:
    module = made(getattr(nn, f"{name}Cell"), INPUTS, HIDDEN, **options)
    run = Runtime(module)
    for batch in (1, 4):
        x = torch.randn(batch, INPUTS)
        hx = random_like(module(x))
        run.check(x, hx, None, module(x, hx))
    with pytest.raises(UsageError, match=f"{name}Cell takes one step and no lengths"):
        recurra.onnx.export(module, lengths=True)


@pytest.mark.parametrize("options", [{"layer_norm": True}, {"hidden_sizes": (4, HIDDEN), "proj_size": 2}], ids=name_of)
@torch.no_grad()
def test_a_sequence_in_pieces_is_the_sequence(options: dict[str, Any]) -> None:
    module = made(nn.LSTM, INPUTS, HIDDEN, num_layers=2, **options)
    run, x = Runtime(module), torch.randn(5, 2, INPUTS)
    hx = random_like(module(x)[1])
    outputs, last = module(x, hx)
    state = {f"next.{name}": value for name, value in named(module, hx).items()}
    pieces = []
    for piece in x.split(2):
        feeds = {"inputs": piece} | {name.replace("next", "state"): value for name, value in state.items()}
        found = run.session.run(None, {name: value.numpy() for name, value in feeds.items()})
        names = [each.name for each in run.session.get_outputs()]
        state = {key: torch.from_numpy(np.asarray(value)) for key, value in zip(names, found, strict=True)}
        pieces.append(state.pop("outputs"))
    assert_close(torch.cat(pieces), outputs)
    for name, value in named(module, last).items():
        assert_close(state[f"next.{name}"], value)


@pytest.mark.parametrize("form", FORMS, ids=name_of)
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@torch.no_grad()
def test_projections_and_cells_of_torch(form: dict[str, Any]) -> None:
    module = made(theirs.LSTM, INPUTS, HIDDEN, num_layers=2, proj_size=2, **form)
    x = torch.randn(4, 3, INPUTS)
    hx = random_like(module(x)[1])
    Runtime(module).check(x, hx, *module(x, hx))
    for kind in (theirs.RNNCell, theirs.GRUCell, theirs.LSTMCell):
        cell = made(kind, INPUTS, HIDDEN, bias=not form)
        hx = random_like(cell(x[0]))
        Runtime(cell).check(x[0], hx, None, cell(x[0], hx))


@pytest.mark.parametrize("sizes", [{}, {"hidden_sizes": (4, HIDDEN)}], ids=name_of)
@torch.no_grad()
def test_a_learnt_initial_state_is_in_the_metadata(sizes: dict[str, Any]) -> None:
    module = made(nn.LSTM, INPUTS, HIDDEN, num_layers=2, learn_initial_state=True, **sizes)
    run, x = Runtime(module), torch.randn(4, 3, INPUTS)
    about = {each.key: json.loads(each.value) for each in run.model.metadata_props}
    names = [each.name for each in run.model.graph.input[1:]]
    assert set(about) == {name.replace("state.", "recurra.initial.") for name in names}
    start = {name: torch.tensor(about[name.replace("state.", "recurra.initial.")]) for name in names}
    feeds = {"inputs": x} | {name: value[:, None].repeat(1, 3, 1) for name, value in start.items()}
    outputs, *_ = run.session.run(None, {name: value.numpy() for name, value in feeds.items()})
    assert_close(torch.from_numpy(np.asarray(outputs)), module(x)[0])
    told = {each.name: each.doc_string for each in run.model.graph.input}
    name = names[0].removeprefix("state.")
    assert f"'recurra.initial.{name}', [lines, width]" in told[names[0]]
    plain = recurra.onnx.export(nn.GRU(2, 3))
    assert plain.graph.input[1].doc_string == "At the start of a sequence: zeros." and not plain.metadata_props


@torch.no_grad()
def test_parametrised_modules_by_their_weights_of_now() -> None:
    for kind in (theirs.GRU, nn.LSTM, nn.RNN):
        options = {} if kind is theirs.GRU else {"layer_norm": True}
        module = made(kind, INPUTS, HIDDEN, **options)
        x = torch.randn(4, 2, INPUTS)
        before = module(x)[0]
        parametrizations.weight_norm(module, "weight_hh_l0")
        module.parametrizations.weight_hh_l0.original0.mul_(0.5)  # pyright: ignore
        hx = random_like(module(x)[1])
        Runtime(module).check(x, hx, *module(x, hx))
        assert not torch.allclose(module(x)[0], before)


@pytest.mark.parametrize(("name", "options"), WHOLE[3:6], ids=name_of)
@torch.no_grad()
def test_double_precision_in_onnx_runtime_and_here(name: str, options: dict[str, Any]) -> None:
    module = made(getattr(nn, name), INPUTS, HIDDEN, bidirectional=True, dtype=torch.float64, **options)
    run, x = Runtime(module), torch.randn(4, 2, INPUTS, dtype=torch.float64)
    hx = random_like(module(x)[1])
    outputs, last = module(x, hx)
    run.check(x, hx, outputs, last)
    feeds = {"inputs": x} | {f"state.{key}": value for key, value in named(module, hx).items()}
    here = backend.run_model(run.model, {key: value.numpy() for key, value in feeds.items()})
    assert_close(torch.from_numpy(np.array(here[0])), module(x, hx)[0])


@pytest.mark.parametrize("opset", [14, 18, onnx.defs.onnx_opset_version()])
@torch.no_grad()
def test_opsets(opset: int) -> None:
    module = made(nn.LSTM, INPUTS, HIDDEN, layer_norm=True, bidirectional=True)
    run, x, lengths = Runtime(module, opset=opset, lengths=True), torch.randn(4, 2, INPUTS), torch.tensor([4, 0])
    hx = random_like(module(x)[1])
    outputs, last = module(x, hx, lengths=lengths)
    run.check(x, hx, outputs, last, lengths)


class Shifted(nn.GRU):
    """Computes something else than what its options say."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        outputs, hx = super().forward(*args, **kwargs)
        return outputs + 1, hx


class Leaky(cells.RNNCell):
    def forward(self, input: Tensor, hx: Any = None) -> Any:
        return super().forward(input, hx) / 2


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_what_would_be_a_wrong_graph_is_refused() -> None:
    for module in (Shifted(2, 3), Leaky(2, 3)):
        with pytest.raises(UsageError, match=f"a forward of its own.*{type(module).__name__}"):
            recurra.onnx.export(module)
    with pytest.raises(UsageError, match=r"hooks.*forward_pre_hooks at 'GRU'.*parametrizations"):
        recurra.onnx.export(weight_norm(theirs.GRU(2, 3), "weight_hh_l0"))
    with pytest.raises(UsageError, match=r"no ONNX form. Got: mode GRU-D"):
        recurra.onnx.export(_odd())


def _odd() -> theirs.RNNBase:
    module = theirs.GRU(2, 3)
    module.mode = "GRU-D"
    return module


@torch.no_grad()
def test_plain_modules_are_nodes_and_others_scans() -> None:
    def operators(module: Any) -> set[str]:
        return {node.op_type for node in recurra.onnx.export(module).graph.node}

    for module in (nn.LSTM(2, 3, peepholes=True, bidirectional=True), nn.LSTM(2, 3, recurrent_dropout=0.5)):
        assert "LSTM" in operators(module) and "Scan" not in operators(module)
    assert "Scan" in operators(nn.LSTM(2, 3, layer_norm=True))
