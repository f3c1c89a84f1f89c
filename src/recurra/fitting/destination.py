"""Where a run writes: a folder that holds its model from the first validation on, and that no other run overwrites."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from recurra.errors import UsageError
from recurra.files import disk_errors, write_file
from recurra.models import Task, save_model, save_weights
from recurra.training import Position, load_position, save_position

METRICS, RECORD = "metrics.jsonl", "record.json"


class Destination:
    """The folder of one run. `arguments` are what decides its outcome; a run goes on only under the same ones.

    Raises `UsageError` where the folder holds something else.
    """

    def __init__(self, folder: Path, arguments: dict[str, Any], fresh: bool) -> None:
        self.folder = folder
        self._arguments = arguments
        self._created = False
        self.position: Position | None = None
        if folder.exists() and not fresh:
            self._look(folder)

    def _look(self, folder: Path) -> None:
        if not folder.is_dir():
            raise UsageError(f"{folder} is a file", expected="a folder, or a name that is free", fix="Choose another --out")
        found = load_position(folder)
        if found is not None:
            position, arguments = found
            if arguments != self._arguments:
                raise UsageError(
                    f"{folder} holds an unfinished run with other arguments",
                    got=_difference(arguments, self._arguments),
                    fix="Give the same arguments to go on, --fresh to start over, or another --out",
                )
            self.position = position
            self._created = True
        elif (folder / "config.json").exists():
            raise UsageError(
                f"{folder} already holds a model", fix="Choose another --out, or replace it with --fresh"
            )
        elif any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty", fix="Choose another --out, or replace all in it with --fresh")

    def save_best(self, model: Task) -> None:
        """Keep the model's weights as they are now."""
        if self._created:
            save_weights(model, self.folder)
        else:
            save_model(model, self.folder)
            self._created = True

    def log(self, event: dict[str, Any]) -> None:
        """Append a line to metrics.jsonl, once there is a folder."""
        if self._created:
            with disk_errors(self.folder / METRICS, "write"), open(self.folder / METRICS, "a", encoding="utf-8") as file:
                file.write(json.dumps(event, ensure_ascii=False) + "\n")

    def pause(self, position: Position) -> None:
        """Keep all that is needed to go on."""
        save_position(self.folder, position, self._arguments)

    def finish(self, record: dict[str, Any]) -> None:
        """Write the record; from here on the folder is a finished model."""
        import shutil

        write_file(self.folder / RECORD, json.dumps(record, ensure_ascii=False, indent=1) + "\n")
        shutil.rmtree(self.folder / "training", ignore_errors=True)


def free_name(stem: str) -> Path:
    """`STEM-model`, or `STEM-model-2`, ... where that holds a finished model."""
    number = 1
    while True:
        folder = Path(f"{stem}-model" if number == 1 else f"{stem}-model-{number}")
        if not (folder / RECORD).exists():
            return folder
        number += 1


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    changed = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    return ", ".join(f"{key} was {before.get(key)!r} and is {now.get(key)!r}" for key in changed)
