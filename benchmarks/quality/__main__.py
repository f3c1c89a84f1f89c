"""Runs rows of the table again, and writes the page: see `python -m benchmarks.quality --help`."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks.quality.page import page
from benchmarks.quality.rows import ROWS, Row, chosen
from benchmarks.quality.running import ROOT, Result, code, key, key_of, run_fit, run_peer


def main(arguments: list[str] | None = None) -> int:
    choices = _choices(arguments)
    try:
        rows = [_as_asked(row, choices) for row in chosen(choices.rows)]
    except KeyError as error:
        known = ", ".join(row.name for row in ROWS)
        print(f"There is no row {error}. Expected: {known}, or the beginning of some", file=sys.stderr)
        return 2
    results, made_by, failed = _read(choices.results), code(), 0
    done = {str(key_of(result)) for result in results}
    for row in rows:
        runs: list[tuple[str, Callable[..., Result]]] = [("fit", run_fit), *([("peer", run_peer)] if row.peer else [])]
        for seed in row.seeds:
            for kind, run in runs:
                wanted = str(key(row, seed, kind, made_by))
                if wanted in done and not choices.again and not made_by.endswith("-changed"):
                    print(f"{row.name}, seed {seed}, {kind}: kept", file=sys.stderr)
                    continue
                print(f"{row.name}, seed {seed}, {kind}: {row.minutes:g} minutes", file=sys.stderr)
                try:
                    result = run(row, seed, choices.data, choices.work, choices.threads, made_by)
                except (subprocess.CalledProcessError, FileNotFoundError) as error:
                    print(f"{row.name}, seed {seed}, {kind}: {error}", file=sys.stderr)
                    failed = 1
                    continue
                results.append(result)
                _append(choices.results, result)
    changed = {row.name: row for row in rows}
    choices.page.write_text(page([changed.get(row.name, row) for row in ROWS], results), encoding="utf-8")
    print(choices.page)
    return failed


def _choices(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="names of rows, or their beginnings; all if left out")
    parser.add_argument("--data", type=Path, required=True, help="the folder with lm, classify, tag and translate")
    parser.add_argument("--threads", type=int, default=_cores(), help="threads of each run; all cores if left out")
    parser.add_argument("--again", action="store_true", help="run also what was run with the same code and options")
    parser.add_argument("--minutes", type=float, help="other minutes than the row's, to try the runner out")
    parser.add_argument("--seeds", type=int, help="so many seeds instead of the row's")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks/quality/results.jsonl", help="a run a line")
    parser.add_argument("--page", type=Path, default=ROOT / "docs/quality.md", help="where the page goes")
    work = Path(tempfile.gettempdir()) / "recurra-quality"
    parser.add_argument("--work", type=Path, default=work, help="folder for models and parted texts")
    choices = parser.parse_args(arguments)
    if not choices.data.is_dir():
        parser.error(f"there is no folder {choices.data}")
    return choices


def _as_asked(row: Row, choices: argparse.Namespace) -> Row:
    minutes = row.minutes if choices.minutes is None else choices.minutes
    return replace(row, minutes=minutes, seeds=row.seeds if choices.seeds is None else tuple(range(choices.seeds)))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _read(path: Path) -> list[Result]:
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _append(path: Path, result: Result) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(result, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


if __name__ == "__main__":
    sys.exit(main())
