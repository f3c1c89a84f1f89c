"""The runs below a folder, beside one another: what each is, how far it came, what it reached.

It reads what runs write (config.json, record.json, metrics.jsonl, the header of the weights) and builds no model.
"""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from recurra.errors import ModelError, UsageError
from recurra.files import disk_errors, is_held
from recurra.fitting.destination import METRICS, RECORD
from recurra.models import MODELS
from recurra.models.checkpoint import CONFIG, WEIGHTS

TRAINING = "training"
SIGNS = (CONFIG, WEIGHTS, RECORD, METRICS, TRAINING)
"""What is in the folder of a run; two of these make one."""
DEPTH = 2
MOST = 1 << 26
"""Bytes beyond which no file of a run is read: none that a run wrote is so long."""


def runs(folder: str | Path = ".") -> list[dict[str, Any]]:
    """The runs in `folder` (itself, and two levels of folders below it), finished, stopped or under way.

    Each is a dictionary with:
    - `name`: its path from `folder` on; `path`; `state`: "finished", "stopped" (also one that was killed), "running", or
      "damaged" with `reason`, the error in words.
    - `kind` ("language", "classify"), `cell`, `layers`, `hidden`, `parameters`; `data`, the name of what it learns from.
    - `step`, `epoch`, `seconds` of training so far; `date`, when it ended or last wrote, UTC, as ISO text.
    - `metric`, the name of the task's best metric; `valid` and `test`, its values; `metrics`, all by split.
    - `arguments`: the settings of model and training by name. Those of training are known of a finished run only.

    What is not known is None. They are sorted by kind, the best validation first, the damaged last. Raises `UsageError`
    where `folder` is no folder, `EnvironmentFailure` where it cannot be read.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UsageError(
            f"There is no folder {root}", got="a file" if root.exists() else "nothing", expected="a folder with runs"
        )
    with disk_errors(root, "read"):
        os.scandir(root).close()
    paths = sorted(_folders(root), key=lambda path: path.is_symlink())
    # a run is listed once, under its own name rather than that of a link
    once = {os.path.realpath(path): path for path in reversed(paths)}
    found = [_run(path, str(path.relative_to(root))) for path in once.values()]
    return sorted(found, key=_rank)


def differing(found: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The names of the arguments that are not the same in all runs of a kind, by kind.

    What is not known of a run is no difference.
    """
    names: dict[str, dict[str, set[str]]] = {}
    for run in found:
        for name, value in run["arguments"].items():
            names.setdefault(run["kind"], {}).setdefault(name, set()).add(json.dumps(value))
    return {kind: [name for name, values in each.items() if len(values) > 1] for kind, each in names.items()}


def _folders(root: Path) -> Iterator[Path]:
    """Folders of runs, and places held by a run that has not written yet; nothing is looked for inside of a run."""
    level = [root]
    for depth in range(DEPTH + 1):
        below: list[Path] = []
        for path in level:
            if sum(os.path.lexists(path / name) for name in SIGNS) > 1:
                yield path
                continue
            # a link to a run is followed, one to other folders may lead anywhere
            if depth < DEPTH and (path == root or not path.is_symlink()):
                below += _inside(path)
                yield from _begun(path)
        level = below


def _inside(path: Path) -> list[Path]:
    try:
        with os.scandir(path) as entries:
            return sorted(path / entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    except PermissionError:
        return []


def _begun(path: Path) -> Iterator[Path]:
    """Folders that do not exist yet, but a run is on the way to make them."""
    for lock in sorted(path.glob(".*.lock")):
        target = path / lock.name[1 : -len(".lock")]
        if not os.path.lexists(target) and is_held(target):
            yield target


def _run(path: Path, name: str) -> dict[str, Any]:
    run: dict[str, Any] = {
        "name": path.resolve().name if name == "." else name, "path": str(path), "state": "running", "reason": None,
        "kind": None, "cell": None, "layers": None, "hidden": None, "parameters": None, "data": None, "step": None,
        "epoch": None, "seconds": None, "date": None, "metric": None, "valid": None, "test": None, "metrics": {},
        "arguments": {},
    }  # fmt: skip
    if not path.exists():
        return run
    try:
        run |= _told(path)
    except (ModelError, OSError) as error:
        return {**run, "state": "damaged", "reason": str(error)}
    return {**run, "state": "running"} if is_held(path) else run


def _told(path: Path) -> dict[str, Any]:
    """What the files of a run say; raises `ModelError` where one of them is missing or broken."""
    about = _object(path / CONFIG)
    kind, config = about.get("kind"), about.get("config")
    if kind not in list(MODELS) or not isinstance(config, dict):
        raise ModelError(f"{CONFIG} is no configuration of a model", got=repr(kind)[:40])
    stack = config.get("stack")
    stack = stack if isinstance(stack, dict) else {}
    metric, more_is_better = MODELS[kind].best
    arguments = {**{key: value for key, value in config.items() if key != "stack"}, **stack}
    told: dict[str, Any] = {
        "kind": kind,
        **{key: stack.get(key) for key in ("cell", "layers", "hidden")},
        "parameters": _parameters(path / WEIGHTS),
        "metric": metric,
        "arguments": arguments,
    }
    record = path / RECORD
    if (path / TRAINING).exists() or not record.exists():
        lines = _lines(path / METRICS)
        # a model that was saved by itself was never under way
        unfinished = (path / TRAINING).exists() or (path / METRICS).exists()
        return {
            **told,
            "state": "stopped" if unfinished else "finished",
            **_so_far(path, lines, metric, more_is_better),
        }
    return {**told, "state": "finished", **_ended(_object(record), metric, arguments)}


def _ended(record: dict[str, Any], metric: str, arguments: dict[str, Any]) -> dict[str, Any]:
    metrics, data, recipe = (_part(record, key) for key in ("metrics", "data", "recipe"))
    history = record.get("history")
    last = history[-1] if isinstance(history, list) and history and isinstance(history[-1], dict) else {}
    return {
        "data": _text(data.get("name")),
        "step": _number(last.get("step")),
        "epoch": _number(last.get("epoch")),
        "seconds": _number(record.get("seconds")),
        "date": _text(record.get("date")),
        "valid": _number(_part(metrics, "valid").get(metric)),
        "test": _number(_part(metrics, "test").get(metric)),
        "metrics": metrics,
        "arguments": {**arguments, **recipe},
    }


def _so_far(path: Path, lines: list[dict[str, Any]], metric: str, more_is_better: bool) -> dict[str, Any]:
    best: dict[str, Any] = {}
    for line in lines:
        found = _part(line, "valid")
        value, before = _number(found.get(metric)), _number(best.get(metric))
        if value is not None and (before is None or (value > before if more_is_better else value < before)):
            best = found
    last = lines[-1] if lines else {}
    written = (path / METRICS if lines else path / CONFIG).stat().st_mtime
    return {
        **{key: _number(last.get(key)) for key in ("step", "epoch", "seconds")},
        "date": datetime.datetime.fromtimestamp(written, datetime.UTC).isoformat(timespec="seconds"),
        "valid": _number(best.get(metric)),
        "metrics": {"valid": best} if best else {},
    }


def _read(path: Path) -> str:
    if not path.is_file():
        raise ModelError(f"{path.name} is missing")
    if path.stat().st_size > MOST:
        raise ModelError(f"{path.name} is damaged", got=f"{path.stat().st_size:,} bytes")
    return path.read_text(encoding="utf-8", errors="replace")


def _object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{path.name} is damaged", got=str(error)) from error
    if not isinstance(found, dict):
        raise ModelError(f"{path.name} is damaged", got=type(found).__name__, expected="a JSON object")
    return found


def _lines(path: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; the last may be half written, and others may have been cut by a crash."""
    if not path.exists():
        return []
    found = []
    for line in _read(path).splitlines():
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict):
            found.append(event)
    return found


def _parameters(path: Path) -> int:
    """How many numbers the weights are, from their header alone."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ModelError(f"{path.name} is missing")
    count = 0
    try:
        with safe_open(path, framework="np") as file:
            for name in file.keys():  # noqa: SIM118 (not a dict)
                size = 1
                for side in file.get_slice(name).get_shape():
                    size *= side
                count += size
    except SafetensorError as error:
        raise ModelError(f"{path.name} is damaged", got=str(error)) from error
    return count


def _part(record: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = record.get(key)
    return found if isinstance(found, dict) else {}


def _number(value: Any) -> Any:
    fits = isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63)
    return value if fits else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _rank(run: Mapping[str, Any]) -> tuple[Any, ...]:
    value = run["valid"]
    if run["kind"] is None or value is None or value != value:
        order = float("inf")
    else:
        order = -value if MODELS[run["kind"]].best[1] else value
    return run["state"] == "damaged", run["kind"] or "~", order, run["name"]
