"""The command that tells how long cells remember: bench memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recurra.cli.talk import printable, say_json, tell
from recurra.data.memory import TASKS, MemoryTask
from recurra.errors import Interrupted
from recurra.files import sole_writer
from recurra.fitting.stopping import Stopping
from recurra.memory import MemoryOptions, MemoryRow, Results, remember, rows_wanted
from recurra.progress import Progress, duration, table


def memory(
    tasks: list[str],
    cells: list[str],
    length: int | None,
    out: Path,
    fresh: bool,
    choices: dict[str, Any],
    as_json: bool,
) -> None:
    options = MemoryOptions.from_user(**{name: value for name, value in choices.items() if value is not None})
    wanted = rows_wanted(tasks, cells, length)
    done: list[MemoryRow] = []
    with sole_writer(out), Stopping() as stop:
        results = Results(out, fresh=fresh)
        results.keep()
        for number, (task, cell) in enumerate(wanted, 1):
            row = results.found(task, cell, options)
            if row is None:
                row = _one(f"{number} of {len(wanted)}", task, cell, options, stop)
                if row is None:
                    raise _stopped(done, out)
                results.add(row)
                tell(_line(row))
            done.append(row)
            if as_json:
                say_json(_told(row))
    if not as_json:
        print(printable("\n\n".join(_tables(done, options))))
    tell(f"The rows are kept in {out}")


def _one(which: str, task: MemoryTask, cell: str, options: MemoryOptions, stop: Stopping) -> MemoryRow | None:
    with Progress(total_seconds=60 * options.minutes, unit="sequences") as progress:
        progress.note(f"{which}: {cell} on {task.name}, until {task.criterion} at length {task.length}")

        def on_step(step: int, seconds: float, loss: float, length: int) -> None:
            progress.update(step, units=step * options.rows, loss=loss)
            reached[0] = _grown(progress, step, reached[0], length)

        reached = [0]
        return remember(task, cell, options, stop=stop, on_step=on_step)


def _grown(progress: Progress, step: int, before: int, length: int) -> int:
    """Tell once of each new length of the curriculum."""
    if length != before:
        progress.note(f"from step {step:,} on sequences of length {length}")
    return length


def _stopped(done: Sequence[MemoryRow], out: Path) -> Interrupted:
    kept = f"{len(done)} rows of the table are done and kept in {out}" if done else "no row of the table was done yet"
    return Interrupted(f"Stopped; {kept}", fix="The same command goes on with the others")


def _line(row: MemoryRow) -> str:
    task = TASKS[row.task](row.length)
    how = "solved" if row.solved else "not solved"
    longest = "" if row.solved else f", longest length solved: {row.longest or 'none'}"
    return f"{row.cell} on {task.name} {row.length}: {how}, {row.steps:,} steps, {duration(row.seconds)}{longest}" + (
        f" ({row.trouble})" if row.trouble else ""
    )


def _told(row: MemoryRow) -> dict[str, Any]:
    task = TASKS[row.task](row.length)
    return {
        **row.model_dump(mode="json"),
        "longest": row.longest,
        "measured": task.measured,
        "criterion": task.criterion,
        "guessing": task.guessing,
    }


def _tables(rows: Sequence[MemoryRow], options: MemoryOptions) -> list[str]:
    """A table for each task, what was asked above it, and what all of them share at the end."""
    parts = []
    for name in dict.fromkeys(row.task for row in rows):
        same = [row for row in rows if row.task == name]
        task = TASKS[name](same[0].length)
        lengths = [task.length, 2 * task.length]
        heads = ["cell", "parameters", "solved", "steps", "time", *(f"at {length}" for length in lengths), "longest"]
        lines = [
            [
                row.cell, row.parameters, "yes" if row.solved else row.trouble or "no", row.steps, duration(row.seconds),
                *(_figure(task, row.measures.get(str(length))) for length in lengths),
                row.longest or "none",
            ]
            for row in same
        ]  # fmt: skip
        learnt = "" if task.stretch == 1 else f" Trained on up to {task.trained}."
        parts.append(
            f"{name}: {task.criterion} at length {task.length} ({task.meaning}); "
            f"guessing gives {_figure(task, task.guessing)}.{learnt}\n{table(lines, heads)}"
        )
    steps = "" if options.steps is None else f" and {options.steps:,} steps"
    parts.append(
        f"All cells: {options.layers}×{options.hidden}, at most {options.minutes:g} minutes{steps} each, "
        f"seed {options.seed}. 'solved' is what was seen in this time, not a bound of the cell. "
        "'longest' is the longest length of the curriculum that is solved at the end."
    )
    return parts


def _figure(task: MemoryTask, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if task.less_is_better else f"{value:.1%}"
