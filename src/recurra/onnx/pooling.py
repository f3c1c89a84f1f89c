"""What all steps of a sequence come to, as ONNX nodes: the poolings of `layers.pooling`."""

from __future__ import annotations

import torch

from recurra.layers.pooling import BOUND, Attention, Every, Greatest, Pooling
from recurra.onnx.graph import TYPES, Graph, Lengths


def pooled(
    graph: Graph, part: Pooling, name: str, hidden: str, before: str, lengths: Lengths | None, both_ways: int
) -> tuple[str, str]:
    """hidden[T, B, H] and the summary before it -> (the summary after it, what the answer is read off [B, width]).

    Of the first `both_ways` units the second half reads backwards.
    """
    if isinstance(part, Greatest):
        summary = _greatest(graph, hidden, before)
        return summary, summary
    if isinstance(part, Attention):
        return _attention(graph, part, name, hidden, before, lengths)
    if isinstance(part, Every):
        return _every(graph, part.width // 3, hidden, before, lengths, both_ways)
    summary = _last(graph, part.width, hidden, before, lengths, both_ways)
    return summary, summary


def _slice(graph: Graph, value: str, start: int, end: int) -> str:
    """The columns from `start` to `end` of [B, .]."""
    return graph.add("Slice", value, graph.integers(start), graph.integers(end), graph.integers(1))


def _last(graph: Graph, width: int, hidden: str, before: str, lengths: Lengths | None, both_ways: int) -> str:
    if lengths is None:
        last = graph.add("Gather", hidden, graph.integer(-1), axis=0)
    else:
        place = graph.add("Max", graph.add("Sub", lengths.lengths, graph.integer(1)), graph.integer(0))
        rows = graph.add("Transpose", hidden, perm=[1, 0, 2])
        last = graph.add("GatherND", rows, graph.add("Unsqueeze", place, graph.integers(1)), batch_dims=1)
    if both_ways:
        # the half that reads backwards has seen everything at the first step
        half = both_ways // 2
        first = graph.add("Gather", hidden, graph.integer(0), axis=0)
        parts = [_slice(graph, last, 0, half), _slice(graph, first, half, both_ways)]
        parts += [_slice(graph, last, both_ways, width)] if width > both_ways else []
        last = graph.add("Concat", *parts, axis=1)
    return last if lengths is None else graph.add("Where", lengths.empty, before, last)


def _greatest(graph: Graph, hidden: str, before: str) -> str:
    # after a row's end its outputs are zero, and no summary is below zero
    if graph.opset < 18:
        greatest = graph.add("ReduceMax", hidden, axes=[0], keepdims=0)
    else:
        greatest = graph.add("ReduceMax", hidden, graph.integers(0), keepdims=0)
    return graph.add("Max", greatest, before)


def _attention(
    graph: Graph, part: Attention, name: str, hidden: str, before: str, lengths: Lengths | None
) -> tuple[str, str]:
    inner = graph.add("Tanh", graph.linear(hidden, f"{name}.weight", part.weight.detach().cpu(), None))
    score = graph.linear(inner, f"{name}.score", part.score.detach().cpu(), None)
    bound = graph.number(BOUND)
    weights = graph.add("Exp", graph.add("Mul", bound, graph.add("Tanh", graph.add("Div", score, bound))))
    if lengths is not None:
        weights = lengths.masked(graph, weights)
    width = part.width
    # a column for each unit, with a one in the row of its head
    spread = torch.eye(part.heads, dtype=graph.dtype).repeat_interleave(width // part.heads, dim=1)
    units = graph.constant(f"{name}.units", spread)
    parts = graph.add("Concat", graph.add("Mul", hidden, graph.add("MatMul", weights, units)), weights, axis=2)
    summary = graph.add("Add", graph.add("ReduceSum", parts, graph.integers(0), keepdims=0), before)
    total, mass = _slice(graph, summary, 0, width), _slice(graph, summary, width, part.size)
    some = graph.add("Where", graph.add("Greater", mass, graph.number(0.0)), mass, graph.number(1.0))
    return summary, graph.add("Div", total, graph.add("MatMul", some, units))


def _every(
    graph: Graph, width: int, hidden: str, before: str, lengths: Lengths | None, both_ways: int
) -> tuple[str, str]:
    was, total, greatest, count = (
        _slice(graph, before, start, end)
        for start, end in ((0, width), (width, 2 * width), (2 * width, 3 * width), (3 * width, 3 * width + 1))
    )
    last = _last(graph, width, hidden, was, lengths, both_ways)
    total = graph.add("Add", total, graph.add("ReduceSum", hidden, graph.integers(0), keepdims=0))
    greatest = _greatest(graph, hidden, greatest)
    if lengths is None:
        steps = graph.add("Gather", graph.add("Shape", hidden), graph.integer(0))
    else:
        steps = graph.add("Unsqueeze", lengths.lengths, graph.integers(1))
    count = graph.add("Add", count, graph.add("Cast", steps, to=TYPES[graph.dtype]))
    mean = graph.add("Div", total, graph.add("Max", count, graph.number(1.0)))
    summary = graph.add("Concat", last, total, greatest, count, axis=1)
    return summary, graph.add("Concat", last, mean, greatest, axis=1)
