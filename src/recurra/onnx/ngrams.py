"""The n-grams beside a classifier as ONNX nodes, with their sums as a state; the same numbers as `layers.ngrams`."""

from __future__ import annotations

import torch
from onnx import TensorProto

from recurra.layers import NGrams
from recurra.layers.ngrams import FACTOR, NONE
from recurra.onnx.graph import BATCH, TYPES, Graph, Lengths

_END = 2**63 - 1


After = tuple[str, str, list[int | str], torch.dtype]
"""Of a leaf of the next state its name, its value, shape and type."""


def ngrams(graph: Graph, part: NGrams, tokens: str, lengths: Lengths | None) -> tuple[str, list[After]]:
    """tokens[T, B] -> (logits[B, A], the next state)."""
    answers, recents = part.table.shape[1], part.longest - 1
    recent = graph.input("state.ngrams.recent", [BATCH, recents], torch.int64)
    sums = graph.input("state.ngrams.sums", [BATCH, answers], torch.float64)
    count = graph.input("state.ngrams.count", [BATCH], torch.float64)

    numbers = graph.add("Add", tokens, graph.integer(1))
    history = graph.add("Concat", graph.add("Transpose", recent, perm=[1, 0]), numbers, axis=0)
    lines = _hashed(graph, part, history, recents)
    there = graph.add("Greater", lines, graph.integer(-1))
    if lengths is not None:
        there = graph.add("And", there, lengths.valid)
    zero = graph.constant("ngrams.zero", torch.zeros((), dtype=torch.float64))
    table = graph.constant("ngrams.table", part.table.cpu().double())
    weights = graph.add("Gather", table, graph.add("Where", there, lines, graph.integer(0)), axis=0)
    counted = graph.add("Unsqueeze", there, graph.integers(3))
    weights = graph.add("Where", counted, weights, zero)
    axes = graph.integers(0, 2)
    sums = graph.add("Add", sums, graph.add("ReduceSum", weights, axes, keepdims=0))
    found = graph.add("ReduceSum", graph.add("Cast", there, to=TensorProto.DOUBLE), axes, keepdims=0)
    count = graph.add("Add", count, found)

    after: list[After] = [
        ("ngrams.recent", _recent(graph, history, recents, lengths), [BATCH, recents], torch.int64),
        ("ngrams.sums", sums, [BATCH, answers], torch.float64),
        ("ngrams.count", count, [BATCH], torch.float64),
    ]
    one = graph.constant("ngrams.one", torch.ones((), dtype=torch.float64))
    root = graph.add("Unsqueeze", graph.add("Sqrt", graph.add("Max", count, one)), graph.integers(1))
    mean = graph.add("Cast", graph.add("Div", sums, root), to=TYPES[graph.dtype])
    return graph.add("Add", mean, graph.constant("ngrams.bias", part.bias.cpu())), after


def _hashed(graph: Graph, part: NGrams, history: str, recents: int) -> str:
    """history[longest - 1 + T, B] -> lines[T, B, longest]."""
    lagged = []
    for place in range(part.longest):
        end = graph.integers(place - recents) if place < recents else graph.integers(_END)
        lagged.append(graph.add("Slice", history, graph.integers(place), end, graph.integers(0)))
    found = []
    for length in range(1, part.longest + 1):
        line = graph.add("Add", graph.add("Mul", lagged[-1], graph.integer(0)), graph.integer(length))
        for token in lagged[part.longest - length :]:
            line = graph.add("Add", graph.add("Mul", line, graph.integer(FACTOR)), token)
            line = graph.add("Mod", line, graph.integer(part.lines))
        # the oldest token of an n-gram is there only if the others are
        none = graph.add("Equal", lagged[part.longest - length], graph.integer(NONE))
        line = graph.add("Where", none, graph.integer(-1), line)
        found.append(graph.add("Unsqueeze", line, graph.integers(2)))
    return graph.add("Concat", *found, axis=2)


def _recent(graph: Graph, history: str, recents: int, lengths: Lengths | None) -> str:
    rows = graph.add("Transpose", history, perm=[1, 0])
    if lengths is None:
        if not recents:
            return graph.add("Slice", rows, graph.integers(0), graph.integers(0), graph.integers(1))
        return graph.add("Slice", rows, graph.integers(-recents), graph.integers(_END), graph.integers(1))
    every = graph.constant("ngrams.places", torch.arange(recents))
    places = graph.add("Add", graph.add("Unsqueeze", lengths.lengths, graph.integers(1)), every)
    return graph.add("GatherElements", rows, places, axis=1)
