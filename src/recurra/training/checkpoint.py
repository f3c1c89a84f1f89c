"""Checkpoints: all that a run needs to go on bit for bit, each a folder that is whole or does not count.

    training/checkpoint-7/{tensors.safetensors, numbers.json, manifest.json}

A checkpoint is written aside, synced and renamed; then it is read again, and only when it is found right do older ones go.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recurra.errors import ModelError
from recurra.files import disk_errors, new_folder, open_for_reading
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
    """

    step: int = 0
    epoch: int = 0
    index: int = 0
    units: int = 0
    seconds: float = 0.0
    pace: Pace = field(default_factory=Pace)
    best: dict[str, float] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    recent: list[float] = field(default_factory=lambda: [0.0, 0])
    first: list[float] = field(default_factory=lambda: [0.0, 0])
    smooth: float = 0.0
    clipped: int = 0
    random: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """A checkpoint that was read: where the run stood, what it was started with, and what is to be said about it."""

    position: Position
    arguments: dict[str, Any]
    note: str | None = None


def save_checkpoint(folder: Path, position: Position, arguments: dict[str, Any]) -> None:
    """Write a checkpoint into `folder`/training and remove the ones before it once it is known to be whole.

    `arguments` are what the run was started with. Raises `EnvironmentFailure` where the disk refuses; older checkpoints
    then stay as they are.
    """
    from safetensors.torch import save

    every = folder / FOLDER
    before = _numbered(every)
    number = before[-1] + 1 if before else 1
    about = {key: value for key, value in asdict(position_without_tensors(position)).items() if key != "tensors"}
    contents = {
        TENSORS: save({name: value.contiguous() for name, value in position.tensors.items()}),
        NUMBERS: json.dumps({"format": FORMAT, "arguments": arguments, **about}).encode(),
    }
    manifest = {name: {"bytes": len(data), "sha256": _hash(data)} for name, data in contents.items()}
    contents[MANIFEST] = json.dumps(manifest, indent=1).encode()
    path = every / f"{PREFIX}{number}"
    with new_folder(path) as temporary, disk_errors(path, "write"):
        for name, data in contents.items():
            (temporary / name).write_bytes(data)
    _contents(path)
    for old in before:
        shutil.rmtree(every / f"{PREFIX}{old}", ignore_errors=True)
    _sweep(every)


def load_checkpoint(folder: Path) -> Found | None:
    """The newest whole checkpoint in `folder`/training, or None where there is none.

    Raises `ModelError` where all there are were damaged, or written by another version.
    """
    every = folder / FOLDER
    problems: list[str] = []
    for number in reversed(_numbered(every)):
        path = every / f"{PREFIX}{number}"
        try:
            position, arguments = _read(path)
        except ModelError as error:
            problems.append(str(error))
            continue
        note = None
        if problems:
            note = f"the last checkpoint is damaged; the one before it is whole, at step {position.step}"
        return Found(position, arguments, note)
    if problems:
        raise ModelError(f"The checkpoints in {every} are damaged", got=problems[0], fix="Start over with --fresh")
    return None


def remove_checkpoints(folder: Path) -> None:
    """Remove `folder`/training with all that is in it."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)


def position_without_tensors(position: Position) -> Position:
    """The numbers alone, to be copied."""
    return Position(**{**vars(position), "tensors": {}})


def _read(path: Path) -> tuple[Position, dict[str, Any]]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        contents = _contents(path)
        about, tensors = json.loads(contents[NUMBERS]), load(contents[TENSORS])
        if about.pop("format") != FORMAT:
            raise ModelError(f"{path} was written by another version", fix="Start over with --fresh")
        arguments, pace = about.pop("arguments"), Pace(**about.pop("pace"))
        return Position(**about, pace=pace, tensors=tensors), arguments
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OSError, SafetensorError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"The checkpoint {path} is damaged", got=str(error)) from error


def _contents(path: Path) -> dict[str, bytes]:
    """The files of a checkpoint, compared with its manifest. Raises `ModelError` where they differ."""
    with open_for_reading(path / MANIFEST, "model") as file:
        manifest = json.loads(file.read())
    contents: dict[str, bytes] = {}
    for name in (TENSORS, NUMBERS):
        with open_for_reading(path / name, "model") as file:
            data = file.read()
        if {"bytes": len(data), "sha256": _hash(data)} != manifest[name]:
            raise ModelError(f"{path / name} is not what was written", got=f"{len(data)} bytes of another content")
        contents[name] = data
    return contents


def _numbered(every: Path) -> list[int]:
    if not every.is_dir():
        return []
    ends = [entry.name.removeprefix(PREFIX) for entry in every.iterdir() if entry.name.startswith(PREFIX)]
    return sorted(int(end) for end in ends if end.isdecimal() and end.isascii())


def _sweep(every: Path) -> None:
    """Remove what a process that was killed while it wrote has left."""
    for entry in every.iterdir():
        if entry.name.startswith(f".{PREFIX}"):
            shutil.rmtree(entry, ignore_errors=True)


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# ---- between processes


def packed(found: Found | None) -> bytes:
    """A checkpoint as bytes, for processes that cannot read it themselves; empty for none."""
    from safetensors.torch import save

    if found is None:
        return b""
    about = {key: value for key, value in asdict(position_without_tensors(found.position)).items() if key != "tensors"}
    return save(found.position.tensors, {"position": json.dumps(about), "arguments": json.dumps(found.arguments)})


def unpacked(data: bytes) -> Found | None:
    """What `packed` packed."""
    from safetensors.torch import load

    if not data:
        return None
    length = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + length])["__metadata__"]
    about = json.loads(metadata["position"])
    pace = Pace(**about.pop("pace"))
    return Found(Position(**about, pace=pace, tensors=load(data)), json.loads(metadata["arguments"]))


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
