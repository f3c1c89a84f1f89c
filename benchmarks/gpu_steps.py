"""Rows of `gpu.py` for what cuDNN has not: written steps and gates against compiled loops, scans, sessions of one step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from gpu_layers import Shape, by_torch, drawn, operations, ours, truth
from gpu_timing import Call, Contestant, Row, sets_for, within
from recurra.kernels import Parameters, reference
from recurra.kernels.chunkwise import CHUNK, by_chunks
from recurra.kernels.gpu import generated, layers
from recurra.kernels.gpu.scans import Given as Steps
from recurra.kernels.gpu.scans import backward, forward, linear_scan
from recurra.kernels.programs import Given, Sizes, Traced, trace
from recurra.kernels.programs import by_torch as program_by_torch
from recurra.kernels.steps import LSTMStep
from recurra.kernels.sweeps import SWEEPS, by_reference
from recurra.streaming.graph import captured

Step = Callable[..., tuple[tuple[Tensor, ...], tuple[Tensor, ...]]]


def minimal_gated_unit(x: Tensor, state: tuple[Tensor, ...], given: Mapping[str, Tensor]) -> Any:
    """An own cell of two products, one after the other (Zhou et al. 2016)."""
    (s,), (x_f, x_n) = state, x.chunk(2, dim=1)
    f = torch.sigmoid(x_f + s @ given["weight_f"].T)
    new = (1 - f) * s + f * torch.tanh(x_n + (f * s) @ given["weight_n"].T)
    return (new,), (new,)


def leaky_average(x: Tensor, state: tuple[Tensor, ...], given: Mapping[str, Tensor]) -> Any:
    """An own cell that is linear in its state, so that its steps could be a scan."""
    (s,), (share, value) = state, x.chunk(2, dim=1)
    keep = torch.sigmoid(share)
    new = keep * s + (1 - keep) * value
    return (new,), (new,)


def looped(
    step: Step, xs: list[Tensor], states: tuple[Tensor, ...], weights: Mapping[str, Tensor], alone: bool
) -> Call:
    """A loop of torch over a step that torch.compile compiled, which gives the outputs."""
    device = xs[0].device
    # (in a dry run nothing is generated: that takes a compiler and its time)
    run = torch.compile(step, dynamic=False, backend="inductor" if device.type == "cuda" else "eager")

    @torch.no_grad()
    def call(at: int) -> list[Tensor]:
        state, outputs = states, list[Tensor]()
        for x in xs[at]:
            state, emitted = run(x if alone else (x,), state, weights)
            outputs.append(emitted[0])
        return [torch.stack(outputs)]

    return call


def graphed(loop: Callable[[Tensor], Tensor], xs: list[Tensor]) -> Call:
    """A function of the inputs as one CUDA graph, so that nothing is launched step by step; made at the first call."""
    made: list[Any] = []

    @torch.no_grad()
    def call(at: int) -> list[Tensor]:
        if not made:
            made.append(torch.cuda.make_graphed_callables(loop, (xs[0].clone(),)))
        return [made[0](xs[at])]

    return call


def written(
    step: Step, shape: Shape, sizes: Sizes, weights: Mapping[str, Tensor], device: torch.device, work: float,
    more: Callable[[list[Tensor]], Mapping[str, Contestant]] | None = None,
) -> Row:  # fmt: skip
    """A step as the kernel that is written for it, against a compiled loop; inputs come projected.

    `more`: contestants of inputs alone.
    """
    batch, steps, _ = shape
    traced = trace(step, sizes)
    assert isinstance(traced, Traced) and traced.hoisted.before is None, traced
    text, (held, shared) = traced.hoisted.text, traced.arguments(list(weights.values()), torch.float32)
    states = tuple(torch.zeros(batch, width, device=device) for width in sizes.states)
    count = sets_for(device, 4 * steps * batch * sizes.inputs[0])
    xs = [torch.randn(steps, batch, sizes.inputs[0], device=device) for _ in range(count)]
    sets = [Given([x], [], list(states), shared, held) for x in xs]

    @torch.no_grad()
    def mine(at: int) -> list[Tensor]:
        return generated.by_triton(text, sets[at], None, None, False, False)[:1]

    loop = looped(step, xs, states, weights, sizes.alone)
    contestants = {"Triton": within("float32", mine), "compiled loop": within("float32", loop)}
    if device.type == "cuda":
        contestants["compiled loop, one CUDA graph"] = within(
            "float32", graphed(lambda x: looped(step, [x], states, weights, sizes.alone)(0)[0], xs)
        )
    contestants |= more(xs) if more else {}
    return Row(
        contestants,
        lambda: program_by_torch(text, sets[0].map(Tensor.double), None, None, False, False)[:1],
        count,
        work,
    )


def normalised(shape: Shape, device: torch.device) -> Row:
    """An LSTM whose products and cell are normalised (Ba, Kiros and Hinton 2016)."""
    hidden = shape[2]
    parameters = {
        "weight": (4 * hidden, hidden), "norm": (4 * hidden,), "norm_gain": (hidden,), "norm_bias": (hidden,),
    }  # fmt: skip
    weights = {name: torch.randn(size, device=device) / hidden**0.5 for name, size in parameters.items()}
    sizes = Sizes((4 * hidden,), (hidden, hidden), (), tuple(parameters.items()), False, 1)
    return written(LSTMStep(), shape, sizes, weights, device, operations("lstm", shape) / 2)


def own(shape: Shape, device: torch.device) -> Row:
    """A person's own cell of two products."""
    hidden = shape[2]
    weights = {f"weight_{name}": torch.randn(hidden, hidden, device=device) / hidden**0.5 for name in "fn"}
    parameters = tuple((name, (hidden, hidden)) for name in weights)
    sizes = Sizes((2 * hidden,), (hidden,), (), parameters, True, 1)
    return written(minimal_gated_unit, shape, sizes, weights, device, operations("elman", shape))


def own_linear(shape: Shape, device: torch.device) -> Row:
    """A person's own linear cell, step by step, against scans of the same recurrence."""
    batch, steps, hidden = shape
    first = torch.zeros(batch, hidden, device=device)

    def coefficients(x: Tensor) -> tuple[Tensor, Tensor]:
        keep = torch.sigmoid(x[..., :hidden])
        return keep, (1 - keep) * x[..., hidden:]

    def doubling(x: Tensor) -> Tensor:
        """Hillis and Steele 1986: each step joined with the one 1, 2, 4, ... before it."""
        a, b = coefficients(x)
        span = 1
        while span < steps:
            b = torch.cat([b[:span], a[span:] * b[:-span] + b[span:]])
            a = torch.cat([a[:span], a[span:] * a[:-span]])
            span *= 2
        return b

    def more(xs: list[Tensor]) -> dict[str, Contestant]:
        compiled = torch.compile(doubling, dynamic=False, backend="inductor" if device.type == "cuda" else "eager")
        return {
            "Triton, a scan": within("float32", lambda at: [linear_scan(*coefficients(xs[at]), first)[0]]),
            "compiled scan by doubling": within("float32", lambda at: [compiled(xs[at])]),
        }

    sizes, moved = Sizes((2 * hidden,), (hidden,), (), (), True, 1), 3.0 * 4 * batch * steps * hidden
    row = written(leaky_average, shape, sizes, {}, device, moved, more)
    told = {name: replace(one, rate="bytes") for name, one in row.contestants.items()}
    return replace(row, contestants=told)


def gates_out(shape: Shape, device: torch.device) -> Row:
    """An LSTM whose four gates and cells are handed out at every step."""
    batch, _, hidden = shape
    _, sets = drawn("lstm", shape, device, keep=True)
    weights, state = sets[0], torch.zeros(batch, hidden, device=device)
    step = LSTMStep()

    def projected(x: tuple[Tensor], states: Any, given: Mapping[str, Tensor]) -> Any:
        after, (_, gates, *_) = step((x[0] @ given["weight_in"].T + given["bias_in"],), states, given)
        return after, (torch.cat([after[0], gates], dim=1),)

    given = {name: weights[name] for name in ("weight", "weight_in", "bias_in")}
    loop = looped(projected, [one["x"] for one in sets], (state, state), given, False)

    def mine(at: int) -> list[Tensor]:
        outputs, _, _, gates, _ = layers.forward("lstm", sets[at])
        return [outputs, gates]

    def theirs(at: int) -> list[Tensor]:
        return list(loop(at)[0].split([hidden, 4 * hidden], dim=-1))

    def exact() -> list[Tensor]:
        wide: dict[str, Any] = {
            k: v.double() if isinstance(v, Tensor) and v.is_floating_point() else v for k, v in sets[0].items()
        }
        outputs, _, _, gates, _ = reference.lstm(**wide)
        return [outputs, gates]

    contestants = {"Triton": within("float32", mine), "compiled loop": within("float32", theirs)}
    return Row(contestants, exact, len(sets), operations("lstm", shape))


def scan(cell: str, shape: Shape, back: bool, device: torch.device) -> Row:
    """The steps of a linear cell from its sums to its outputs, or `back`: from the gradients of outputs to those of sums."""
    (batch, steps, hidden), sweep = shape, SWEEPS[cell]
    planes, width = sweep.gates * hidden, sweep.emits * hidden
    count = sets_for(device, 4 * steps * batch * (planes + width))
    sums = [torch.randn(steps, batch, planes, device=device) for _ in range(count)]
    grads = [torch.randn(steps, batch, width, device=device) for _ in range(count if back else 0)]
    rows = sweep.numbers(torch.randn(sweep.parameters, hidden, device=device))
    numbers, first = torch.stack(rows) if rows else None, torch.zeros(batch, width, device=device)
    given = [Steps(cell, x, None, numbers, first, None, None, False) for x in sums]
    outputs = [forward(one)[0] for one in given] if back else []

    def call(at: int) -> list[Tensor]:
        if back:
            d_x, _, d_numbers, d_first = backward(given[at], outputs[at], grads[at], first)
            return [value for value in (d_x, d_numbers, d_first) if value is not None]
        return list(forward(given[at]))

    def exact() -> list[Tensor]:
        leaves = [value.double().requires_grad_(back) for value in (sums[0], numbers, first) if value is not None]
        known = tuple(leaves[1]) if numbers is not None else ()
        state, walked = leaves[-1].chunk(sweep.leaves, dim=-1), list[Tensor]()
        for row in leaves[0]:
            state = sweep.step(row, state, known)
            walked.append(torch.cat(state, dim=-1))
        true = torch.stack(walked)
        return list(torch.autograd.grad(true, leaves, grads[0].double())) if back else [true, true[-1]]

    # forward reads the sums and writes the outputs; backward reads both and a gradient, and writes those of the sums
    moved = 4.0 * steps * batch * (2 * (planes + width) if back else planes + width)
    return Row({"Triton": Contestant(call, "bytes")}, exact, count, moved)


def chunks(shape: Shape, back: bool, device: torch.device) -> Row:
    """An mLSTM of four heads in chunks of steps, or `back`: with the gradients of its sums, against its steps."""
    (batch, steps, hidden), heads = shape, 4 if shape[2] % 4 == 0 else 1
    width = hidden // heads
    states = [torch.zeros(batch, size, device=device) for size in (hidden, hidden * width, heads)]
    count = sets_for(device, 4 * steps * batch * (4 * hidden + 2 * heads))
    sets = [torch.randn(steps, batch, 4 * hidden + 2 * heads, device=device) for _ in range(count)]

    def outputs(way: Callable[..., list[Tensor]], x: Tensor, states: list[Tensor]) -> list[Tensor]:
        x = x.detach().requires_grad_(back)
        found = way("mlstm", x, states, Parameters(None, None), None, None, None, False, False)[0]
        return [found.detach(), *(torch.autograd.grad(found, x, torch.ones_like(found)) if back else ())]

    return Row(
        {
            "chunks": within("float32", lambda at: outputs(by_chunks, sets[at], states)),
            "step by step": within("float32", lambda at: outputs(by_reference, sets[at], states)),
        },
        lambda: outputs(by_reference, sets[0].double(), [state.double() for state in states]),
        count,
        4.0 * batch * steps * hidden * (CHUNK + width) * (3 if back else 1),
    )


def replayed(call: Call, x: Tensor, sets: list[dict[str, Any]]) -> Call:
    """A call on inputs that lie in `x` as a captured step, as a pool of sessions steps; with copies in and out."""
    outputs: list[Tensor] = []

    @torch.no_grad()
    def body() -> None:
        found = call(0)
        if not outputs:
            outputs.extend(map(torch.clone, found))
        for place, value in zip(outputs, found, strict=True):
            place.copy_(value)

    made: list[Callable[[], object]] = []

    def run(at: int) -> list[Tensor]:
        if not made:
            made.append(captured(body, x.device))
        x.copy_(sets[at]["x"])
        made[0]()
        return [place.clone() for place in outputs]

    return run


def sessions(count: int, hidden: int, device: torch.device) -> Row:
    """So many LSTM sessions, a step into each at once."""
    theirs, sets = drawn("lstm", (count, 1, hidden), device)
    cell = nn.LSTMCell(hidden, hidden, device=device)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in theirs.state_dict().items()})

    @torch.no_grad()
    def by_cell(at: int) -> list[Tensor]:
        return [cell(sets[at]["x"][0], (sets[at]["h"], sets[at]["c"]))[0][None]]

    contestants = {
        "Triton": within("float32", ours("lstm", sets)),
        "torch.nn": within("float32", by_torch(theirs, sets)),
        "torch.nn.LSTMCell": within("float32", by_cell),
    }
    if device.type == "cuda":
        x = sets[0]["x"].clone()
        contestants["Triton, captured"] = within("float32", replayed(ours("lstm", [{**sets[0], "x": x}]), x, sets))
    work = operations("lstm", (count, 1, hidden))
    return Row(contestants, lambda: truth("lstm", sets[0]), len(sets), work)
