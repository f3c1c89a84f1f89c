"""Checkpoints: all that a run needs to go on bit for bit, each a folder that is whole or does not count.

    training/checkpoint-7/{tensors.safetensors, numbers.json, manifest.json}

A checkpoint is written aside, synced and renamed; then it is read again, and only when it is found right do older ones go.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import ConfigDict, TypeAdapter
from torch import Tensor

from recurra.errors import EnvironmentFailure, ModelError, RecurraError
from recurra.files import disk_errors, new_folder, open_for_reading, remove_folder
from recurra.training.pace import Pace

FOLDER, PREFIX = "training", "checkpoint-"
TENSORS, NUMBERS, MANIFEST = "tensors.safetensors", "numbers.json", "manifest.json"
FORMAT = 2


@dataclass
class Position:
    """Where a run stands. `tensors`: weights, averaged weights, what optimisers remember, carried states, random generators.

    - step: updates made. (epoch, index): the next batch. units: rows or tokens seen. seconds: time spent.
    - best: metrics of the best validation, history: all of them.
    - recent: sum and number of the losses since the last validation; first: the same of the first steps; smooth: a running
      mean of the loss. clipped: steps whose gradient was cut short.
    - choice: trials by which the recipe was chosen before the first step; their seconds count among `seconds`.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    step: int = 0
    epoch: int = 0
    index: int = 0
    units: int = 0
    seconds: float = 0.0
    pace: Pace = field(default_factory=Pace)
    best: dict[str, float] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    recent: list[float] = field(default_factory=lambda: [0.0, 0])
    first: float = 0.0
    smooth: float = 0.0
    clipped: int = 0
    choice: list[dict[str, Any]] = field(default_factory=list)
    random: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """A checkpoint that was read: where the run stood, what it was started with, and what is to be said about it.

    `start` is the name of the start that wrote it, where starts have names (`workers.this_start`).
    """

    position: Position
    arguments: dict[str, Any]
    start: str | None = None
    note: str | None = None


def save_checkpoint(folder: Path, position: Position, arguments: dict[str, Any], start: str | None = None) -> None:
    """Write a checkpoint into `folder`/training, read it back, and keep the one before it beside it.

    `arguments` are what the run was started with, `start` the name of this start. Raises `EnvironmentFailure` where the
    disk refuses; older checkpoints then stay as they are.
    """
    from safetensors.torch import save

    every = folder / FOLDER
    _sweep(every)
    before = _numbered(every)
    number = before[-1] + 1 if before else 1
    about = {"format": FORMAT, "arguments": arguments, "start": start, "position": _numbers(position)}
    contents = {
        TENSORS: save({name: value.cpu().contiguous() for name, value in position.tensors.items()}),
        NUMBERS: json.dumps(about).encode(),
    }
    path = every / f"{PREFIX}{number}"
    with new_folder(path) as temporary, disk_errors(path, "write"), ThreadPoolExecutor(1) as beside:
        hashes = {name: beside.submit(_hash, data) for name, data in contents.items()}
        for name, data in contents.items():
            (temporary / name).write_bytes(data)
        manifest = {name: {"bytes": len(data), "sha256": hashes[name].result()} for name, data in contents.items()}
        contents[MANIFEST] = json.dumps(manifest, indent=1).encode()
        (temporary / MANIFEST).write_bytes(contents[MANIFEST])
    for name, data in contents.items():
        _compare(path / name, data)
    for old in before[:-1]:
        shutil.rmtree(every / f"{PREFIX}{old}", ignore_errors=True)


def load_checkpoint(folder: Path) -> Found | None:
    """The newest whole checkpoint in `folder`/training, or None where there is none.

    Raises `ModelError` where all there are were damaged, or written by another version.
    """
    every = folder / FOLDER
    problems: list[str] = []
    for number in reversed(_numbered(every)):
        path = every / f"{PREFIX}{number}"
        try:
            found = _found(*_contents(path).values())
        except ModelError as error:
            problems.append(str(error))
            continue
        if problems:
            note = f"the last checkpoint is damaged; the one before it is whole, at step {found.position.step}"
            return replace(found, note=note)
        return found
    if problems:
        raise ModelError(
            f"No checkpoint in {every} can be used", got=problems[0].rstrip("."), fix="Start over with --fresh"
        )
    return None


def remove_checkpoints(folder: Path) -> None:
    """Remove `folder`/training with all that is in it, at once for whoever looks."""
    remove_folder(folder / FOLDER)


def _numbers(position: Position) -> dict[str, Any]:
    """All of a position but its tensors, as plain values."""
    return asdict(replace(position, tensors={})) | {"tensors": {}}


def _found(tensors: bytes, numbers: bytes) -> Found:
    """What the two files of a checkpoint say. Raises `ModelError` where they make no sense."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        about = json.loads(numbers)
        if about["format"] != FORMAT:
            raise ModelError("It was written by another version", got=f"format {about['format']}", expected=FORMAT)
        position = TypeAdapter(Position).validate_python(about["position"])
        if not all({"step", "best", "valid"} <= set(entry) for entry in position.history):
            raise ValueError("an entry of the history is no validation")
        # in memory of torch's own, whose place decides how products are added up
        position.tensors = {name: value.clone() for name, value in load(tensors).items()}
        return Found(position, dict(about["arguments"]), about["start"])
    except RecurraError:
        raise
    except (ValueError, TypeError, KeyError, RecursionError, SafetensorError) as error:
        raise ModelError("It is damaged", got=f"{type(error).__name__}, {str(error)[:200]!r}") from error


def _contents(path: Path) -> dict[str, bytes]:
    """The files of a checkpoint, compared with its manifest. Raises `ModelError` where they differ."""
    contents: dict[str, bytes] = {}
    for name in (MANIFEST, TENSORS, NUMBERS):
        with open_for_reading(path / name, "model") as file:
            contents[name] = file.read()
    try:
        manifest = json.loads(contents.pop(MANIFEST))
        told = {name: manifest[name] for name in contents}
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ModelError(f"{path / MANIFEST} is damaged", got=str(error)) from error
    for name, data in contents.items():
        if {"bytes": len(data), "sha256": _hash(data)} != told[name]:
            raise ModelError(f"{path / name} is not what was written", got=f"{len(data)} bytes of another content")
    return contents


def _compare(path: Path, data: bytes) -> None:
    """Raise `EnvironmentFailure` where a file is not what was written a moment ago."""
    place = 0
    with disk_errors(path, "read"), open(path, "rb", buffering=0) as file:
        while part := file.read(1 << 20):
            if part != data[place : place + len(part)]:
                break
            place += len(part)
    if place != len(data):
        raise EnvironmentFailure(f"The disk did not keep {path} as it was written", fix="See whether the disk is sound")


def _numbered(every: Path) -> list[int]:
    if not every.is_dir():
        return []
    names = [entry.name for entry in every.iterdir() if entry.name.startswith(PREFIX) and entry.is_dir()]
    ends = [name.removeprefix(PREFIX) for name in names]
    return sorted(int(end) for end in ends if end.isdecimal() and end.isascii() and end[0] != "0")


def _sweep(every: Path) -> None:
    """Remove what a process that was killed while it wrote has left."""
    for entry in every.glob(f".{PREFIX}*"):
        shutil.rmtree(entry, ignore_errors=True)


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# ---- between processes


def packed(found: Found | None) -> bytes:
    """A checkpoint as bytes, for processes that cannot read it themselves; empty for none."""
    from safetensors.torch import save

    if found is None:
        return b""
    about = {"format": FORMAT, "arguments": found.arguments, "start": found.start, "position": _numbers(found.position)}
    numbers = json.dumps(about).encode()
    return len(numbers).to_bytes(8) + numbers + save(found.position.tensors)


def unpacked(data: bytes) -> Found | None:
    """What `packed` packed; the note is for the one who found it."""
    if not data:
        return None
    end = 8 + int.from_bytes(data[:8])
    return _found(data[end:], data[8:end])


# ---- random generators


def random_now(device: torch.device) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Every random generator's state: (Python's and numpy's in numbers, torch's as tensors)."""
    version, words, gauss = random.getstate()
    numpy = np.random.get_state(legacy=True)
    assert isinstance(numpy, tuple)
    numbers = {"python": [version, list(words), gauss], "numpy": [numpy[0], numpy[1].tolist(), *numpy[2:]]}
    return numbers, torch_random(device)


def restore_random(numbers: dict[str, Any], tensors: dict[str, Tensor], device: torch.device) -> None:
    """Put back what `random_now` gave; a generator of another kind of device stays as it is."""
    version, words, gauss = numbers["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, *rest = numbers["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    restore_torch_random(tensors, device)


def torch_random(device: torch.device) -> dict[str, Tensor]:
    """The states of torch's generators, on the CPU and on the device."""
    tensors = {"random.cpu": torch.get_rng_state()}
    if device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        tensors["random.mps"] = torch.mps.get_rng_state()
    return tensors


def restore_torch_random(tensors: dict[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(tensors["random.cpu"])
    if device.type == "cuda" and "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"], device)
    elif device.type == "mps" and "random.mps" in tensors:
        torch.mps.set_rng_state(tensors["random.mps"])
