"""Which cell solves which memory task, in how many steps: the table in docs/memory.md.

    recurra bench memory --steps 10000 --out rows.json
    python benchmarks/memory_tasks.py rows.json

The rows are kept in benchmarks/memory_tasks.json, and without a file the table is written from there.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from recurra.memory import MemoryRow

HERE = Path(__file__).parent
RESULTS, PAGE = HERE / "memory_tasks.json", HERE.parent / "docs" / "memory.md"
BEGIN, END = "<!-- the table, by benchmarks/memory_tasks.py -->\n", "<!-- its end -->\n"


def told(row: MemoryRow) -> str:
    """What came of a row: the steps after which it was solved, or how long the sequences of training had become."""
    if row.trouble:
        return row.trouble
    if row.solved:
        return f"**{row.steps:,}**"
    return f"no, at {row.trained:,}"


def table(rows: list[MemoryRow]) -> str:
    """A line for each cell, a column for each task; first the cells that solve most, of equals in the fewest steps."""
    tasks = list(dict.fromkeys((row.task, row.length) for row in rows))
    found = {(row.cell, row.task, row.length): row for row in rows}

    def rank(cell: str) -> tuple[int, int]:
        solved = [row.steps for task in tasks if (row := found.get((cell, *task))) is not None and row.solved]
        return -len(solved), sum(solved)

    cells = sorted(dict.fromkeys(row.cell for row in rows), key=rank)
    lines = [["cell", *(f"{name}, {length}" for name, length in tasks)], ["---"] * (len(tasks) + 1)]
    for cell in cells:
        of_cell = [found.get((cell, *task)) for task in tasks]
        lines.append([f"`{cell}`", *("not run" if row is None else told(row) for row in of_cell)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> None:
    """Keep the rows that are given, and write the table into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="?", type=Path, help="what `recurra bench memory --out` has written")
    given = parser.parse_args().rows
    if given is not None:
        RESULTS.write_text(
            json.dumps(json.loads(given.read_text(encoding="utf-8"))["rows"], indent=1) + "\n", encoding="utf-8"
        )
    rows = [MemoryRow.from_file(row, RESULTS.name) for row in json.loads(RESULTS.read_text(encoding="utf-8"))]
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(before + BEGIN + table(rows) + END + after, encoding="utf-8")
    print(f"{PAGE} is written", file=sys.stderr)


if __name__ == "__main__":
    main()
