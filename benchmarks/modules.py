"""`recurra.nn` in place of torch.nn: the same calls of the same module, padded, packed, a step at a time, and of cells."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import machine
from peers import same
from recurra import nn
from recurra.kernels import backend
from results import Result, Settings
from rows import Row
from timing import interleaved, paired
from whole import Gives, call, check, inputs_of, timed

MODULES = {"elman": "RNN", "gru": "GRU", "lstm": "LSTM"}


def module(row: Row, settings: Settings) -> Result:
    """Whole sequences of one length."""
    ours, theirs = _pair(row)
    inputs = inputs_of(row)
    calls = {
        "ours": call(row, ours.parameters(), inputs, lambda x: ours(x)[0]),
        "torch": call(row, theirs.parameters(), inputs, lambda x: theirs(x)[0]),
    }
    check(calls)
    return timed(row, settings, calls)


def packed(row: Row, settings: Settings) -> Result:
    """A `PackedSequence` in and one out, lengths drawn evenly from 1..T; packing itself is not timed."""
    ours, theirs = _pair(row)
    lengths = torch.randint(1, row.steps + 1, (row.batch,), generator=torch.Generator().manual_seed(1))
    valid = int(lengths.sum())
    data, *ends = pack_padded_sequence(inputs_of(row), lengths, enforce_sorted=False)

    def through(one: Any) -> Any:
        return lambda x: one(PackedSequence(x, *ends))[0].data

    calls = {name: call(row, one.parameters(), data, through(one)) for name, one in (("ours", ours), ("torch", theirs))}
    check(calls)
    result = timed(row, settings, calls, valid)
    result.note = f"{valid / (row.batch * row.steps):.0%} of the steps are valid"
    return result


def module_step(row: Row, settings: Settings) -> Result:
    """One step through the module, the state handed from call to call."""
    ours, theirs = _pair(row)
    inputs = torch.randn(1, row.batch, row.width)
    return _steps(row, settings, *((lambda hx, one=one: one(inputs, hx)[1]) for one in (ours, theirs)))


def cell_step(row: Row, settings: Settings) -> Result:
    """One step through the cell, the state handed from call to call."""
    ours, theirs = _pair(row, "Cell")
    inputs = torch.randn(row.batch, row.width)
    return _steps(row, settings, *((lambda hx, one=one: one(inputs, hx)) for one in (ours, theirs)))


def cell(row: Row, settings: Settings) -> Result:
    """A person's loop over whole sequences, a call of the cell at each step."""
    ours, theirs = _pair(row, "Cell")
    inputs = inputs_of(row)

    def loop(one: Any) -> Any:
        def run(x: Tensor) -> Tensor:
            hx, outputs = None, []
            for step in x.unbind():
                hx = one(step, hx)
                outputs.append(hx[0] if isinstance(hx, tuple) else hx)
            return torch.stack(outputs)

        return run

    calls = {name: call(row, one.parameters(), inputs, loop(one)) for name, one in (("ours", ours), ("torch", theirs))}
    check(calls)
    return timed(row, settings, calls)


def penalty(row: Row, settings: Settings) -> Result:
    """A penalty on the gradient of the outputs by the inputs: backward through backward. own: against ours step by step."""
    ours, theirs = _pair(row)
    inputs = inputs_of(row).requires_grad_()

    def penalised(one: Any) -> Gives:
        def run() -> tuple[Tensor, ...]:
            outputs = one(inputs)[0]
            (slope,) = torch.autograd.grad(outputs.sum(), inputs, create_graph=True)
            return slope, *torch.autograd.grad((slope.norm(dim=(0, 2)) - 1).square().mean(), list(one.parameters()))

        return run

    def step_by_step() -> tuple[Tensor, ...]:
        with backend("reference"):
            return penalised(ours)()

    calls = {"ours": penalised(ours), "torch": penalised(theirs), "reference": step_by_step}
    check(calls)
    result = timed(row, settings, calls)
    result.ratios["own"] = paired(result.samples["reference"], result.samples["ours"])
    return result


def _pair(row: Row, ending: str = "") -> tuple[Any, Any]:
    """Our module, and torch's with the same parameters; both train, as modules do when they are new."""
    torch.manual_seed(0)
    name = MODULES[row.cell] + ending
    ours, theirs = (getattr(library, name)(row.width, row.width) for library in (nn, torch.nn))
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def _steps(row: Row, settings: Settings, ours: Any, theirs: Any) -> Result:
    def handing_on(run: Any) -> Any:
        hx = None

        def step() -> Any:
            nonlocal hx
            with torch.no_grad():
                hx = run(hx)
            return hx

        return step

    calls = {"ours": handing_on(ours), "torch": handing_on(theirs)}
    for _ in range(3):
        same("states", *(torch.cat(state) if isinstance(state := step(), tuple) else state for step in calls.values()))
    samples = interleaved({**calls, "copy": machine.copying(4 * row.weights)}, settings.rounds)
    # a step reads every weight once
    share = paired(samples["copy"], samples["ours"]).median
    return Result(row, samples, ratios={"torch": paired(samples["torch"], samples["ours"])}, share=share)
