"""`export`: a network or a whole model as an ONNX model with its state as inputs and outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import ModelProto, ValueInfoProto

from recurra.data.codecs import SeriesCodec
from recurra.errors import UsageError
from recurra.files import write_file
from recurra.layers import Spelling
from recurra.layers.pooling import BOUND, Attention, Greatest, Last
from recurra.models import Classifier, LanguageModel
from recurra.onnx.description import Description, describe, kind_of
from recurra.onnx.graph import BATCH, TIME, Graph, Lengths
from recurra.onnx.layers import layers
from recurra.onnx.modules import describe_module, is_module
from recurra.onnx.ngrams import After, ngrams

OPSET = 17
"""The default: new enough for all that is written, old enough for runtimes of 2022."""
OLDEST_OPSET = 14
"""The first in which the recurrent operators are as they are now."""
_MOST_BYTES = 2**31 - 1


def export(network: Any, path: str | Path | None = None, *, opset: int = OPSET, lengths: bool = False) -> ModelProto:
    """A network as ONNX, checked by onnx.checker, and written to `path` if given.

    network: a cell (an `OwnCell` too), `Bidirectional`, `Block`, `Stack`, `LanguageModel`, `Classifier` or fitted `Model`;
    or an RNN, GRU, LSTM or RNNCell, GRUCell, LSTMCell of torch.nn or recurra.nn, with any options. Parametrised modules
    count with their weights of now. The model computes what the network does in evaluation mode.

    Batch and time are free axes. Inputs and outputs are the network's own: `inputs`[T, B, I] -> `outputs`[T, B, H] (batch
    first where the module is); a language model `tokens`[B, T] -> `logits`[B, T, V]; a classifier `tokens`[B, T] or
    `inputs`[B, T, F] -> `logits`[B, classes]; modules for a single step `inputs`[B, I] -> the state alone. Each leaf of the
    state is an input `state.NAME` and an output `next.NAME`, [B, H] (of torch's modules [layers * directions, B, H]). With
    `lengths` there is an input `lengths`[B] (int64), the number of valid steps of each row.

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
    write = {LanguageModel: _language_model, Classifier: _classifier}.get(kind_of(network), _network)
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


def _classifier(model: Classifier, opset: int, with_lengths: bool) -> ModelProto:
    if model.front is not None or model.config.flat or model.config.single or model.config.summary == "all":
        raise UsageError(
            "This classifier has parts that are not written as ONNX",
            got="convolutions, filled values, a way of reading pictures, or the summary 'all'",
            fix="Fit it with --no-convolution --summary last (or max, attention), without missing values",
        )
    described = describe(model.stack)
    graph = Graph(described.dtype, opset)
    about = {"recurra.kind": model.kind, "recurra.labels": json.dumps(list(model.labels.labels), ensure_ascii=False)}
    words = ""
    if model.embedding is None:
        x = graph.add("Transpose", graph.input("inputs", [BATCH, TIME, described.inputs]), perm=[1, 0, 2])
        lengths = Lengths.read(graph, x) if with_lengths else None
    else:
        letters = 0 if model.letters is None else model.letters.width
        shape: list[int | str] = [BATCH, TIME, 1 + letters] if letters else [BATCH, TIME]
        order = [1, 0, 2] if letters else [1, 0]
        tokens = graph.add("Transpose", graph.input("tokens", shape, torch.int64), perm=order)
        lengths = Lengths.read(graph, tokens) if with_lengths else None
        words = graph.add("Gather", tokens, graph.integer(0), axis=2) if letters else tokens
        x = graph.add("Gather", graph.constant("embedding", model.embedding.detach().cpu()), words, axis=0)
        if model.spelling is not None:
            x = graph.add("Concat", x, _spelling(graph, model.spelling, tokens, letters), axis=2)
    if isinstance(model.codec, SeriesCodec):
        # the network reads standardised numbers; these make them
        about |= {f"recurra.{name}": json.dumps(getattr(model.codec, name).tolist()) for name in ("mean", "scale")}
    hidden, after = layers(graph, described, x, lengths, prefix="stack.")
    shape = [BATCH, model.pooling.size]
    before = graph.input("state.summary", shape)
    summarise = {Last: _last, Greatest: _greatest, Attention: _attention}[type(model.pooling)]
    summary, read = summarise(graph, model, hidden, before, lengths)
    logits = graph.linear(read, "head", model.head.detach().cpu(), ("bias", model.bias.detach().cpu()))
    beside: list[After] = []
    if model.ngrams is not None:
        said, beside = ngrams(graph, model.ngrams, words, lengths)
        shares = [graph.constant(f"shares.{place}", share) for place, share in enumerate(model.shares.cpu())]
        logits = graph.add("Add", graph.add("Mul", shares[0], logits), graph.add("Mul", shares[1], said))
    graph.output("logits", logits, [BATCH, model.config.classes])
    _states(graph, [*after, ("summary", summary, shape)])
    for name, value, shape, dtype in beside:
        graph.output(f"next.{name}", value, shape, dtype)
    return graph.model("Classifier", about)


def _spelling(graph: Graph, spelling: Spelling, tokens: str, letters: int) -> str:
    """tokens[T, B, 1 + W], a word and its characters -> what it is spelled like [T, B, S], as `layers.spelling`."""
    one = graph.integers(1)
    characters = graph.add("Slice", tokens, one, graph.integers(1 + letters), graph.integers(2))
    none = graph.add("Mul", graph.add("Slice", characters, graph.integers(0), one, graph.integers(2)), graph.integer(0))
    padded = graph.add("Concat", none, characters, none, axis=2)
    found = graph.constant("spelling.bias", spelling.bias.detach().cpu())
    for place, table in enumerate(spelling.tables().unbind(1)):
        name = graph.constant(f"spelling.{place}", table.detach().cpu())
        part = graph.add("Slice", padded, graph.integers(place), graph.integers(place + letters), graph.integers(2))
        found = graph.add("Add", found, graph.add("Gather", name, part, axis=0))
    is_none = graph.add("Unsqueeze", graph.add("Equal", characters, graph.integer(0)), graph.integers(3))
    kept = graph.add("Where", is_none, graph.number(0.0), graph.add("Relu", found))
    if graph.opset < 18:
        return graph.add("ReduceMax", kept, axes=[2], keepdims=0)
    return graph.add("ReduceMax", kept, graph.integers(2), keepdims=0)


# hidden[T, B, H], the summary before it -> (the summary after it, what the answer is read off [B, H]), as `layers.pooling`


def _last(graph: Graph, model: Classifier, hidden: str, before: str, lengths: Lengths | None) -> tuple[str, str]:
    if lengths is None:
        last = graph.add("Gather", hidden, graph.integer(-1), axis=0)
    else:
        place = graph.add("Max", graph.add("Sub", lengths.lengths, graph.integer(1)), graph.integer(0))
        rows = graph.add("Transpose", hidden, perm=[1, 0, 2])
        last = graph.add("GatherND", rows, graph.add("Unsqueeze", place, graph.integers(1)), batch_dims=1)
    if not model.stack.causal:
        # the half that reads backwards has seen everything at the first step
        half, whole = model.stack.hidden // 2, model.stack.hidden
        first = graph.add("Gather", hidden, graph.integer(0), axis=0)
        halves = [
            graph.add("Slice", value, graph.integers(start), graph.integers(end), graph.integers(1))
            for value, start, end in ((last, 0, half), (first, half, whole))
        ]
        last = graph.add("Concat", *halves, axis=1)
    summary = last if lengths is None else graph.add("Where", lengths.empty, before, last)
    return summary, summary


def _greatest(graph: Graph, model: Classifier, hidden: str, before: str, lengths: Lengths | None) -> tuple[str, str]:
    # after a row's end its outputs are zero, and no summary is below zero
    if graph.opset < 18:
        greatest = graph.add("ReduceMax", hidden, axes=[0], keepdims=0)
    else:
        greatest = graph.add("ReduceMax", hidden, graph.integers(0), keepdims=0)
    summary = graph.add("Max", greatest, before)
    return summary, summary


def _attention(graph: Graph, model: Classifier, hidden: str, before: str, lengths: Lengths | None) -> tuple[str, str]:
    pooling = model.pooling
    assert isinstance(pooling, Attention)
    inner = graph.add("Tanh", graph.linear(hidden, "pooling.weight", pooling.weight.detach().cpu(), None))
    score = graph.linear(inner, "pooling.score", pooling.score.detach().cpu(), None)
    bound = graph.number(BOUND)
    weights = graph.add("Exp", graph.add("Mul", bound, graph.add("Tanh", graph.add("Div", score, bound))))
    if lengths is not None:
        weights = lengths.masked(graph, weights)
    width = model.stack.hidden
    # a column for each unit, with a one in the row of its head
    spread = torch.eye(pooling.heads, dtype=model.bias.dtype).repeat_interleave(width // pooling.heads, dim=1)
    units = graph.constant("pooling.units", spread)
    parts = graph.add("Concat", graph.add("Mul", hidden, graph.add("MatMul", weights, units)), weights, axis=2)
    summary = graph.add("Add", graph.add("ReduceSum", parts, graph.integers(0), keepdims=0), before)
    total, mass = (
        graph.add("Slice", summary, graph.integers(start), graph.integers(end), graph.integers(1))
        for start, end in ((0, width), (width, pooling.size))
    )
    some = graph.add("Where", graph.add("Greater", mass, graph.number(0.0)), mass, graph.number(1.0))
    return summary, graph.add("Div", total, graph.add("MatMul", some, units))


def _states(graph: Graph, after: list[tuple[str, str, list[int | str]]]) -> None:
    for name, value, shape in after:
        graph.output(f"next.{name}", value, shape)
