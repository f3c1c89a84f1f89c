"""Parts that wait for one another within one launch, as on a device, against a launch a step: the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from gpu_calls import cast, complete
from gpu_calls import shares as weighed
from recurra.kernels.programs import Traced, trace
from recurra.kernels.programs.program import parse
from test_kernels import arguments

pytest.importorskip("triton", reason="Triton is made for Linux alone")
if torch.cuda.is_available():
    pytest.skip("the interpreter is chosen where there is no GPU", allow_module_level=True)

import at_once
from recurra.kernels.gpu import generated, layers
from recurra.kernels.gpu.layers import Way
from recurra.kernels.gpu.resident_shares import Resident
from recurra.kernels.gpu.shares import Shares
from test_gpu_programs import STEPS, drawn

STAYS = Resident(parts=3, units=16, chunk=64, split=2)
READ = Shares(parts=3, units=16, depth=64)


@pytest.mark.parametrize(("name", "shares"), [("gru", STAYS), ("lstm", STAYS), ("lstm", READ)])
def test_parts_that_run_at_once(name: str, shares: Resident | Shares, monkeypatch: pytest.MonkeyPatch) -> None:
    given = arguments(name, 5, 3, 33, lengths=True, resets=True, mask=True, reverse=name == "gru")
    inputs = cast(complete(name, given), torch.float32)
    truth = layers.forward(name, inputs, Way(shares, stepwise=True))
    grads: dict[str, Any] = {f"grad_{key}": None for key in ("h_last", "c_last", "cells")}
    grads["grad_outputs"] = weighed(truth[0])
    kept = {"outputs": truth[0], "gates": truth[-2 if name == "lstm" else -1], "cells": truth[-1]}
    true_gradients = layers.backward(name, grads, inputs, kept, True, Way(shares, stepwise=True))
    monkeypatch.setattr(layers, "through_steps", at_once.through_steps)
    assert all(map(torch.equal, layers.forward(name, inputs, Way(shares)), truth))
    found = layers.backward(name, grads, inputs, kept, True, Way(shares))
    assert all(torch.equal(found[key], true) for key, true in true_gradients.items())


def test_parts_of_a_written_kernel_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    step, sizes, shares = STEPS["an own step"]
    traced = trace(step, sizes)
    assert isinstance(traced, Traced)
    text, given = traced.hoisted.text, drawn(sizes, traced, 5, 3).map(lambda value: value.float())

    def run() -> list[torch.Tensor]:
        with np.errstate(divide="ignore", invalid="ignore"):  # (in rows and columns that are not there)
            emitted, last = generated.run(parse(text), text, given, None, None, False, shares=shares)
        return [*emitted, *last]

    truth = run()
    monkeypatch.setattr(generated, "through_steps", at_once.through_steps)
    assert all(map(torch.equal, run(), truth))
