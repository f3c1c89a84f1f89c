"""Where a run stands: all that is needed to go on, as one safetensors file and one JSON file in a folder."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recurra.errors import ModelError
from recurra.files import new_folder, open_for_reading, write_file

FOLDER, NUMBERS, TENSORS = "training", "position.json", "position.safetensors"
FORMAT = 1


@dataclass
class Position:
    """Numbers of a run so far. `tensors` hold weights, optimiser, carried state and the random generator's state."""

    step: int = 0
    epoch: int = 0
    index: int = 0
    seconds: float = 0.0
    units: int = 0
    best: dict[str, float] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)


def save_position(folder: Path, position: Position, arguments: dict[str, Any]) -> None:
    """Write `folder`/training in one rename. `arguments` are what the run was started with."""
    from safetensors.torch import save

    about = {key: value for key, value in asdict(position).items() if key != "tensors"}
    with new_folder(folder / FOLDER) as temporary:
        tensors = save({name: value.contiguous() for name, value in position.tensors.items()})
        numbers = json.dumps({"format": FORMAT, "arguments": arguments, **about}, sort_keys=True)
        digest = _digest(numbers, tensors)
        write_file(temporary / TENSORS, tensors)
        write_file(temporary / NUMBERS, json.dumps({"digest": digest, "numbers": numbers}))


def load_position(folder: Path) -> tuple[Position, dict[str, Any]] | None:
    """(position, the arguments of that run), or None where there is none. Raises `ModelError` for a damaged one."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = folder / FOLDER / NUMBERS
    if not path.is_file():
        return None
    try:
        with open_for_reading(path, "model") as file:
            whole = json.loads(file.read())
        with open_for_reading(path.with_name(TENSORS), "model") as file:
            data = file.read()
        if whole["digest"] != _digest(whole["numbers"], data):
            raise ValueError("a file that was cut or altered")
        about, tensors = json.loads(whole["numbers"]), load(data)
        if about.pop("format") != FORMAT:
            raise ModelError(f"{path} was written by another version", fix="Start over with --fresh")
        arguments = about.pop("arguments")
        return Position(**about, tensors=tensors), arguments
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, SafetensorError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(
            f"The training state in {folder / FOLDER} is damaged", got=str(error), fix="Start over with --fresh"
        ) from error


def _digest(numbers: str, tensors: bytes) -> str:
    return hashlib.sha256(numbers.encode() + tensors).hexdigest()


def optimiser_tensors(optimiser: torch.optim.Optimizer, names: list[str]) -> dict[str, Tensor]:
    """What an optimiser remembers of each parameter, by "optimiser.PARAMETER.WHAT"."""
    state = optimiser.state_dict()["state"]
    return {
        f"optimiser.{names[place]}.{what}": torch.as_tensor(value)
        for place, remembered in state.items()
        for what, value in remembered.items()
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, names: list[str], tensors: dict[str, Tensor]) -> None:
    """Put back what `optimiser_tensors` took."""
    whole = optimiser.state_dict()
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimiser."):
            name, what = key.removeprefix("optimiser.").rsplit(".", 1)
            state.setdefault(names.index(name), {})[what] = value
    whole["state"] = state
    optimiser.load_state_dict(whole)
