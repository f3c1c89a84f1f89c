"""Where a run writes: a folder that holds its model from the first validation on, and that no other run overwrites."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from recurra.data.tokens import remove_tokens, tokens_spared
from recurra.errors import UsageError
from recurra.files import disk_errors, write_file
from recurra.models import Task, check_replaceable, save_model, save_weights
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
        if not str(folder).isprintable():
            raise UsageError(f"{str(folder)!r} is no good name for a folder", expected="letters that can be shown")
        if fresh:
            check_replaceable(folder)
        elif os.path.lexists(folder):
            self._look(folder)

    def _look(self, folder: Path) -> None:
        found = load_position(folder) if os.path.isdir(folder) else None
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
            return
        check_replaceable(folder)
        # tokens of a run that was ended from outside before it had anything else are no model
        if any(entry.name != "training" for entry in folder.iterdir()):
            raise UsageError(f"{folder} already holds a model", fix="Choose another --out, or replace it with --fresh")

    @property
    def store(self) -> Path:
        """The folder for tokens that do not fit into memory."""
        return self.folder / "training"

    def save_best(self, model: Task) -> None:
        """Keep the model's weights as they are now."""
        if self._created:
            save_weights(model, self.folder)
        else:
            with tokens_spared(self.store):
                save_model(model, self.folder)
            self._created = True

    def log(self, event: dict[str, Any]) -> None:
        """Append a line to metrics.jsonl, once there is a folder."""
        if self._created:
            with (
                disk_errors(self.folder / METRICS, "write"),
                open(self.folder / METRICS, "a", encoding="utf-8") as file,
            ):
                file.write(json.dumps(event, ensure_ascii=False) + "\n")

    def pause(self, model: Task, position: Position) -> bool:
        """Keep all that is needed to go on; before the first validation the model goes there as it is.

        False where nothing was kept, since an older model stands there and the new one is not known to be any good.
        """
        if not self._created:
            if os.path.lexists(self.folder / "config.json"):
                remove_tokens(self.store)
                return False
            self.save_best(model)
        with tokens_spared(self.store):
            save_position(self.folder, position, self._arguments)
        return True

    def finish(self, record: dict[str, Any]) -> None:
        """Write the record; from here on the folder is a finished model."""
        write_file(self.folder / RECORD, json.dumps(record, ensure_ascii=False, indent=1) + "\n")
        shutil.rmtree(self.folder / "training", ignore_errors=True)


def free_name(stem: str) -> Path:
    """`STEM-model`, or `STEM-model-2`, ... where that is taken, but for an unfinished run that can go on."""
    number = 1
    while True:
        folder = Path(f"{stem}-model" if number == 1 else f"{stem}-model-{number}")
        if not os.path.lexists(folder) or ((folder / "training").is_dir() and not (folder / RECORD).exists()):
            return folder
        number += 1


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    changed = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    return ", ".join(f"{key} was {before.get(key)!r} and is {now.get(key)!r}" for key in changed)
