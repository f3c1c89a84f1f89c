"""Where a run writes: a folder that holds its checkpoints from the start and its model from the first validation on."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from recurra.data.tokens import remove_tokens, tokens_spared
from recurra.errors import EnvironmentFailure, ModelError, UsageError
from recurra.files import disk_errors, write_file
from recurra.inspection import write_report
from recurra.models import Task, check_replaceable, fill_folder, save_model, save_weights, sweep
from recurra.training import Found, Position, load_checkpoint, remove_checkpoints, save_checkpoint, this_start

METRICS, RECORD, REPORT = "metrics.jsonl", "record.json", "report.html"


class Destination:
    """The folder of one run. `arguments` are what decides its outcome; a run goes on only under the same ones.

    An older model that is to be replaced stays as it is until the first validation of the new one: up to there nothing is
    written. Raises `UsageError` where the folder holds something else.
    """

    def __init__(self, folder: Path, arguments: dict[str, Any], fresh: bool) -> None:
        self.folder = folder
        self._arguments = arguments
        self._start, again = this_start()
        self._has_model = False
        self.has_checkpoint = False
        self.found: Found | None = None
        self._held_lines: list[str] = []
        if not str(folder).isprintable():
            raise UsageError(f"{str(folder)!r} is no good name for a folder", expected="letters that can be shown")
        # processes that died and were started again go on with what they have begun afresh
        if fresh and not (again and self._is_of_this_start(folder)):
            check_replaceable(folder)
            if folder.is_dir():
                sweep(folder)
        elif os.path.lexists(folder):
            self._look(folder)
        self.replaces = os.path.lexists(folder / "config.json") and self.found is None
        if not self.replaces and self.found is None and folder.is_dir():
            with tokens_spared(self.store):
                remove_checkpoints(folder)
            (folder / METRICS).unlink(missing_ok=True)

    def _is_of_this_start(self, folder: Path) -> bool:
        try:
            found = load_checkpoint(folder)
        except ModelError:
            return False
        return found is not None and found.start == self._start

    def _look(self, folder: Path) -> None:
        found = load_checkpoint(folder) if os.path.isdir(folder) else None
        if found is not None:
            if found.arguments != self._arguments:
                raise UsageError(
                    f"{folder} holds an unfinished run with other arguments",
                    got=_difference(found.arguments, self._arguments),
                    fix="Give the same arguments to go on, --fresh to start over, or another --out",
                )
            sweep(folder)
            self.found, self.has_checkpoint = found, True
            self._has_model = (folder / "config.json").exists()
            self._forget_after(found.position.step)
            return
        check_replaceable(folder)
        sweep(folder)
        # tokens of a run that was ended from outside before it had anything else are no model
        if any(entry.name != "training" for entry in folder.iterdir()):
            raise UsageError(f"{folder} already holds a model", fix="Choose another --out, or replace it with --fresh")

    @property
    def store(self) -> Path:
        """The folder for tokens that do not fit into memory."""
        return self.folder / "training"

    def save_best(self, model: Task) -> None:
        """Keep the model's weights as they are now."""
        if self._has_model:
            save_weights(model, self.folder)
        elif self.replaces:
            with tokens_spared(self.store):
                save_model(model, self.folder)
            self.replaces = False
        else:
            fill_folder(model, self.folder)
        self._has_model = True

    def log(self, event: dict[str, Any]) -> None:
        """Append a line to metrics.jsonl; while an older model stands there, keep it back."""
        self._held_lines.append(json.dumps(event, ensure_ascii=False) + "\n")
        if self.replaces:
            return
        path = self.folder / METRICS
        with disk_errors(path, "write"):
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(path, "a", encoding="utf-8") as file:
                file.writelines(self._held_lines)
        self._held_lines = []

    def show(self, record: dict[str, Any]) -> None:
        """Write the report as far as it is known, but for the time in which an older model stands there."""
        if not self.replaces:
            write_report(self.folder / REPORT, {**record, "under_way": True})

    def keep(self, position: Position) -> None:
        """Write a checkpoint, but for the time in which an older model stands there."""
        if self.replaces:
            return
        try:
            save_checkpoint(self.folder, position, self._arguments, self._start)
            self.has_checkpoint = True
        except EnvironmentFailure:
            _remove_empty(self.folder)
            raise

    def pause(self, model: Task) -> bool:
        """At a stop before the first validation the model goes there as it is.

        False where nothing was kept, since an older model stands there and the new one is not known to be any good.
        """
        if self.replaces:
            remove_tokens(self.store)
            return False
        if not self._has_model:
            self.save_best(model)
        return True

    def abandon(self, model: Task) -> None:
        """Nothing is worth going on from. Without a validated model, the last weights kept; where there are none, nothing."""
        if self._has_model or self.replaces:
            return
        found = load_checkpoint(self.folder) if self.has_checkpoint else None
        if found is not None and found.position.step:
            weights = {
                name.removeprefix("weights."): value
                for name, value in found.position.tensors.items()
                if name.startswith("weights.")
            }
            model.load_state_dict(weights)
            self.save_best(model)
        else:
            remove_checkpoints(self.folder)
            (self.folder / METRICS).unlink(missing_ok=True)
            _remove_empty(self.folder)

    def finish(self, record: dict[str, Any]) -> None:
        """Write the record; from here on the folder is a finished model."""
        write_file(self.folder / RECORD, json.dumps(record, ensure_ascii=False, indent=1) + "\n")
        remove_checkpoints(self.folder)

    def _forget_after(self, step: int) -> None:
        """Drop what metrics.jsonl says of steps after the checkpoint: they will be made again."""
        path = self.folder / METRICS
        if not path.is_file():
            return
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        kept = [line for line in lines if _step_of(line) <= step]
        if kept != lines:
            write_file(path, "".join(kept))


def free_name(stem: str, fresh: bool) -> Path:
    """`STEM-model`, or `STEM-model-2`, ... where that is taken, but for an unfinished run that can go on.

    Who starts over (`fresh`) takes the first, and replaces what is there.
    """
    if fresh:
        return Path(f"{stem}-model")
    number = 1
    while True:
        folder = Path(f"{stem}-model" if number == 1 else f"{stem}-model-{number}")
        if not os.path.lexists(folder) or ((folder / "training").is_dir() and not (folder / RECORD).exists()):
            return folder
        number += 1


def _remove_empty(folder: Path) -> None:
    """Where nothing could be written there should be nothing."""
    for path in (folder / "training", folder):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def _step_of(line: str) -> float:
    """The step that a line tells of; infinite for a line that was cut, be it by its last character."""
    if not line.endswith("\n"):
        return float("inf")
    try:
        return float(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return float("inf")


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    changed = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    return ", ".join(f"{key} was {before.get(key)!r} and is {now.get(key)!r}" for key in changed)
