"""Compile every kernel for GPUs without one: registers, spills, shared memory and seconds, as a table.

python benchmarks/gpu_compile.py [--only PATTERN] [--capability 90]

It calls what a GPU would be called with, small in steps and true in units, and has Triton compile instead of launch.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

os.environ["TRITON_INTERPRET"] = "0"

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

from recurra.kernels.gpu import generated, layers, scans
from recurra.kernels.gpu.launch import accumulator
from recurra.kernels.gpu.scan_cells import CELLS
from recurra.kernels.gpu.shares import Device
from recurra.kernels.native import GATES
from recurra.kernels.programs import Given, Sizes, Traced, trace
from recurra.kernels.programs.gradient import gradient
from recurra.kernels.programs.program import parse
from recurra.kernels.programs.running import backward_with, recorded
from recurra.kernels.steps import ElmanStep, GRUStep, LSTMStep

MULTIPROCESSORS = 132
"""Those of an H100 and an H200, which have capability 9.0."""
SHARED = {80: 163, 86: 99, 87: 163, 89: 99, 120: 99}
"""KiB of shared memory that a program may have, by capability; 227 by others."""
STEPS = 2
SHAPES = (
    (16, 768), (64, 256), (128, 256), (1, 512), (256, 1024), (16, 128), (20, 80), (16, 48), (1, 1),
    (2000, 65), (128, 300), (16, 1100),
)  # fmt: skip
"""(rows, units) of layers with lengths, resets and a mask; the first five are measured by `gpu.py`, the last three are no
multiples of 16 units, so that rows of a weight begin anywhere."""


class Compiled(NamedTuple):
    kernel: str
    parts: int
    warps: int
    registers: int
    stack: int
    shared: int
    copies: int
    """Copies from memory that the kernel does not wait for, as instructions."""
    tiles: int
    """Second operands of products that the loop takes from shared memory: none where weights are held in registers."""


class _Driver:
    """What Triton asks a device for before it compiles."""

    def __init__(self, capability: int) -> None:
        self.target = GPUTarget("cuda", capability, 32)

    def get_current_target(self) -> GPUTarget:
        return self.target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


_compiled: dict[Compiled, float] = {}
"""The seconds that each took, the first time."""
_launch: Callable[..., Any] = JITFunction.run


def _compile(self: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> None:
    began = time.perf_counter()
    kernel = _launch(self, *args, grid=grid, warmup=True, **options)
    took, parts = time.perf_counter() - began, options.get("PARTS", 1)
    what = Compiled(
        self.__name__, parts, kernel.metadata.num_warps, *_resources(kernel), kernel.metadata.shared, _copies(kernel),
        _tiles(kernel),
    )  # fmt: skip
    _compiled.setdefault(what, took)


def _resources(kernel: Any) -> tuple[int, int]:
    """(registers a thread, bytes of stack a thread: what had no room in registers)."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        command = [str(tool), "--dump-resource-usage", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", text)
    assert found is not None, text
    return int(found[1]), int(found[2])


def _precisely(tf32: bool, call: Callable[[], None]) -> None:
    """The call, with products of float32 as one of tf32 or in full."""
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    call()


def _copies(kernel: Any) -> int:
    return len(re.findall(r"cp\.async\.c[ag]", kernel.asm["ptx"]))


def _tiles(kernel: Any) -> int:
    _, _, loop = kernel.asm["ttgir"].partition("scf.for")
    return len(re.findall(r"local_load .*opIdx = 1", loop)) + len(re.findall(r"warp_group_dot ", loop))


def _layer(name: str, batch: int, hidden: int, dtype: torch.dtype, full: bool) -> None:
    gates, lstm = GATES[name], name == "lstm"
    lengths = torch.full((batch,), STEPS) if full else None
    inputs: dict[str, Any] = {
        "x": torch.zeros(STEPS, batch, gates * hidden, dtype=dtype), "h": torch.zeros(batch, hidden, dtype=dtype),
        "weight": torch.zeros(gates * hidden, hidden, dtype=dtype), "weight_in": None, "bias_in": None, "tokens": None,
        "lengths": lengths, "resets": torch.zeros(STEPS, batch, dtype=torch.bool) if full else None,
        "mask": torch.ones(batch, hidden, dtype=dtype) if full else None, "reverse": False, "keep": True,
        "bias": torch.zeros(hidden, dtype=dtype) if name == "gru" else None,
        **({"c": torch.zeros(batch, hidden, dtype=dtype)} if lstm else {}),
    }  # fmt: skip
    way = layers.Way(stepwise=False)
    results = layers.forward(name, inputs, way)
    kept = {"outputs": results[0], "gates": results[-2 if lstm else -1], "cells": results[-1]}
    names = "outputs", "h_last", *(("c_last", "cells") if lstm else ())
    grads: dict[str, Tensor | None] = {f"grad_{key}": None for key in names}
    layers.backward(name, grads, inputs, kept, False, way)


def _step(step: Callable[..., Any], sizes: Sizes, batch: int, dtype: torch.dtype) -> None:
    traced = trace(step, sizes)
    assert isinstance(traced, Traced)
    values = [torch.zeros(shape) for _, shape in sizes.parameters]
    weights, shared = traced.arguments(values, torch.float32)
    given = Given(
        [torch.zeros(STEPS, batch, width) for width in sizes.inputs], [torch.zeros(batch, w) for _, w in sizes.fixed],
        [torch.zeros(batch, width) for width in sizes.states], shared, weights,
    ).map(lambda value: value.to(dtype))  # fmt: skip
    text, run = traced.hoisted.text, partial(generated.run, stepwise=False)
    marks = torch.full((batch,), STEPS), torch.zeros(STEPS, batch, dtype=torch.bool)
    more = recorded(text)
    emitted, last = run(parse(more), more, given, *marks, False)
    count = len(parse(text).emitted)
    backward_with(run, text, emitted[:count], last, given, emitted[count:], *marks, False)


def _twice(step: Callable[..., Any], sizes: Sizes, batch: int, dtype: torch.dtype) -> None:
    """What a gradient of a gradient runs: a step, its gradient, and the gradients of both with all that was kept."""
    traced = trace(step, sizes)
    assert isinstance(traced, Traced)
    text = traced.hoisted.text
    once = gradient(text, (True,) * len(parse(text).emitted)).text
    kept = [recorded(text), recorded(once)]
    back = [gradient(more, (True,) * len(parse(more).emitted)).text for more in kept]
    marks = torch.full((batch,), STEPS), torch.zeros(STEPS, batch, dtype=torch.bool)
    for one in (*kept, *back):
        program = parse(one)
        given = Given(
            [torch.zeros(STEPS, batch, width, dtype=dtype) for width in program.inputs],
            [torch.zeros(batch, width, dtype=dtype) for width in program.fixed],
            [torch.zeros(batch, width, dtype=dtype) for width in program.states],
            [torch.zeros(width, dtype=dtype) for width in program.shared],
            [torch.zeros(shape, dtype=dtype) for shape in program.weights],
        )
        generated.run(program, one, given, *marks, False, stepwise=False)


def _scan(cell: str, sums: torch.dtype, states: torch.dtype, full: bool) -> None:
    planes, numbers, pairs = CELLS[cell]
    steps, batch, hidden = 200, 2, 64
    width = hidden * (2 if pairs else 1)
    x, first = torch.zeros(steps, batch, planes * hidden, dtype=sums), torch.zeros(batch, width, dtype=states)
    a = torch.zeros(steps, batch, width, dtype=sums) if cell in ("real", "complex") else None
    own = torch.zeros(numbers, hidden, dtype=accumulator(sums).torch) if numbers else None
    lengths = torch.full((batch,), steps) if full else None
    resets = torch.zeros(steps, batch, dtype=torch.bool) if full else None
    given = scans.Given(cell, x, a, own, first, lengths, resets, False)
    for at_once in (False, True):
        way = scans.Way(at_once=at_once)
        outputs, last = scans.forward(given, way)
        scans.backward(given, outputs, outputs, last, way)


def cases() -> Iterator[tuple[str, Callable[[], None]]]:
    """Everything there is, by name."""
    single, double = torch.float32, torch.float64
    for name in GATES:
        for batch, hidden in SHAPES:
            for kind in ("float32", "tf32", "bfloat16"):
                dtype = torch.bfloat16 if kind == "bfloat16" else single
                call = partial(_layer, name, batch, hidden, dtype, True)
                yield f"{name}, B={batch}, H={hidden}, {kind}", partial(_precisely, kind == "tf32", call)
        yield f"{name}, B=16, H=768, float16, dense", partial(_layer, name, 16, 768, torch.float16, False)
    yield "lstm, B=16, H=256, float64", partial(_layer, "lstm", 16, 256, double, True)
    for h in (256, 1024):
        sizes = {
            "elman, gelu": (ElmanStep("gelu"), Sizes((h,), (h,), (), (("weight", (h, h)),), False)),
            "gru, reset before": (
                GRUStep(reset_after=False),
                Sizes((3 * h,), (h,), (), (("weight_rz", (2 * h, h)), ("weight_n", (h, h)), ("bias", (h,))), False),
            ),
            "lstm, peepholes, projection": (
                LSTMStep(),
                Sizes(
                    (4 * h,), (h // 2, h), (),
                    (
                        ("weight", (4 * h, h // 2)), ("projection", (h // 2, h)),
                        *((f"peephole_{gate}", (h,)) for gate in "ifo"),
                    ), False,
                ),
            ),
            "lstm, normalised, mask, zoneout": (
                LSTMStep(zoned=True),
                Sizes(
                    (4 * h, h), (h, h), (("mask", h),),
                    (("weight", (4 * h, h)), ("norm", (4 * h,)), ("norm_gain", (h,)), ("norm_bias", (h,))), False,
                ),
            ),
        }  # fmt: skip
        for name, (step, size) in sizes.items():
            for dtype in (single, torch.bfloat16):
                label = f"written: {name}, H={h}, {str(dtype).removeprefix('torch.')}"
                yield label, partial(_step, step, size, 64, dtype)
        plain: dict[str, tuple[Callable[..., Any], Sizes]] = {
            "elman": (ElmanStep(), Sizes((h,), (h,), (), (("weight", (h, h)),), False, emits=1)),
            "gru": (
                GRUStep(),
                Sizes((3 * h,), (h,), (), (("weight_rz", (2 * h, h)), ("weight_n", (h, h))), False, emits=1),
            ),
            "lstm": (LSTMStep(), Sizes((4 * h,), (h, h), (), (("weight", (4 * h, h)),), False, emits=1)),
        }
        for name, (step, size) in plain.items():
            yield f"twice: {name}, H={h}, float32", partial(_twice, step, size, 64, single)
    for cell in CELLS:
        for full in (False, True):
            more = ", lengths, resets" if full else ""
            yield f"scan, {cell}{more}", partial(_scan, cell, single, single, full)
        yield f"scan, {cell}, float64", partial(_scan, cell, double, double, True)
        # (sums are float32 there, and those that backward finds again are not)
        yield f"scan, {cell}, bfloat16 states", partial(_scan, cell, single, torch.bfloat16, True)
        yield f"scan, {cell}, bfloat16", partial(_scan, cell, torch.bfloat16, torch.bfloat16, True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", metavar="PATTERN", help="a regular expression that a case must match")
    parser.add_argument("--capability", type=int, default=90, help="of the device compiled for")
    choices = parser.parse_args()
    driver.set_active(_Driver(choices.capability))  # pyright: ignore[reportArgumentType]
    device = Device(MULTIPROCESSORS, shared=SHARED.get(choices.capability, 227) * 1024)
    Device.of = lambda tensor: device  # pyright: ignore[reportAttributeAccessIssue]
    JITFunction.run = _compile
    print(
        f"Triton {triton.__version__}, torch {torch.__version__}, capability {choices.capability}, {time.strftime('%F')}\n"
    )
    titles = (
        "case",
        "kernel",
        "parts",
        "warps",
        "registers",
        "stack, bytes",
        "shared, bytes",
        "copies",
        "tiles",
        "seconds",
    )
    print(f"| {' | '.join(titles)} |\n{'|---' * len(titles)}|")
    failed = 0
    for name, call in cases():
        if not re.search(choices.only, name):
            continue
        _compiled.clear()
        try:
            call()
        except Exception as error:  # a kernel that does not compile is a row of the table
            failed += 1
            print(f"| {name} | does not compile: {type(error).__name__}: {str(error).splitlines()[0]} |", flush=True)
        for row, took in _compiled.items():
            print(f"| {name} | {' | '.join(map(str, row))} | {took:.1f} |", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
