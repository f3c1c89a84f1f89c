"""Models that answer once for a whole sequence, as ONNX: classifiers, regressors, and ensembles of either."""

from __future__ import annotations

import json
from typing import Any

import torch
from onnx import ModelProto

from recurra.data.codecs import SeriesCodec
from recurra.errors import UsageError
from recurra.layers import Spelling
from recurra.models import Classifier, ClassifierEnsemble, Regressor, RegressorEnsemble
from recurra.models.ensemble import LEAST, Ensemble
from recurra.models.voice import Voice
from recurra.models.whole import Whole
from recurra.onnx.description import describe, kind_of
from recurra.onnx.graph import BATCH, TIME, Graph, Lengths
from recurra.onnx.layers import layers
from recurra.onnx.ngrams import After, ngrams
from recurra.onnx.numbers import filling, front, probes
from recurra.onnx.pooling import pooled

KINDS = (Classifier, Regressor, ClassifierEnsemble, RegressorEnsemble)


def whole_model(model: Any, opset: int, with_lengths: bool) -> ModelProto:
    """One of `KINDS` as a model."""
    first: Whole[Any] = model.first if isinstance(model, Ensemble) else model
    graph = Graph(describe(first.stack).dtype, opset)
    x, lengths = _inputs(graph, first, with_lengths)
    if isinstance(model, Ensemble):
        said, after = _ensemble(graph, model, x, lengths)
    else:
        said, after = _member(graph, model, "", x, lengths)
    name = "logits" if model.kind == Classifier.kind else "outputs"
    graph.output(name, said, [BATCH, len(first.bias)])
    for name, value, shape, dtype in after:
        graph.output(f"next.{name}", value, shape, dtype)
    return graph.model(kind_of(model).__name__, _about(model, first))


def _about(model: Any, first: Whole[Any]) -> dict[str, str]:
    about = {"recurra.kind": model.kind}
    if isinstance(first, Classifier):
        about["recurra.labels"] = json.dumps(list(first.labels.labels), ensure_ascii=False)
    if isinstance(first, Regressor):
        about["recurra.targets"] = json.dumps(list(first.numbers.names), ensure_ascii=False)
        for name in ("mean", "scale"):
            about[f"recurra.targets.{name}"] = json.dumps(getattr(first.numbers, name).tolist())
    if isinstance(first.codec, SeriesCodec):
        # the network reads standardised numbers; these make them
        about |= {f"recurra.{name}": json.dumps(getattr(first.codec, name).tolist()) for name in ("mean", "scale")}
        if first.codec.long is not None:
            about["recurra.channels"] = json.dumps(list(first.codec.long.channels), ensure_ascii=False)
        if first.config.flat or first.config.single:
            about["recurra.read"] = "whole" if first.config.flat else "pixels"
    return about


def _inputs(graph: Graph, first: Whole[Any], with_lengths: bool) -> tuple[str, Lengths | None]:
    """(the inputs of the model, time first, the lengths)."""
    if first.embedding is None:
        width = first.stack.inputs if first.front is None else first.front.inputs
        x = graph.add("Transpose", graph.input("inputs", [BATCH, TIME, width]), perm=[1, 0, 2])
    else:
        letters = 0 if first.letters is None else first.letters.width
        shape: list[int | str] = [BATCH, TIME, 1 + letters] if letters else [BATCH, TIME]
        order = [1, 0, 2] if letters else [1, 0]
        x = graph.add("Transpose", graph.input("tokens", shape, torch.int64), perm=order)
    return x, Lengths.read(graph, x) if with_lengths else None


def _ensemble(graph: Graph, model: Ensemble[Any], x: str, lengths: Lengths | None) -> tuple[str, list[After]]:
    """The mean of the members, of classifiers that of their probabilities, and of the voice beside them by its share."""
    after: list[After] = []
    answers = []
    classes = isinstance(model, ClassifierEnsemble)
    for place, member in enumerate(model.members):
        assert isinstance(member, Whole)
        said, now = _member(graph, member, f"members.{place}.", x, lengths)
        answers.append(graph.add("Softmax", said, axis=-1) if classes else said)
        after += now
    total = answers[0] if len(answers) == 1 else graph.add("Sum", *answers)
    mean = graph.add("Mul", total, graph.number(1 / len(answers)))
    if model.voice is not None:
        said, now = _voice(graph, model.voice, x, lengths)
        after += now
        said, share = graph.add("Softmax", said, axis=-1) if classes else said, model.config.share
        parts = [graph.add("Mul", part, graph.number(weight)) for part, weight in ((mean, 1 - share), (said, share))]
        mean = graph.add("Add", *parts)
    return graph.add("Log", graph.add("Max", mean, graph.number(LEAST))) if classes else mean, after


def _voice(graph: Graph, voice: Voice, x: str, lengths: Lengths | None) -> tuple[str, list[After]]:
    after: list[After] = []
    if voice.filling is not None:
        x, after = filling(graph, voice.filling, "voice.filling", x, lengths)
    shares, now = probes(graph, voice.probes, "voice.probes", x, lengths)
    head, bias = voice.head.detach().cpu(), voice.bias.detach().cpu()
    return graph.linear(shares, "voice.head", head, ("voice.bias", bias)), [*after, *now]


def _member(graph: Graph, model: Whole[Any], prefix: str, x: str, lengths: Lengths | None) -> tuple[str, list[After]]:
    """x[T, B, ...] -> (what one network says [B, answers], the next state)."""
    if kind_of(model) not in (Classifier, Regressor):
        raise UsageError("This has no ONNX form", got=type(model).__name__, expected="a Classifier or a Regressor")
    described = describe(model.stack)
    words, seen = "", None
    after: list[After] = []
    if model.embedding is not None:
        words = graph.add("Gather", x, graph.integer(0), axis=2) if model.letters is not None else x
        tokens, x = (
            x,
            graph.add("Gather", graph.constant(f"{prefix}embedding", model.embedding.detach().cpu()), words, axis=0),
        )
        if model.spelling is not None and model.letters is not None:
            spelled = _spelling(graph, model.spelling, f"{prefix}spelling", tokens, model.letters.width)
            x = graph.add("Concat", x, spelled, axis=2)
    if model.front is not None:
        x, after = front(graph, model.front, f"{prefix}front", x, lengths)
        seen = x
    hidden, stack = layers(graph, described, x, lengths, prefix=f"{prefix}stack.")
    if seen is not None:
        hidden = graph.add("Concat", hidden, seen, axis=2)
    shape: list[int | str] = [BATCH, model.pooling.size]
    before = graph.input(f"state.{prefix}summary", shape)
    both_ways = 0 if model.causal else model.stack.hidden
    summary, read = pooled(graph, model.pooling, f"{prefix}pooling", hidden, before, lengths, both_ways)
    after += [
        (name, value, width, graph.dtype) for name, value, width in [*stack, (f"{prefix}summary", summary, shape)]
    ]
    head, bias = model.head.detach().cpu(), model.bias.detach().cpu()
    said = graph.linear(read, f"{prefix}head", head, (f"{prefix}bias", bias))
    if not isinstance(model, Classifier) or model.ngrams is None:
        return said, after
    beside, now = ngrams(graph, model.ngrams, words, lengths)
    shares = [graph.constant(f"shares.{place}", share) for place, share in enumerate(model.shares.cpu())]
    return graph.add("Add", graph.add("Mul", shares[0], said), graph.add("Mul", shares[1], beside)), [*after, *now]


def _spelling(graph: Graph, spelling: Spelling, name: str, tokens: str, letters: int) -> str:
    """tokens[T, B, 1 + W], a word and its characters -> what it is spelled like [T, B, S], as `layers.spelling`."""
    one = graph.integers(1)
    characters = graph.add("Slice", tokens, one, graph.integers(1 + letters), graph.integers(2))
    none = graph.add("Mul", graph.add("Slice", characters, graph.integers(0), one, graph.integers(2)), graph.integer(0))
    padded = graph.add("Concat", none, characters, none, axis=2)
    found = graph.constant(f"{name}.bias", spelling.bias.detach().cpu())
    for place, table in enumerate(spelling.tables().unbind(1)):
        rows = graph.constant(f"{name}.{place}", table.detach().cpu())
        part = graph.add("Slice", padded, graph.integers(place), graph.integers(place + letters), graph.integers(2))
        found = graph.add("Add", found, graph.add("Gather", rows, part, axis=0))
    is_none = graph.add("Unsqueeze", graph.add("Equal", characters, graph.integer(0)), graph.integers(3))
    kept = graph.add("Where", is_none, graph.number(0.0), graph.add("Relu", found))
    if graph.opset < 18:
        return graph.add("ReduceMax", kept, axes=[2], keepdims=0)
    return graph.add("ReduceMax", kept, graph.integers(2), keepdims=0)
