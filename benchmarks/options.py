"""What torch.nn cannot do, through `recurra.nn`: against the quickest loop that a person would write in torch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import loops
from recurra import nn
from results import Result, Settings
from rows import Row
from whole import CHECKED, Gives, call, check, inputs_of, timed

DROPPED = 0.3
OPTIONS: dict[str, dict[str, Any]] = {
    "norm": {"layer_norm": True}, "dropout": {"recurrent_dropout": DROPPED}, "trace": {}
}  # fmt: skip
MODULES = {"elman": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


def option(row: Row, settings: Settings) -> Result:
    """A module with the option of the row's kind, or its `trace`, against the loop that shares its parameters."""
    torch.manual_seed(0)
    module: Any = MODULES[row.cell](row.width, row.width, **OPTIONS[row.kind])
    parameters, ways = list(module.parameters()), loops.ways(f"{row.kind} {row.cell}")

    def calls(row: Row) -> dict[str, Gives]:
        inputs = inputs_of(row)

        def mine(x: Tensor) -> Tensor:
            return module.trace(x)[0] if row.kind == "trace" else module(x)[0]

        def theirs(loop: loops.Loop) -> Gives:
            return call(row, parameters, inputs, lambda x: _first(loop(x, *_states(row), *parameters)))

        return {"ours": call(row, parameters, inputs, mine), **{way: theirs(loop) for way, loop in ways.items()}}

    short = replace(row, steps=CHECKED)
    check(calls(short))
    if row.kind == "trace":
        inputs = inputs_of(short)
        _check_gates(module, inputs, ways["eager"](inputs, *_states(row), *parameters))
    contestants = calls(row)
    mine = contestants.pop("ours")
    best, words = loops.quickest(contestants)
    result = timed(row, settings, {"ours": mine, "torch": contestants[best]})
    result.note = f"torch: a loop over the steps, {best}, the quickest of {words}"
    return result


def _states(row: Row) -> list[Tensor]:
    """What the loop is given between inputs and parameters: the zeros to start from, and the mask."""
    states = [torch.zeros(row.batch, row.width) for _ in range(1 + (row.cell == "lstm"))]
    if row.kind == "dropout":
        # as the module draws it
        states.append(F.dropout(torch.ones(row.batch, row.width), DROPPED))
    return states


def _first(outputs: Any) -> Tensor:
    return outputs[0] if isinstance(outputs, tuple) else outputs


def _check_gates(module: Any, inputs: Tensor, theirs: tuple[Tensor, ...]) -> None:
    _, _, inner = module.trace(inputs)
    names = "ifgo" if len(theirs) == 3 else "rznq"
    found = {"ours": torch.cat([inner[f"l0.{name}"] for name in names], dim=2).detach()}
    check({"ours": lambda: (found["ours"],), "gates": lambda: (theirs[1],)})
