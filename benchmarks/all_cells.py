"""All cells on the same tasks, so that one can be chosen with evidence; it writes docs/cells.md.

    python benchmarks/all_cells.py --text tinyshakespeare.txt --digits train-images-idx3-ubyte.gz [--cell gru ...]

What is learnt is counted in steps, not in minutes, so that a busy machine changes no figure of quality; times are those that
the processor spent for this process alone. Each cell's row is kept in benchmarks/cells.json, and the page is written from it.
The cells come from the registry: one that is added there is a row here.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from recurra.data.datasets import LabelledDataset

HERE = Path(__file__).parent
RESULTS, PAGE = HERE / "cells.json", HERE.parent / "docs" / "cells.md"
RATIOS = HERE / "linear_cells.json"
CHARACTERS, PASSES = 100_000, 3
PICTURES, LOOKED_AT, EPOCHS = 2_000, 2_000, 3
WIDTH = 128
MEMORY = (("adding", 100), ("parity", 100))
MEMORY_STEPS, MEMORY_WIDTH = 800, 64
STEPS, ROWS = 128, 32
TIMED = {"training": 5, "streaming": 1_000}


@cache
def _warm_up() -> None:
    """A training of a few steps, so that what the first one of a process loads is not counted as the first cell's time."""
    from recurra.data.datasets import TextDataset
    from recurra.fitting.kinds import KINDS
    from recurra.fitting.options import FitOptions
    from recurra.training import train

    state = torch.get_rng_state()
    text = TextDataset(["a b c d e f g h " * 100], "text")
    task, recipe = KINDS["language"].build(text, FitOptions(cell="elman", hidden=8, epochs=1, rows=4, steps=16))
    feed, valid = (task.feed(text, rows=4, steps=16, training=training) for training in (True, False))
    train(task, feed, valid, recipe.model_copy(update={"evaluations": 1}))
    torch.set_rng_state(state)


def text_row(cell: str, path: Path) -> dict[str, Any]:
    """Bits per character on the last tenth of a short text, and what the model costs."""
    from recurra.data.datasets import TextDataset
    from recurra.fitting.kinds import KINDS
    from recurra.fitting.options import FitOptions
    from recurra.streaming import Session
    from recurra.training import evaluate, train

    text = path.read_text(encoding="utf-8")[:CHARACTERS]
    cut = round(0.9 * len(text))
    learnt, held = (TextDataset([part], "text") for part in (text[:cut], text[cut:]))
    torch.manual_seed(0)
    options = FitOptions(cell=cell, hidden=WIDTH, layers=1, epochs=PASSES, rows=16, steps=64, dropout=0.1)
    task, recipe = KINDS["language"].build(learnt, options)
    feed = task.feed(learnt, rows=recipe.rows, steps=recipe.steps, training=True)
    valid = task.feed(held, rows=1, steps=512, training=False)
    _warm_up()
    began = time.process_time()
    outcome = train(task, feed, valid, recipe.model_copy(update={"evaluations": 1}))
    seconds = time.process_time() - began
    metrics, _ = evaluate(task, valid)
    session = Session(task.eval())
    session.advance([1] * 100)
    step = _spent(lambda: session.advance([1]), TIMED["streaming"])
    return {
        "bits_per_character": metrics["bits_per_character"],
        "parameters": task.parameter_count,
        "text_steps": outcome.position.step,
        "seconds_per_1000_steps": 1000 * seconds / outcome.position.step,
        "streaming_microseconds": 1e6 * step,
    }


@cache
def _pictures(path: Path) -> LabelledDataset:
    from recurra.data.datasets import LabelledDataset
    from recurra.data.reading import read

    dataset, _, _ = read(str(path))
    assert isinstance(dataset, LabelledDataset)
    return dataset.subset(list(range(PICTURES + LOOKED_AT)), "digits")


def digits_row(cell: str, path: Path) -> dict[str, Any]:
    """Accuracy on digits that are read row by row, of a few thousand from the training file; others of it are measured."""
    from recurra.fitting.kinds import KINDS
    from recurra.fitting.options import FitOptions
    from recurra.training import evaluate, train

    dataset = _pictures(path)
    learnt = dataset.subset(list(range(PICTURES)), "digits")
    held = dataset.subset(list(range(PICTURES, PICTURES + LOOKED_AT)), "others")
    torch.manual_seed(0)
    options = FitOptions(
        cell=cell, hidden=WIDTH, layers=1, epochs=EPOCHS, rows=32, augment=False, convolution=False, read="rows",
        summary="last",
    )  # fmt: skip
    task, recipe = KINDS["classify"].build(learnt, options)
    recipe = recipe.model_copy(update={"evaluations": 1, "keep": "last", "average": None})
    valid = task.feed(held, rows=64, steps=512, training=False)
    train(task, task.feed(learnt, rows=32, steps=64, training=True), valid, recipe)
    return {"digits": evaluate(task, valid)[0]["accuracy"]}


def memory_row(cell: str) -> dict[str, Any]:
    """After how many steps each memory task is solved, or the longest length that is."""
    from recurra.data.memory import TASKS
    from recurra.memory import MemoryOptions, remember

    options = MemoryOptions(minutes=600.0, steps=MEMORY_STEPS, hidden=MEMORY_WIDTH)
    found: dict[str, Any] = {}
    for name, length in MEMORY:
        row = remember(TASKS[name](length), cell, options)
        assert row is not None
        found[name] = {"length": length, "solved": row.solved, "steps": row.steps, "longest": row.longest}
        found[name]["measure"] = row.measures.get(str(length))
        print(f"  {cell} {name}: {found[name]}", file=sys.stderr, flush=True)
    return found


def cost_row(cell: str) -> dict[str, Any]:
    """Of one layer, a pass of training alone: its time."""
    once = _pass_of(cell)
    once(2)
    return {"pass_milliseconds": 1e3 * _spent(lambda: once(STEPS), TIMED["training"])}


def memory_of(cell: str) -> float:
    """By how many MiB such a pass lets the memory of a process grow, in a child that has done nothing before."""
    from memory import tell

    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writing, 1)
        sys.stdout = os.fdopen(1, "w")
        try:
            tell(_pass_of(cell), STEPS)
            sys.stdout.flush()
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        grown = told.read()
    os.waitpid(child, 0)
    return int(grown) / 2**20


def _pass_of(cell: str) -> Callable[[int], None]:
    from recurra.layers import Stack, StackConfig

    torch.manual_seed(0)
    stack = Stack.build(WIDTH, StackConfig(cell=cell, hidden=WIDTH))

    def once(steps: int) -> None:
        inputs = torch.ones(steps, ROWS, WIDTH, requires_grad=True)
        outputs, _ = stack(inputs, stack.initial_state(ROWS))
        kept = torch.autograd.grad(outputs, [inputs, *stack.parameters()], torch.ones_like(outputs), allow_unused=True)
        del kept

    return once


def _spent(call: Callable[[], object], times: int) -> float:
    """Seconds of the processor for one call, the least of five runs of `times`: others take away from the rest."""
    samples = []
    for _ in range(5):
        began = time.process_time()
        for _ in range(times):
            call()
        samples.append((time.process_time() - began) / times)
    return min(samples)


def _machine() -> dict[str, Any]:
    from machine import record

    told = record(1)
    return {key: told[key] for key in ("processor", "cores", "system", "python", "torch", "commit", "native")}


# ---- the page


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _solved(found: dict[str, Any]) -> str:
    if found["longest"] == found["length"]:
        return f"solved, {found['steps']:,} steps"
    return f"no; up to {found['longest']}" if found["longest"] else "no"


def long_sequences(given: dict[str, Any]) -> str:
    """The section on training over long sequences, from what `linear_cells.py --save` wrote."""
    cells = list(next(iter(given["ratios"].values())))
    rows = [[title, *(f"{found[name]:.1f}" for name in cells)] for title, found in given["ratios"].items()]
    return f"""## Long sequences

How many times faster than our own GRU of the same width a layer is trained, forward and backward, over {given["steps"]:,}
steps, one thread: `benchmarks/linear_cells.py --save`, medians of interleaved rounds.

{_table(["reads, rows, units", *cells], rows)}

- **series 1, series 8**: that many numbers a step, which are data and take no gradient. A GRU still multiplies its state at
  every step, 9 H² multiply-adds forward and backward; a MinGRU or MinLSTM has next to none, and waits for memory and
  exponentials.
- **inner**: H numbers a step that take a gradient, as in layers above the first. The products of the inputs are nearly all
  there is: a MinGRU has a third of a GRU's 18 H², a MinLSTM half, so at the same rate three and two times are the bound.
- **tokens**: of a table of 64 vectors of H numbers, whose products are made once a symbol.
- An RGLRU's gates read 32 units each (192 H multiply-adds), an LRU's state is read by 3 H² of them, an SLSTM's heads read
  their own outputs (3 H²), an MLSTM's write and read a matrix: these stay, whatever is read.

{given["machine"]}.
"""


def page(results: dict[str, dict[str, Any]]) -> str:
    """The page, from the rows that were measured."""
    quality = [
        [
            cell, f"{row['parameters']:,}", f"{row['bits_per_character']:.3f}", f"{row['digits']:.1%}",
            *(_solved(row[name]) for name, _ in MEMORY),
        ]
        for cell, row in results.items()
    ]  # fmt: skip
    costs = [
        [
            cell, f"{row['seconds_per_1000_steps']:.1f}", f"{row['pass_milliseconds']:.1f}",
            f"{row['streaming_microseconds']:.1f}", f"{row['peak_mebibytes']:.1f}",
        ]
        for cell, row in results.items()
    ]  # fmt: skip
    heads = [f"{name} {length}" for name, length in MEMORY]
    machines = {json.dumps({k: v for k, v in row["machine"].items() if k != "commit"}): row for row in results.values()}
    where = "\n".join(
        f"- {', '.join(f'{key} {value}' for key, value in row['machine'].items() if key != 'commit')}"
        for row in machines.values()
    )
    commits = ", ".join(dict.fromkeys(str(row["machine"]["commit"]) for row in results.values()))
    passed = next(iter(results.values()))["text_steps"]
    learnt = _table(["cell", "parameters", "text, bits per character", "digits", *heads], quality)
    spent = _table(
        ["cell", "1,000 steps of training, s", "a pass, ms", "a step streamed, µs", "memory of a pass, MiB"], costs
    )
    return f"""# Cells beside one another

Every cell of the registry on the same three kinds of work, each by the same recipe and one seed: nothing is chosen for any of
them, so each may do better with options of its own. This page is written by

    OMP_NUM_THREADS=1 taskset -c 1 python benchmarks/all_cells.py --text FILE --digits FILE

## What they learn

{learnt}

- **text**: one layer of {WIDTH} on the first {CHARACTERS:,} characters of tinyshakespeare, {PASSES} passes ({passed:,} steps
  of 16 rows of 64), measured on the last tenth of them. Few steps on little text: the figures tell the cells apart, not how
  good they get.
- **digits**: accuracy on {LOOKED_AT:,} digits, each read row by row, by one layer of {WIDTH} and its last output, after
  {EPOCHS} passes over {PICTURES:,} others, all from MNIST's training file.
- **{", ".join(heads)}**: [memory tasks](memory.md), one layer of {MEMORY_WIDTH}, at most {MEMORY_STEPS:,} steps. "up to" is
  the longest length of the curriculum that is solved at the end. What is not solved was not solved in these steps; that is no
  bound of a cell.

## What they cost

{spent}

- Seconds of one processor that this process alone was given, not of the clock.
- **1,000 steps**: the language model above, head, loss and optimiser included.
- **a pass**: one layer of {WIDTH} forward and backward, {ROWS} rows of {STEPS} steps; the least of five runs of
  {TIMED["training"]}.
- **a step streamed**: `Session.advance` of the language model, a token at a time; the least of five runs of
  {TIMED["streaming"]:,}. The feedforward network has no kernel that keeps its weights: its steps go through torch's modules.
- **memory**: by how much such a pass lets the memory of a process of its own grow, at its peak.

One thread on one core of the machine below, while other work kept all of its cores busy: caches and memory were shared, so
times are upper bounds.

{where}

Code: {commits}.
{"" if not RATIOS.exists() else chr(10) + long_sequences(json.loads(RATIOS.read_text(encoding="utf-8")))}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, help="a text; its beginning is read")
    parser.add_argument("--digits", type=Path, help="MNIST's training images, the labels beside them")
    parser.add_argument("--cell", action="append", help="a cell; again for more; all that are not in the file yet")
    given = parser.parse_args()
    torch.set_num_threads(1)
    from recurra.cells import CELLS

    results: dict[str, dict[str, Any]] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    cells = given.cell or [name for name in CELLS if name not in results]
    if cells and (given.text is None or given.digits is None):
        parser.error("--text and --digits are needed to measure cells")
    # before anything else has been done here, so that no memory is there to be used again
    grown = {cell: memory_of(cell) for cell in cells}
    for cell in cells:
        print(f"{cell} ...", file=sys.stderr, flush=True)
        row = {**text_row(cell, given.text), **digits_row(cell, given.digits), **cost_row(cell), **memory_row(cell)}
        row["peak_mebibytes"] = grown[cell]
        results[cell] = {**row, "machine": _machine(), "load": [round(load, 1) for load in os.getloadavg()]}
        ordered = {name: results[name] for name in CELLS if name in results}
        RESULTS.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page({name: results[name] for name in CELLS if name in results}), encoding="utf-8")
    print(f"{PAGE} is written", file=sys.stderr)


if __name__ == "__main__":
    main()
