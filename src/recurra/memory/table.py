"""The table of cells on memory tasks: which rows there are, and the file that keeps those that are done."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recurra.cells import CELLS
from recurra.data.memory import TASKS, MemoryTask
from recurra.errors import DataError, ModelError, UsageError
from recurra.files import open_for_reading, write_file
from recurra.memory.training import MemoryOptions, MemoryRow

FORMAT = 1


def rows_wanted(
    tasks: Sequence[str] | None, cells: Sequence[str] | None, length: int | None
) -> list[tuple[MemoryTask, str]]:
    """The rows of a table: each cell on each task, all of them where none are named, at `length` or the task's usual one.

    Raises `UsageError` for a task or a cell that there is not, and for a length that a task does not have.
    """
    for what, given, known in (("task", tasks, TASKS), ("cell", cells, CELLS)):
        for name in given or ():
            if name not in known:
                raise UsageError(f"There is no {what} '{name}'", expected=", ".join(known))
    chosen = [TASKS[name](length or TASKS[name].usual) for name in dict.fromkeys(tasks or TASKS)]
    return [(task, cell) for task in chosen for cell in dict.fromkeys(cells or CELLS)]


class Results:
    """The rows in a file, so that a table that was stopped goes on, and a longer one asks only for what is new.

    A row counts as done where task, length, cell and all options are the same. Raises `UsageError` where another file
    stands there, `DataError` where it is damaged.
    """

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        self.path = path
        self._rows: dict[tuple[Any, ...], MemoryRow] = {}
        if not fresh and os.path.lexists(path):
            for row in _read(path):
                self._rows[row.key] = row

    def found(self, task: MemoryTask, cell: str, options: MemoryOptions) -> MemoryRow | None:
        """The row that is done already, or None."""
        return self._rows.get((task.name, task.length, cell, options))

    def add(self, row: MemoryRow) -> None:
        """Keep a row: it is in the file when this returns."""
        self._rows[row.key] = row
        self.keep()

    def keep(self) -> None:
        """Write the file whole: a place that cannot be written shows before the work."""
        rows = [row.model_dump(mode="json") for row in self._rows.values()]
        write_file(self.path, json.dumps({"recurra": "memory", "format": FORMAT, "rows": rows}, indent=1) + "\n")


def _read(path: Path) -> list[MemoryRow]:
    with open_for_reading(path, "data") as file:
        content = file.read()
    fix = "Choose another --out, or start the file over with --fresh"
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} holds no results of memory tasks", got=str(error)[:80], fix=fix) from error
    if not isinstance(found, dict) or found.get("recurra") != "memory" or not isinstance(found.get("rows"), list):
        raise UsageError(f"{path} holds something else than results of memory tasks", fix="Choose another --out")
    if found.get("format") != FORMAT:
        raise DataError(f"{path} has another format", got=str(found.get("format"))[:40], expected=FORMAT, fix=fix)
    try:
        rows = [MemoryRow.from_file(row, f"{path}, row {number}") for number, row in enumerate(found["rows"], 1)]
    except ModelError as error:
        raise DataError(str(error), fix=fix) from error
    for row in rows:
        if row.task not in TASKS or row.length < TASKS[row.task].shortest:
            raise DataError(f"{path} tells of a task that there is not", got=f"{row.task} {row.length}"[:80], fix=fix)
        if not all(length.isdecimal() and len(length) < 10 for length in row.measures):
            raise DataError(f"{path} is damaged", got=f"a length of {row.task} that is no number", fix=fix)
    return rows
