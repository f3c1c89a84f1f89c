"""Runs one row for one seed, by the command line in a process of its own, and says what came of it."""

from __future__ import annotations

import datetime
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.quality.rows import Row

ROOT = Path(__file__).parents[2]
TWIN = "feed-forward network"
Result = dict[str, Any]
"""One run, as it stands in the file of results: a JSON object a line."""


def code() -> str:
    """A name of the code that is measured: the same for commits that change nothing of it, "-changed" beside a commit."""
    trees = [_git("rev-parse", f"HEAD:{folder}")[:8] for folder in ("src", "native")]
    changed = "-changed" if _git("status", "--porcelain", "src", "native") else ""
    return "-".join(trees) + changed


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def files(row: Row, data: Path, work: Path) -> dict[str, Path]:
    """The files of a row; a text that is given whole is parted in the folder `work`. Raises `FileNotFoundError`."""
    named = {"train": row.train, "valid": row.valid, "test": row.test}
    found = {name: data / path for name, path in named.items() if path}
    for path in found.values():
        if not path.is_file():
            raise FileNotFoundError(f"{row.name} needs {path}")
    if row.rows is not None:
        head, *lines = found["train"].read_text(encoding="utf-8").splitlines()
        work.mkdir(parents=True, exist_ok=True)
        first = 0
        for name, count in zip(("train", "valid", "test"), row.rows, strict=True):
            found[name] = work / f"{row.name.split('-')[0]}.{name}.csv"
            found[name].write_text("\n".join([head, *lines[first : first + count]]) + "\n", encoding="utf-8")
            first += count
    if row.whole:
        text = found["train"].read_text(encoding="utf-8")
        cut = int(len(text) * 0.9)
        work.mkdir(parents=True, exist_ok=True)
        for name, part in (("train", text[:cut]), ("valid", text[cut:])):
            found[name] = work / f"{row.name.split('-')[0]}.{name}.txt"
            found[name].write_text(part, encoding="utf-8")
    return found


def words(row: Row, seed: int, paths: Mapping[str, Path | str], out: Path | str) -> list[str]:
    """The command as a person types it, without what it is called by."""
    rest = [word for name in ("valid", "test") if name in paths for word in (f"--{name}", str(paths[name]))]
    said = ["--minutes", f"{row.minutes:g}", "--seed", str(seed), *row.options, "--out", str(out), "--json"]
    return ["fit", str(paths["train"]), *rest, *said]


def key(row: Row, seed: int, kind: str, made_by: str) -> tuple[Any, ...]:
    """What makes two runs the same, so that the second need not be made."""
    return row.name, seed, row.minutes, list(row.options), kind, made_by


def key_of(result: Result) -> tuple[Any, ...]:
    return tuple(result[name] for name in ("row", "seed", "minutes", "options", "kind", "code"))


def run_fit(row: Row, seed: int, data: Path, work: Path, threads: int, made_by: str) -> Result:
    """`recurra fit`, which goes on where it was where it was stopped before. Raises `CalledProcessError` where it fails."""
    paths, out = files(row, data, work), work / f"{row.name}-seed{seed}-{made_by}"
    record = _record(out) or json.loads(_called(["-m", "recurra", *words(row, seed, paths, out)], threads))
    shown = {name: Path(path).name for name, path in paths.items()}
    return {
        **_about(row, seed, "fit", threads, made_by),
        "command": shlex.join(["recurra", *words(row, seed, shown, row.name)]),
        "model": record["model"],
        "seconds": record["seconds"],
        "total_seconds": record["total_seconds"],
        "metrics": record["metrics"],
        "baselines": record["baselines"],
    }


def run_peer(row: Row, seed: int, data: Path, work: Path, threads: int, made_by: str) -> Result:
    """The network of another kind, for the same minutes, on the same files."""
    paths = files(row, data, work)
    script = Path(__file__).with_name("small_transformer.py")
    given = [str(paths[name]) for name in ("train", "valid", "test")]
    said = ["--minutes", f"{row.minutes:g}", "--seed", str(seed)]
    told = json.loads(_called([str(script), *given, *said], threads))
    shown = [paths[name].name for name in ("train", "valid", "test")]
    command = shlex.join(["python", f"benchmarks/quality/{script.name}", *shown, *said])
    return {**_about(row, seed, "peer", threads, made_by), "command": command, **told}


def _about(row: Row, seed: int, kind: str, threads: int, made_by: str) -> Result:
    import torch

    return {
        "row": row.name,
        "seed": seed,
        "minutes": row.minutes,
        "options": list(row.options),
        "kind": kind,
        "code": made_by,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "threads": threads,
        "torch": torch.__version__,
    }


def _record(out: Path) -> Result | None:
    """The record of a run that was finished, and whose result was not written down."""
    path = out / "record.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _called(command: list[str], threads: int) -> str:
    """The last line that a Python program writes to stdout; what it says on stderr goes on to ours."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run([sys.executable, *command], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip().splitlines()[-1]
