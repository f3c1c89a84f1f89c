"""Cells whose units meet nobody on their way through time, against our own GRU of the same width.

`python benchmarks/linear_cells.py [--steps 4096] [--rounds 5] [CELL ...]`: one table for training (a layer forward and
backward), one for a single step in inference, one for the memory of a training pass. All cells of a row take turns in one
process and one thread. Ratios above one: faster, or smaller, than the GRU.

What a layer reads in training: a series of 1 or 8 numbers a step, which are data and take no gradient; `inner`, H numbers
that do, as the layers above the first have them; tokens of a table of 64 vectors of H numbers, which is trained.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from machine import record
from memory import RESET, tell
from recurra.cells import CELLS, Cell, Symbols
from timing import interleaved, paired

READ = ("series 1", "series 8", "inner", "tokens")
OWN = [name for name in ("mingru", "minlstm", "rglru", "lru", "slstm", "mlstm") if name in CELLS]
RESULTS = Path(__file__).with_name("linear_cells.json")
BATCHES, WIDTHS, SYMBOLS = (1, 8, 32), (64, 256), 64


def trained(
    cell: Cell, inputs: Tensor | Symbols, wanted: list[Tensor], state: object, came: Tensor
) -> tuple[Tensor, ...]:
    """The gradients of all parameters, and of the inputs where they take one."""
    outputs, _ = cell(inputs, state)
    return torch.autograd.grad(outputs, wanted, came)


def training(names: list[str], batch: int, width: int, steps: int, read: str) -> dict[str, Callable[[], object]]:
    """A training pass of a layer of each cell over the same inputs."""
    inputs: Tensor | Symbols
    if read == "tokens":
        leaf = torch.randn(SYMBOLS, width, requires_grad=True)
        inputs = Symbols(leaf, torch.randint(0, SYMBOLS, (steps, batch)))
    else:
        inputs = leaf = torch.randn(steps, batch, int(read.split()[1]) if " " in read else width)
        leaf.requires_grad_(read == "inner")
    depth, came = leaf.shape[-1], torch.ones(steps, batch, width)
    cells = {name: CELLS[name](depth, width) for name in names}
    return {
        name: partial(
            trained, cell, inputs, [*([leaf] if leaf.requires_grad else []), *cell.parameters()],
            cell.initial_state(batch), came,
        )
        for name, cell in cells.items()
    }  # fmt: skip


def stepping(names: list[str], batch: int, width: int) -> dict[str, Callable[[], object]]:
    """One step of each cell in inference, with its weights kept packed."""
    x = torch.randn(1, batch, width)
    cells = {name: CELLS[name](width, width).eval() for name in names}
    return {name: partial(cell, x, cell.initial_state(batch)) for name, cell in cells.items()}


def row(title: str, calls: dict[str, Callable[[], object]], rounds: int, unit: float) -> dict[str, float]:
    """Prints a row; gives how many times faster than the GRU each cell is."""
    samples = interleaved(calls, rounds)
    words = [f"{title:<26}"]
    for name, taken in samples.items():
        words.append(f"{median(taken) * unit:9.1f}")
        if name != "gru":
            words.append(f"({paired(samples['gru'], taken).median:5.1f})")
    print(" ".join(words), flush=True)
    return {name: paired(samples["gru"], taken).median for name, taken in samples.items() if name != "gru"}


def save(ratios: dict[str, dict[str, float]], steps: int) -> None:
    """Into the file that `all_cells.py` writes its page from; rows that were not measured now stay."""
    told = record(1)
    before = json.loads(RESULTS.read_text(encoding="utf-8"))["ratios"] if RESULTS.exists() else {}
    rounded = {title: {name: round(value, 1) for name, value in found.items()} for title, found in ratios.items()}
    machine = f"{told['processor']}, torch {told['torch']}, {told['native']}, {datetime.now(UTC):%Y-%m-%d}"
    text = json.dumps({"steps": steps, "machine": machine, "ratios": before | rounded}, indent=1)
    RESULTS.write_text(text + "\n", encoding="utf-8")


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("cells", nargs="*", help=", ".join(OWN))
    asked.add_argument("--steps", type=int, default=4096)
    asked.add_argument("--rounds", type=int, default=5)
    asked.add_argument("--read", nargs="+", choices=READ, default=READ, help="what a layer reads in training")
    asked.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    asked.add_argument("--widths", type=int, nargs="+", default=WIDTHS)
    asked.add_argument("--save", action="store_true", help="keep the ratios of training for docs/cells.md")
    asked.add_argument("--training", action="store_true", help="the first table alone")
    asked.add_argument("--memory", metavar="CELL", help="print the bytes that a training pass of this cell takes")
    given = asked.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    if given.memory:
        return tell(
            lambda steps: [call() for call in training([given.memory], 8, 256, steps, "inner").values()], given.steps
        )
    names = ["gru", *(given.cells or OWN)]
    heads = " ".join(f"{name:>9}" + ("" if name == "gru" else " (ratio)") for name in names)
    print(f"torch {torch.__version__}, one thread, T={given.steps}, median of {given.rounds} interleaved rounds")
    print(f"{'training, ms':<26} {heads}")
    ratios: dict[str, dict[str, float]] = {}
    for read in given.read:
        for width in given.widths:
            for batch in given.batches:
                title = f"{read}, B={batch}, H={width}"
                ratios[title] = row(title, training(names, batch, width, given.steps, read), given.rounds, 1e3)
    if given.save:
        save(ratios, given.steps)
    if given.training:
        return
    print(f"{'one step, µs':<26} {heads}")
    with torch.no_grad():
        for width in given.widths:
            for batch in given.batches:
                row(f"B={batch}, H={width}", stepping(names, batch, width), 4 * given.rounds, 1e6)
    if RESET.exists():
        import subprocess

        print("memory of a training pass, inner, B=8, H=256, MiB")
        for name in names:
            command = [sys.executable, __file__, "--memory", name, "--steps", str(given.steps)]
            told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            print(f"{name:<26} {int(told) / 2**20:9.1f}", flush=True)


if __name__ == "__main__":
    main()
