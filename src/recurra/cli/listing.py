"""The command that lists runs beside one another: runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import recurra
from recurra.cli.talk import printable, say_json
from recurra.errors import UsageError
from recurra.fitting.runs import differing
from recurra.inspection.measures import known, show
from recurra.progress import duration, table


def runs(folder: Path, as_json: bool) -> None:
    found = recurra.runs(folder)
    if not found:
        raise UsageError(
            f"There are no runs in {folder}", expected="model folders, there or two levels below",
            fix="`recurra fit DATA --out FOLDER` makes one",
        )  # fmt: skip
    differences = differing(found)
    if as_json:
        for run in found:
            names = differences.get(run["kind"], [])
            say_json({**run, "differs": {name: run["arguments"].get(name) for name in names}})
        return
    parts = []
    for kind in dict.fromkeys(run["kind"] for run in found if run["state"] != "damaged"):
        same = [run for run in found if run["kind"] == kind and run["state"] != "damaged"]
        parts.append(_overview(same))
        names = differences.get(kind, [])
        if names:
            rows = [[run["name"], *(_value(run["arguments"].get(name)) for name in names)] for run in same]
            parts.append(table(rows, ["differs in", *names]))
    damaged = [[run["name"], run["reason"]] for run in found if run["state"] == "damaged"]
    if damaged:
        parts.append(table(damaged, ["damaged", "why"]))
    print(printable("\n\n".join(parts)))


def _overview(found: Sequence[dict[str, Any]]) -> str:
    metric = found[0]["metric"] or "metric"
    title = known(metric).title
    rows = [
        [
            run["name"], run["kind"] or "-", _model(run), run["data"] or "-", run["step"], run["epoch"],
            "-" if run["seconds"] is None else duration(run["seconds"]),
            show(metric, run["valid"]), show(metric, run["test"]), (run["date"] or "-")[:16].replace("T", " "), _state(run),
        ]
        for run in found
    ]  # fmt: skip
    heads = ["run", "task", "model", "data", "steps", "epochs", "time", f"best {title}", "test", "date", "state"]
    return table(rows, heads)


def _model(run: dict[str, Any]) -> str:
    if run["cell"] is None:
        return "-"
    return f"{run['cell']} {run['layers']}×{run['hidden']}, {run['parameters']:,}"


def _state(run: dict[str, Any]) -> str:
    if run["state"] == "stopped" and run["step"] is not None:
        return f"stopped at step {run['step']:,}"
    return run["state"]


def _value(value: Any) -> Any:
    return value if value is None or isinstance(value, int | float | str) else str(value)
