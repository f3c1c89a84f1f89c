"""`export`: a network or a whole model as an ONNX model with its state as inputs and outputs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import ModelProto, ValueInfoProto

from recurra.errors import UsageError
from recurra.files import write_file
from recurra.models import LanguageModel
from recurra.onnx.description import Description, describe, kind_of
from recurra.onnx.graph import BATCH, TIME, Graph, Lengths
from recurra.onnx.layers import layers
from recurra.onnx.modules import describe_module, is_module
from recurra.onnx.whole import KINDS, whole_model

OPSET = 17
"""The default: new enough for all that is written, old enough for runtimes of 2022."""
OLDEST_OPSET = 14
"""The first in which the recurrent operators are as they are now."""
_MOST_BYTES = 2**31 - 1


def export(network: Any, path: str | Path | None = None, *, opset: int = OPSET, lengths: bool = False) -> ModelProto:
    """A network as ONNX, checked by onnx.checker, and written to `path` if given.

    network: a cell (an `OwnCell` too), `Bidirectional`, `Block`, `Stack`, `LanguageModel`, `Classifier`, `Regressor`, an
    ensemble of either, or fitted `Model`;
    or an RNN, GRU, LSTM or RNNCell, GRUCell, LSTMCell of torch.nn or recurra.nn, with any options. Parametrised modules
    count with their weights of now. The model computes what the network does in evaluation mode.

    Batch and time are free axes. Inputs and outputs are the network's own: `inputs`[T, B, I] -> `outputs`[T, B, H] (batch
    first where the module is); a language model `tokens`[B, T] -> `logits`[B, T, V]; a classifier `tokens`[B, T] or
    `inputs`[B, T, F] -> `logits`[B, classes], a regressor `outputs`[B, K], standardised; modules for a single step
    `inputs`[B, I] -> the state alone. Each leaf of the state is an input `state.NAME` and an output `next.NAME`, [B, H] (of
    torch's modules [layers * directions, B, H]). With `lengths` there is an input `lengths`[B] (int64), the number of valid
    steps of each row.

    Raises `UsageError` for what has no ONNX form, `EnvironmentFailure` where the file cannot be written.
    """
    newest = onnx.defs.onnx_opset_version()
    if type(opset) is not int or not OLDEST_OPSET <= opset <= newest:
        raise UsageError("The opset is out of range", got=opset, expected=f"{OLDEST_OPSET} to {newest}")
    if not isinstance(network, torch.nn.Module):
        # a fitted model holds its network
        network = getattr(network, "task", network)
    if isinstance(network, torch.nn.Module):
        _check_hooks(network)
        size = sum(each.numel() * each.element_size() for each in network.parameters())
        if size > _MOST_BYTES - (1 << 20):
            raise UsageError(
                "The network is too large for one ONNX file", got=f"{size:,} bytes", expected="below 2 GiB"
            )
    # a class derived from one of these may compute anything
    writers = {LanguageModel: _language_model, **dict.fromkeys(KINDS, whole_model)}
    write: Callable[[Any, int, bool], ModelProto] = writers.get(kind_of(network), _network)
    with torch.no_grad():
        model = write(network, opset, lengths)
    if path is not None:
        write_file(Path(path), model.SerializeToString())
    return model


def signature(value: ValueInfoProto) -> dict[str, Any]:
    """An input or output of a model in plain words: `{"name", "dtype", "shape"}`, free axes by name."""
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    return {
        "name": value.name,
        "dtype": dtype,
        "shape": [axis.dim_param or axis.dim_value for axis in tensor.shape.dim],
    }


def _check_hooks(network: torch.nn.Module) -> None:
    """A hook may change what is computed, and the graph would not know."""
    for name, module in network.named_modules():
        for kind in ("_forward_pre_hooks", "_forward_hooks"):
            if getattr(module, kind, None):
                raise UsageError(
                    "A module with hooks has no ONNX form",
                    got=f"{kind.strip('_')} at '{name or type(module).__name__}'",
                    fix="Remove them from a copy (old-style weight_norm and spectral_norm are hooks: use those of "
                    "torch.nn.utils.parametrizations)",
                )


def _network(network: Any, opset: int, with_lengths: bool) -> ModelProto:
    described = describe_module(network) if is_module(network) else describe(network)
    graph = Graph(described.dtype, opset)
    name = kind_of(network).__name__
    if described.form == "step":
        if with_lengths:
            raise UsageError(f"{name} takes one step and no lengths", got="lengths=True", fix="Leave it out")
        x = graph.add("Unsqueeze", graph.input("inputs", [BATCH, described.inputs]), graph.integers(0))
        _, after = layers(graph, described, x, None)
    else:
        axes = [BATCH, TIME] if described.form == "batch" else [TIME, BATCH]
        x = graph.input("inputs", [*axes, described.inputs])
        if described.form == "batch":
            x = graph.add("Transpose", x, perm=[1, 0, 2])
        outputs, after = layers(graph, described, x, Lengths.read(graph, x) if with_lengths else None)
        if described.form == "batch":
            outputs = graph.add("Transpose", outputs, perm=[1, 0, 2])
        graph.output("outputs", outputs, [*axes, described.hidden])
    _states(graph, after)
    return graph.model(name, _initial(described))


def _initial(described: Description) -> dict[str, str]:
    """What sequences start from where that was learnt, for the metadata."""
    found = {state.name: state.initial for state in described.states if state.initial is not None}
    return {f"recurra.initial.{name}": json.dumps(value.tolist()) for name, value in found.items()}


def _language_model(model: LanguageModel, opset: int, with_lengths: bool) -> ModelProto:
    described = describe(model.stack)
    graph = Graph(described.dtype, opset)
    tokens = graph.add("Transpose", graph.input("tokens", [BATCH, TIME], torch.int64), perm=[1, 0])
    lengths = Lengths.read(graph, tokens) if with_lengths else None
    table = graph.constant("embedding", model.embedding.detach().cpu())
    hidden, after = layers(graph, described, graph.add("Gather", table, tokens, axis=0), lengths)
    if model.narrow is not None:
        hidden = graph.linear(hidden, "narrow", model.narrow.detach().cpu(), None)
    name, head = ("embedding", model.embedding) if model.head is None else ("head", model.head)
    logits = graph.linear(hidden, name, head.detach().cpu(), ("bias", model.bias.detach().cpu()))
    graph.output("logits", graph.add("Transpose", logits, perm=[1, 0, 2]), [BATCH, TIME, len(model.bias)])
    _states(graph, after)
    return graph.model("LanguageModel", {"recurra.kind": model.kind})


def _states(graph: Graph, after: list[tuple[str, str, list[int | str]]]) -> None:
    for name, value, shape in after:
        graph.output(f"next.{name}", value, shape)
