"""The layers of a `Description` as nodes of a graph.

Inside, everything is time first, [T, B, width], and states are [1, B, H] as the recurrent nodes have them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from recurra.onnx.activations import FORMULAS
from recurra.onnx.description import Description, Layer, Part, Pointwise, Recurrence, Scanned, StateInput
from recurra.onnx.graph import BATCH, Graph, Lengths
from recurra.onnx.nodes import OPERATORS, PEEPHOLES, reordered
from recurra.onnx.programs import Written


def layers(
    graph: Graph, description: Description, x: str, lengths: Lengths | None, prefix: str = ""
) -> tuple[str, list[tuple[str, str, list[int | str]]]]:
    """Write all layers over x[T, B, I]: outputs[T, B, H], and for each tensor of the state its name, value and shape.

    The tensors of the state become inputs of the graph, `state.` before their names; `prefix` comes between.
    """
    before: dict[tuple[int, int], str] = {}
    for state in description.states:
        before |= _taken_apart(graph, state, prefix)
    after: dict[tuple[int, int], str] = {}
    first = 0
    for number, layer in enumerate(description.layers):
        given = [[before[first + place, leaf] for leaf in range(part.leaves)] for place, part in enumerate(layer.parts)]
        x, last = _layer(graph, f"{prefix}{number}", layer, x, given, lengths)
        after |= {(first + place, leaf): value for place, each in enumerate(last) for leaf, value in enumerate(each)}
        first += len(layer.parts)
    results = []
    for state in description.states:
        lines = [after[place] for place in state.holds]
        # a stacked state has axis 0 for its lines, another has none
        joined = ("Concat", *lines) if state.stacked else ("Squeeze", lines[0], graph.integers(0))
        value = graph.add(*joined, **({"axis": 0} if state.stacked else {}))
        results.append((f"{prefix}{state.name}", value, _shape(state)))
    return x, results


def _shape(state: StateInput) -> list[int | str]:
    return [len(state.holds), BATCH, state.width] if state.stacked else [BATCH, state.width]


def _taken_apart(graph: Graph, state: StateInput, prefix: str) -> dict[tuple[int, int], str]:
    """The leaves [1, B, H] that an input of the graph holds."""
    name = f"{prefix}{state.name}"
    about = (
        "zeros" if state.initial is None else f"the metadata 'recurra.initial.{name}', [lines, width], for every row"
    )
    value = graph.input(f"state.{name}", _shape(state), about=f"At the start of a sequence: {about}.")
    if not state.stacked:
        return {state.holds[0]: graph.add("Unsqueeze", value, graph.integers(0))}
    return {place: graph.add("Gather", value, graph.integers(line), axis=0) for line, place in enumerate(state.holds)}


def _layer(
    graph: Graph, name: str, layer: Layer, x: str, before: list[list[str]], lengths: Lengths | None
) -> tuple[str, list[list[str]]]:
    """One layer over x[T, B, I]: outputs, and the last leaves of each part's state."""
    outputs, after = [], []
    for number, group in enumerate(_groups(layer.parts)):
        place, given = f"{name}.{number}", before[len(after) : len(after) + len(group)]
        first = group[0]
        if isinstance(first, Pointwise):
            y, last = _pointwise(graph, place, first, x, lengths), [[]]
        elif isinstance(first, Scanned):
            y, last = _scan(graph, place, first, x, given[0], lengths)
        else:
            y, last = _node(graph, place, [part for part in group if isinstance(part, Recurrence)], x, given, lengths)
        outputs.append(y)
        after += last
    y = outputs[0] if len(outputs) == 1 else graph.add("Concat", *outputs, axis=2)
    if layer.residual:
        y = graph.add("Add", y, x if lengths is None else lengths.masked(graph, x))
    return y, after


def _groups(parts: Sequence[Part]) -> list[Sequence[Part]]:
    """The parts of a layer by what they become: two directions that are alike are one bidirectional node."""
    if len(parts) == 2:
        ahead, back = parts
        if isinstance(ahead, Recurrence) and isinstance(back, Recurrence) and ahead.node == back.node:
            return [parts] if not ahead.reverse and back.reverse else [[ahead], [back]]
    return [[part] for part in parts]


def _scan(
    graph: Graph, name: str, part: Scanned, x: str, before: Sequence[str], lengths: Lengths | None
) -> tuple[str, list[list[str]]]:
    """A program as a Scan over the steps, after what it needs for all steps at once."""
    loop, rows = part.loop, [x] if part.keeps_inputs else []
    if part.before is not None:
        written = Written(graph, name, part.before, [x, *part.shared], part.weights)
        rows += [written.row(value) for value in part.before.emitted]
    body = graph.body(name)
    states = [body.input(f"state.{at}", [BATCH, width]) for at, width in enumerate(loop.states)]
    inputs = [body.input(f"input.{at}", [BATCH, width]) for at, width in enumerate(loop.inputs)]
    written = Written(body, name, loop, [*inputs, *states, *part.shared], part.weights)
    after = [written.row(value) for value in loop.after]
    y = written.row(loop.emitted[0])
    if lengths is not None:
        # a row that has ended keeps its state and gives zeros
        valid = body.input("valid", [BATCH, 1], torch.bool)
        rows.append(lengths.valid)
        after = [body.add("Where", valid, new, old) for new, old in zip(after, states, strict=True)]
        y = body.add("Where", valid, y, body.number(0.0))
    for at, (value, width) in enumerate(zip(after, loop.states, strict=True)):
        body.output(f"next.{at}", value, [BATCH, width])
    body.output("output", y, [BATCH, part.hidden])
    given = [graph.add("Squeeze", leaf, graph.integers(0)) for leaf in before]
    *last, outputs = graph.add_many(
        "Scan", [*given, *rows], len(given) + 1, body=body.within(f"{name}.step"), num_scan_inputs=len(rows),
        scan_input_directions=[int(part.reverse)] * len(rows), scan_output_directions=[int(part.reverse)],
    )  # fmt: skip
    return outputs, [[graph.add("Unsqueeze", leaf, graph.integers(0)) for leaf in last]]


def _node(
    graph: Graph, name: str, group: Sequence[Recurrence], x: str, before: list[list[str]], lengths: Lengths | None
) -> tuple[str, list[list[str]]]:
    """One recurrent node: outputs[T, B, D*H] and the leaves [1, B, H] of each direction's last state."""
    first = group[0]
    operator = OPERATORS[first.operator]
    # where ONNX's gates stand in ours: the other way round
    order = [operator.order.index(place) for place in range(len(operator.order))]

    def stacked(what: str, tensors: list[Tensor]) -> str:
        return graph.constant(f"{name}.{what}", torch.stack([reordered(tensor, order) for tensor in tensors]))

    zeros = first.weight.new_zeros(first.weight.shape[0])
    biases = [
        torch.cat([reordered(zeros if bias is None else bias, order) for bias in (part.bias_in, part.bias)])
        for part in group
    ]
    attributes: dict[str, Any] = {
        "hidden_size": first.hidden,
        "direction": "bidirectional" if len(group) == 2 else "reverse" if first.reverse else "forward",
    }
    if first.operator == "GRU":
        attributes["linear_before_reset"] = int(first.reset_after)
    if first.operator == "RNN":
        attributes |= _activations(group)
    if first.clip is not None:
        attributes["clip"] = first.clip
    inputs = [
        x,
        stacked("W", [part.weight_in for part in group]),
        stacked("R", [part.weight for part in group]),
        graph.constant(f"{name}.B", torch.stack(biases)),
        "" if lengths is None else lengths.nodes,
    ]
    for leaf in zip(*before, strict=True):
        inputs.append(leaf[0] if len(leaf) == 1 else graph.add("Concat", *leaf, axis=0))
    if first.peepholes is not None:
        seen = [part.peepholes.flatten() for part in group if part.peepholes is not None]
        inputs.append(graph.constant(f"{name}.P", torch.stack([reordered(each, PEEPHOLES) for each in seen])))
    y, *last = graph.add_many(first.operator, inputs, 1 + first.leaves, **attributes)
    if len(group) == 1:
        y = graph.add("Squeeze", y, graph.integers(1))
        after = [last]
    else:
        side_by_side = graph.add("Transpose", y, perm=[0, 2, 1, 3])
        y = graph.add("Reshape", side_by_side, graph.integers(0, 0, 2 * first.hidden))
        after = [[graph.add("Gather", leaf, graph.integers(place), axis=0) for leaf in last] for place in range(2)]
    if lengths is not None:
        # the standard does not say what a row without steps leaves, and ONNX Runtime leaves zeros
        after = [
            [graph.add("Where", lengths.empty, *pair) for pair in zip(old, new, strict=True)]
            for old, new in zip(before, after, strict=True)
        ]
    return y, after


def _activations(group: Sequence[Recurrence]) -> dict[str, Any]:
    found: dict[str, Any] = {"activations": [part.activation.name for part in group]}
    if found["activations"] == ["Tanh"] * len(group):
        return {}
    formulas = [FORMULAS[part.activation.name] for part in group]
    for what in ("alpha", "beta"):
        numbers = [
            getattr(part.activation, what)
            for part, formula in zip(group, formulas, strict=True)
            if getattr(formula, f"takes_{what}")
        ]
        if numbers:
            found[f"activation_{what}"] = numbers
    return found


def _pointwise(graph: Graph, name: str, part: Pointwise, x: str, lengths: Lengths | None) -> str:
    z = graph.linear(x, f"{name}.weight", part.weight, (f"{name}.bias", part.bias))
    y = _activated(graph, part.activation, z)
    return y if lengths is None else lengths.masked(graph, y)


_PLAIN = {
    "tanh": "Tanh", "relu": "Relu", "sigmoid": "Sigmoid", "identity": "Identity", "softsign": "Softsign",
    "softplus": "Softplus", "sin": "Sin",
}  # fmt: skip


def _activated(graph: Graph, activation: str, z: str) -> str:
    """An activation of `kernels.ACTIVATIONS` as ordinary nodes."""
    if activation in _PLAIN:
        return graph.add(_PLAIN[activation], z)
    if activation == "hardtanh":
        return graph.add("Clip", z, graph.number(-1.0), graph.number(1.0))
    if activation == "hardsigmoid":
        return graph.add("HardSigmoid", z, alpha=1 / 6, beta=0.5)
    if activation == "leaky_relu":
        return graph.add("LeakyRelu", z, alpha=0.01)
    if activation == "elu":
        return graph.add("Elu", z, alpha=1.0)
    if activation == "silu":
        return graph.add("Mul", z, graph.add("Sigmoid", z))
    # gelu: z Φ(z), Φ by the error function
    share = graph.add("Erf", graph.add("Mul", z, graph.number(0.5**0.5)))
    return graph.add("Mul", graph.add("Mul", z, graph.number(0.5)), graph.add("Add", share, graph.number(1.0)))
