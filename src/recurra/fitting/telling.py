"""What `fit` says: the command that does the same again, the table of results, and what to try next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recurra.fitting.kinds import KINDS
from recurra.fitting.options import FitOptions, typed
from recurra.inspection.measures import items
from recurra.models import Task
from recurra.progress import table


def same_again(data: Any, places: dict[str, Any], options: FitOptions) -> str:
    """How to make the same call: as a command line where all the data are files, otherwise in Python."""
    chosen = {name: value for name, value in options.model_dump(exclude_defaults=True).items() if value is not None}
    given = {name: value for name, value in places.items() if value is not None}
    if all(isinstance(value, (str, Path)) for value in (data, *given.values())):
        words = ["recurra", "fit", str(data)]
        for name, value in {**given, **chosen}.items():
            words += [typed(name, value)] if isinstance(value, bool) else [typed(name, value), str(_plain(value))]
        return shlex.join(words)
    told = [repr(data) if isinstance(data, str) else "data"]
    for name, value in {**given, **chosen}.items():
        shown = repr(str(value)) if isinstance(value, Path) else repr(_plain(value)) if _is_short(value) else name
        told.append(f"{name}={shown}")
    return f"recurra.fit({', '.join(told)})"


def _plain(value: Any) -> Any:
    """A number as it was most likely given: 2, which options of minutes hold as 2.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _is_short(value: Any) -> bool:
    return isinstance(value, (str, int, float, bool))


def next_commands(task: Task, folder: Path) -> list[str]:
    """Commands to try with a fitted model."""
    where = shlex.quote(str(folder))
    return [*KINDS[task.kind].next_commands(task, where), f"recurra info {where}"]


def result_table(record: dict[str, Any], folder: Path) -> str:
    """The table of results with the baselines, and what to do next."""
    split = "test" if "test" in record["metrics"] else "valid"
    names = [name for name in KINDS[record["kind"]].shown if name in record["metrics"][split]]
    model = record["model"]
    ours = [f"{model['cell']} {model['layers']}×{model['hidden']}", record["metrics"][split], record["seconds"]]
    rows = [
        ours,
        *([row["name"], row["metrics"], row["seconds"]] for row in record["baselines"] if row["split"] == split),
    ]
    lines = [
        [name, *(f"{metrics[key]:.4f}" if key in metrics else "" for key in names), f"{seconds:.0f} s"]
        for name, metrics, seconds in rows
    ]
    told = {"valid": "validation", "test": "test"}[split]
    following = "\n".join(f"  {command}" for command in record["next"])
    notes = "".join(f"note: {note}\n" for note in record["notes"])
    if "choice" in record:
        notes = f"{record['choice']['sentence']}\n{notes}"
    return (
        f"\nOn the {told} set:\n{table(lines, ['', *names, 'time'])}\n{notes}\n"
        f"{streaming_lines(record['streaming'])}\n\n"
        f"Model: {folder}   report: {folder / 'report.html'}\nNext:\n{following}"
    )


def streaming_lines(streaming: Mapping[str, Any]) -> str:
    """What was measured of the model as it will be streamed, a line each, the warnings last."""
    lines = [*items(streaming, "sentences"), *(f"warning: {text}" for text in items(streaming, "warnings"))]
    return "As it will be streamed:\n" + "\n".join(f"  {line}" for line in lines)
