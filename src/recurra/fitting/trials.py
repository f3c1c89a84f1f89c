"""The folder of a search: one JSON file with what was tried, and a model folder each for the default and the best trial."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from recurra.config import Config
from recurra.errors import ModelError, UsageError
from recurra.files import disk_errors, open_for_reading, remove_folder, write_file
from recurra.fitting.kinds.space import Span
from recurra.fitting.options import FitOptions
from recurra.models import Task, save_model

STUDY = "tuning.json"
FORMAT = 1
_FIX = "Start over with --fresh, or choose another --out"


class Trial(Config):
    """One training: what was chosen, the best validation metric, and the metric at each validation on the way.

    `state`: "complete", "pruned" (it was behind the others at the same time), or "failed" for the reason in `trouble`.
    """

    number: int = Field(ge=0)
    chosen: dict[str, str | int | float | bool | None]
    state: Literal["complete", "pruned", "failed"]
    value: float | None
    history: list[float]
    seconds: float = Field(ge=0)
    trouble: str | None = None


class Study:
    """What was tried so far, in the folder of a search. `arguments` decide what a trial is: it goes on under the same ones.

    Raises `UsageError` where the folder holds something else or a search with other arguments, `ModelError` where its file
    is damaged.
    """

    def __init__(self, folder: Path, arguments: dict[str, Any], space: Sequence[Span], fresh: bool) -> None:
        self.folder = folder
        self.trials: list[Trial] = []
        # as they come back from the file
        self._arguments: dict[str, Any] = json.loads(json.dumps(arguments))
        if os.path.lexists(folder):
            self._look(space, fresh)
        self._write()

    def _look(self, space: Sequence[Span], fresh: bool) -> None:
        if not self.folder.is_dir():
            raise UsageError(f"{self.folder} is a file", expected="a folder, or a name that is free")
        path = self.folder / STUDY
        if not path.is_file():
            if any(self.folder.iterdir()):
                raise UsageError(f"{self.folder} is not empty, and holds no search", fix="Choose another --out")
            return
        if fresh:
            for entry in self._models():
                remove_folder(entry)
            return
        found = _read(path)
        if found["arguments"] != self._arguments:
            before, now = found["arguments"], self._arguments
            changed = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
            told = ", ".join(
                f"{key} was {str(before.get(key))[:40]} and is {str(now.get(key))[:40]}" for key in changed
            )
            raise UsageError(
                f"{self.folder} holds a search with other arguments", got=told,
                fix="Give the same arguments to go on, --fresh to start over, or another --out",
            )  # fmt: skip
        self.trials = [_trial(raw, place, path, space) for place, raw in enumerate(found["trials"])]

    def add(self, trial: Trial) -> None:
        """Keep a trial: it is in the file when this returns."""
        self.trials.append(trial)
        self._write()

    def model(self, number: int) -> Path:
        """The model folder of a trial."""
        return self.folder / f"trial-{number}"

    def save(self, number: int, task: Task, record: dict[str, Any]) -> None:
        """Write the model of a trial."""
        save_model(task, self.model(number), {"record.json": json.dumps(record, ensure_ascii=False, indent=1) + "\n"})

    def keep_only(self, numbers: Sequence[int]) -> None:
        """Remove the models of all other trials."""
        kept = {self.model(number) for number in numbers}
        for entry in self._models():
            if entry not in kept:
                remove_folder(entry)

    def clear(self) -> None:
        """Remove what the tokens of texts that are not held have left."""
        shutil.rmtree(self.store, ignore_errors=True)

    @property
    def store(self) -> Path:
        """The folder for tokens that do not fit into memory."""
        return self.folder / "training"

    @property
    def seconds(self) -> float:
        """How long all trials took together."""
        return sum(trial.seconds for trial in self.trials)

    def _models(self) -> list[Path]:
        return [entry for entry in self.folder.iterdir() if re.fullmatch(r"trial-\d+", entry.name) and entry.is_dir()]

    def _write(self) -> None:
        content = {
            "recurra": "tuning",
            "format": FORMAT,
            "arguments": self._arguments,
            "trials": [trial.model_dump(mode="json") for trial in self.trials],
        }
        with disk_errors(self.folder, "write"):
            self.folder.mkdir(parents=True, exist_ok=True)
        write_file(self.folder / STUDY, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def _read(path: Path) -> dict[str, Any]:
    with open_for_reading(path, "model") as file:
        content = file.read()
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is damaged", got=str(error)[:80], fix=_FIX) from error
    shape = isinstance(found, dict) and found.get("recurra") == "tuning"
    if not shape or not isinstance(found.get("arguments"), dict) or not isinstance(found.get("trials"), list):
        raise ModelError(f"{path} is no search of Recurra's", fix=_FIX)
    if found.get("format") != FORMAT:
        raise ModelError(f"{path} has another format", got=str(found.get("format"))[:40], expected=FORMAT, fix=_FIX)
    return found


def _trial(raw: Any, place: int, path: Path, space: Sequence[Span]) -> Trial:
    """A trial from the file, believed only where this search could have made it."""
    where = f"{path}, trial {place}"
    try:
        trial = Trial.from_file(raw, where)
    except ModelError as error:
        raise ModelError(str(error), fix=_FIX) from error
    spans = {span.name: span for span in space}
    odd = [name for name, value in trial.chosen.items() if name not in spans or not spans[name].holds(value)]
    whole = not trial.chosen if place == 0 else set(trial.chosen) == set(spans)
    if odd or not whole or trial.number != place or (trial.state == "complete" and trial.value is None):
        told = ", ".join(f"{name} {trial.chosen[name]!r}"[:60] for name in odd[:3]) or "parts that do not fit"
        raise ModelError(f"{where} is none of this search", got=told, fix=_FIX)
    FitOptions.from_file(trial.chosen, where)
    return trial
