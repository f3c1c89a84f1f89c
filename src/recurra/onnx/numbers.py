"""What numbers go through before a stack, and the fixed convolutions beside it, as ONNX nodes; as `layers` has them.

Inside, everything is time first, [T, B, width]; past the end of a row stand zeros.
"""

from __future__ import annotations

import torch

from recurra.layers import Convolution, Filling, Front, Probes
from recurra.layers.probes import KERNELS, WIDTH
from recurra.onnx.graph import BATCH, TYPES, Graph, Lengths
from recurra.onnx.ngrams import After

_END = 2**63 - 1
_EPSILON = 1e-5
"""What the layer normalisation of torch adds to the variance."""


def front(graph: Graph, part: Front, name: str, x: str, lengths: Lengths | None) -> tuple[str, list[After]]:
    """x[T, B, I] -> (what the stack reads [T, B, H], the next state)."""
    after: list[After] = []
    filled = x if lengths is None else lengths.masked(graph, x)
    outputs, convolved = x, False
    for place, one in enumerate(part.parts):
        if isinstance(one, Filling):
            outputs, now = filling(graph, one, f"{name}.{place}", outputs, lengths)
            filled = outputs
        else:
            assert isinstance(one, Convolution)
            outputs, now = _convolution(graph, one, f"{name}.{place}", outputs, lengths)
            convolved = True
        after += now
    return graph.add("Concat", outputs, filled, axis=2) if convolved else outputs, after


def filling(graph: Graph, part: Filling, name: str, x: str, lengths: Lengths | None) -> tuple[str, list[After]]:
    """x[T, B, F] with NaN -> (x without, with marks behind it where there are such, the next state)."""
    width = part.inputs if part.fill == "previous" else 0
    last = graph.input(f"state.{name}.last", [BATCH, width])
    missing = graph.add("IsNaN", x)
    stand = part.nothing.detach().cpu() if part.fill == "zero" else torch.zeros(part.inputs, dtype=graph.dtype)
    values = graph.add("Where", missing, graph.constant(f"{name}.stand", stand.to(graph.dtype)), x)
    if part.fill == "previous":
        body = graph.body(name)
        held = body.input("last", [BATCH, width])
        value, is_none = body.input("value", [BATCH, width]), body.input("missing", [BATCH, width], torch.bool)
        rows = [values, missing]
        there = body.add("Not", is_none)
        if lengths is not None:
            rows.append(lengths.valid)
            there = body.add("And", there, body.input("valid", [BATCH, 1], torch.bool))
        now = body.add("Where", there, value, held)
        body.output("next", now, [BATCH, width])
        body.output("filled", now, [BATCH, width])
        last, values = graph.add_many(
            "Scan", [last, *rows], 2, body=body.within(f"{name}.step"), num_scan_inputs=len(rows)
        )
    if part.hidden > part.inputs:
        values = graph.add("Concat", values, graph.add("Cast", missing, to=TYPES[graph.dtype]), axis=2)
    outputs = values if lengths is None else lengths.masked(graph, values)
    return outputs, [(f"{name}.last", last, [BATCH, width], graph.dtype)]


def _convolution(
    graph: Graph, part: Convolution, name: str, x: str, lengths: Lengths | None
) -> tuple[str, list[After]]:
    x = x if lengths is None else lengths.masked(graph, x)
    before, after = _behind(graph, name, part.past, part.inputs, x, lengths)
    seen = graph.add("Transpose", before, perm=[1, 2, 0])
    parts = []
    for place, (weight, (width, dilation)) in enumerate(zip(part.weights, part.pairs, strict=True)):
        start = graph.integers(part.past - (width - 1) * dilation)
        window = graph.add("Slice", seen, start, graph.integers(_END), graph.integers(2))
        kernel = graph.constant(f"{name}.weights.{place}", weight.detach().cpu().transpose(1, 2))
        parts.append(graph.add("Conv", window, kernel, dilations=[dilation]))
    summed = graph.add("Transpose", graph.add("Concat", *parts, axis=1), perm=[2, 0, 1])
    bias, gain, shift = (
        graph.constant(f"{name}.{what}", getattr(part, what).detach().cpu()) for what in ("bias", "gain", "shift")
    )
    centred = graph.add("Add", summed, bias)
    centred = graph.add("Sub", centred, _mean(graph, centred))
    variance = _mean(graph, graph.add("Mul", centred, centred))
    spread = graph.add("Sqrt", graph.add("Add", variance, graph.number(_EPSILON)))
    normal = graph.add("Add", graph.add("Mul", graph.add("Div", centred, spread), gain), shift)
    outputs = graph.add("Relu", normal)
    if part.inputs == part.hidden:
        outputs = graph.add("Add", outputs, x)
    return outputs if lengths is None else lengths.masked(graph, outputs), [after]


def _mean(graph: Graph, x: str) -> str:
    if graph.opset < 18:
        return graph.add("ReduceMean", x, axes=[-1], keepdims=1)
    return graph.add("ReduceMean", x, graph.integers(-1), keepdims=1)


def _behind(graph: Graph, name: str, past: int, width: int, x: str, lengths: Lengths | None) -> tuple[str, After]:
    """x[T, B, I] -> (the last inputs and then x [P + T, B, I], what of it the next state holds [B, P, I])."""
    shape: list[int | str] = [BATCH, past, width]
    held = graph.add("Transpose", graph.input(f"state.{name}.past", shape), perm=[1, 0, 2])
    before = graph.add("Concat", held, x, axis=0)
    rows = graph.add("Transpose", before, perm=[1, 0, 2])
    if lengths is None:
        steps = graph.add("Slice", graph.add("Shape", x), graph.integers(0), graph.integers(1))
        last = graph.add("Slice", rows, steps, graph.integers(_END), graph.integers(1))
    else:
        every = graph.constant(f"{name}.places", torch.arange(past))
        places = graph.add("Add", graph.add("Unsqueeze", lengths.lengths, graph.integers(1)), every)
        last = graph.add("GatherND", rows, graph.add("Unsqueeze", places, graph.integers(2)), batch_dims=1)
    return before, (f"{name}.past", last, shape, graph.dtype)


def probes(graph: Graph, part: Probes, name: str, x: str, lengths: Lengths | None) -> tuple[str, list[After]]:
    """x[T, B, F] -> (the share of steps above each threshold [B, K], the next state)."""
    x = x if lengths is None else lengths.masked(graph, x)
    before, past = _behind(graph, name, part.past, part.inputs, x, lengths)
    counts = graph.input(f"state.{name}.counts", [BATCH, part.hidden])
    steps = graph.input(f"state.{name}.steps", [BATCH, 1])
    count = graph.add("Gather", graph.add("Shape", x), graph.integer(0))
    time = graph.add("Cast", graph.add("Range", graph.integer(0), count, graph.integer(1)), to=TYPES[graph.dtype])
    # how many steps of each row came before each, [T, B, 1]
    age = graph.add("Add", graph.add("Unsqueeze", time, graph.integers(1, 2)), steps)
    found = [_above(graph, part, name, place, before, count, age, lengths) for place in range(len(part.dilations))]
    counts = graph.add("Add", counts, graph.add("Concat", *found, axis=1))
    read = count if lengths is None else graph.add("Unsqueeze", lengths.lengths, graph.integers(1))
    steps = graph.add("Add", steps, graph.add("Cast", read, to=TYPES[graph.dtype]))
    each = part.thresholds.shape[-1]
    cut = torch.cat(
        [
            whole.repeat_interleave(each) * ((WIDTH - 1) * d)
            for whole, d in zip(_whole(part), part.dilations, strict=True)
        ]
    )
    possible = graph.add("Sub", steps, graph.constant(f"{name}.cut", cut.to(graph.dtype)))
    shares = graph.add("Div", counts, graph.add("Max", possible, graph.number(1.0)))
    after: list[After] = [
        past,
        (f"{name}.counts", counts, [BATCH, part.hidden], graph.dtype),
        (f"{name}.steps", steps, [BATCH, 1], graph.dtype),
    ]
    return shares, after


def _whole(part: Probes) -> list[torch.Tensor]:
    """For each dilation which kernels start only where their window is filled, [84]."""
    return [(torch.arange(len(KERNELS)) + place) % 2 for place in range(len(part.dilations))]


def _above(
    graph: Graph, part: Probes, name: str, place: int, before: str, count: str, age: str, lengths: Lengths | None
) -> str:
    """At how many steps each kernel of a dilation lies above each of its thresholds, [B, 84 * thresholds]."""
    dilation = part.dilations[place]
    taps = []
    for back in range((WIDTH - 1) * dilation, -1, -dilation):
        start = graph.integers(part.past - back)
        end = graph.add("Add", graph.add("Unsqueeze", count, graph.integers(0)), start)
        taps.append(graph.add("Slice", before, start, end, graph.integers(0)))
    found = graph.linear(
        graph.add("Concat", *taps, axis=2), f"{name}.weights.{place}", part.weights[place].detach().cpu(), None
    )
    filled = graph.add("GreaterOrEqual", age, graph.number(float((WIDTH - 1) * dilation)))
    counted = graph.add("Or", filled, graph.constant(f"{name}.anywhere.{place}", _whole(part)[place] == 0))
    if lengths is not None:
        counted = graph.add("And", counted, lengths.valid)
    limits = graph.constant(f"{name}.thresholds.{place}", part.thresholds[place].detach().cpu())
    above = graph.add("Greater", graph.add("Unsqueeze", found, graph.integers(3)), limits)
    above = graph.add("And", above, graph.add("Unsqueeze", counted, graph.integers(3)))
    summed = graph.add("ReduceSum", graph.add("Cast", above, to=TYPES[graph.dtype]), graph.integers(0), keepdims=0)
    return graph.add("Reshape", summed, graph.integers(0, -1))
