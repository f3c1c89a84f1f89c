"""State: the value that a recurrent network hands from one step to the next.

A state is a frozen dataclass with named fields, each a tensor with the batch as axis 0, a nested state, or a tuple of
states (one for each block of a stack). It is never written in place: keeping a state is taking a snapshot. Nothing here
knows which network a state belongs to; what is written to disk carries the name of its model as a content hash.

A class may name fields in `ragged`: their axis 1 is as long as what was read into them (an encoded source), and differs
from state to state. Where states are merged, the shorter ones are padded with zeros.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, dataclass_transform

import torch
from torch import Tensor

from recurra.errors import StateError
from recurra.files import disk_errors, open_for_reading, write_file

State = Any
"""A dataclass made by `state_class`, or a tuple of states. Leaves are tensors whose axis 0 is the batch."""

T = TypeVar("T")

FORMAT = "recurra-state"
VERSION = "1"


@dataclass_transform(frozen_default=True)
def state_class(cls: type[T]) -> type[T]:
    """Make `cls` a state: a frozen dataclass that `torch.export`, `torch.compile` and the functions below understand."""
    frozen = dataclasses.dataclass(frozen=True, eq=False)(cls)
    torch.export.register_dataclass(frozen, serialized_type_name=f"recurra.{cls.__name__}")
    # an exported program keeps the example inputs it was traced with, and torch loads those by a list of known types
    torch.serialization.add_safe_globals([frozen])
    return frozen


def map_state(function: Callable[..., Tensor], state: State, *others: State) -> Any:
    """Apply `function` to each leaf of `state` (and the same leaf of `others`); returns a state of the same structure."""
    if isinstance(state, Tensor):
        return function(state, *others)
    if isinstance(state, tuple):
        return tuple(map_state(function, *parts) for parts in zip(state, *others, strict=True))
    # the names of a dataclass in their order, which dataclasses.fields would gather anew at every call
    names = type(state).__match_args__
    if not others:
        return type(state)(*[map_state(function, getattr(state, name)) for name in names])
    parts = (state, *others)
    return type(state)(*[map_state(function, *[getattr(part, name) for part in parts]) for name in names])


def leaves(state: State, prefix: str = "") -> dict[str, Tensor]:
    """The tensors of a state by name, in order: `{"0.h": ..., "0.c": ..., "1.h": ...}`."""
    if isinstance(state, Tensor):
        return {prefix.rstrip("."): state}
    if isinstance(state, tuple):
        named = [(str(index), part) for index, part in enumerate(state)]
    else:
        named = [(field.name, getattr(state, field.name)) for field in dataclasses.fields(state)]
    found: dict[str, Tensor] = {}
    for name, part in named:
        found |= leaves(part, f"{prefix}{name}.")
    return found


def select(state: State, rows: Tensor | slice | Sequence[int]) -> Any:
    """The given rows of the batch. Rows may repeat: that forks them."""
    index = list(rows) if isinstance(rows, Sequence) else rows
    return map_state(lambda leaf: leaf[index], state)


def merge(states: Sequence[State]) -> Any:
    """Several states of one network as one batch, in the given order."""
    if not states:
        raise StateError("No states to merge", expected="at least one state")
    free, names = ragged(states[0]), iter(leaves(states[0]))
    return map_state(lambda *parts: _joined(parts, next(names) in free), *states)


def _joined(parts: tuple[Tensor, ...], free: bool) -> Tensor:
    if free:
        longest = max(part.shape[1] for part in parts)
        parts = tuple(
            torch.cat([part, part.new_zeros(len(part), longest - part.shape[1], *part.shape[2:])], dim=1)
            for part in parts
        )
    return torch.cat(parts)


def ragged(state: State, prefix: str = "") -> set[str]:
    """The names of the leaves whose axis 1 may have any length."""
    if isinstance(state, Tensor):
        return set()
    if isinstance(state, tuple):
        return set().union(*(ragged(part, f"{prefix}{index}.") for index, part in enumerate(state)))
    found = {f"{prefix}{name}" for name in getattr(type(state), "ragged", ())}
    for field in dataclasses.fields(state):
        found |= ragged(getattr(state, field.name), f"{prefix}{field.name}.")
    return found


def detach(state: State) -> Any:
    """The same values without their history: gradients stop here (truncated backpropagation through time)."""
    return map_state(Tensor.detach, state)


def batch_size(state: State) -> int | None:
    """The number of rows, or None for a state without leaves."""
    sizes = {leaf.shape[0] for leaf in leaves(state).values()}
    if len(sizes) > 1:
        raise StateError("The leaves of a state disagree about the batch", got=sorted(sizes), expected="one size")
    return sizes.pop() if sizes else None


def check_like(state: State, template: State) -> None:
    """Refuse a `state` whose structure, shapes (the batch included, ragged axes not) or dtypes differ from `template`'s."""
    if structure(state) != structure(template):
        raise StateError(
            "This state was made by another kind of network",
            got=structure(state),
            expected=structure(template),
            fix="Hand in what this network returned, or start from initial_state(batch)",
        )
    free = ragged(template)
    for (name, leaf), wanted in zip(leaves(state).items(), leaves(template).values(), strict=True):
        if _fixed(leaf, name in free, 0) != _fixed(wanted, name in free, 0) or leaf.dtype != wanted.dtype:
            raise StateError(
                f"State '{name}' does not fit",
                got=f"{tuple(leaf.shape)} {leaf.dtype}",
                expected=f"{tuple(wanted.shape)} {wanted.dtype} (the batch is axis 0)",
                fix="Hand in a state of this batch; select() and merge() change the rows of one",
            )


def _fixed(leaf: Tensor, free: bool, first: int) -> tuple[int, ...]:
    """The shape from axis `first` on, without axis 1 where that is free."""
    return tuple(size for axis, size in enumerate(leaf.shape) if axis >= first and not (free and axis == 1))


def structure(state: State) -> str:
    """The nesting and the names of a state as text, without shapes: `(GRUState(h), GRUState(h))`."""
    if isinstance(state, Tensor):
        return "tensor"
    if isinstance(state, tuple):
        return f"({', '.join(structure(part) for part in state)})"
    if not dataclasses.is_dataclass(state):
        raise StateError("This is no state", got=type(state).__name__, expected="what a network returned as its state")
    parts = []
    for field in dataclasses.fields(state):
        inner = structure(getattr(state, field.name))
        parts.append(field.name if inner == "tensor" else f"{field.name}={inner}")
    return f"{type(state).__name__}({', '.join(parts)})"


def state_bytes(state: State, model: str, extra: dict[str, str] | None = None) -> bytes:
    """A state as safetensors, bound to the model by its content hash `model`: what `save_state` writes."""
    from safetensors.torch import save

    tensors = {name: leaf.detach().cpu().contiguous() for name, leaf in leaves(state).items()}
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "model": model,
        "structure": structure(state),
        "digest": _digest(tensors, extra or {}),
        **{f"extra.{key}": value for key, value in (extra or {}).items()},
    }
    return save(tensors, metadata)


def save_state(path: str | Path, state: State, model: str, extra: dict[str, str] | None = None) -> None:
    """Write a state as safetensors, bound to the model by its content hash `model`. The file appears whole or not at all."""
    write_file(Path(path), state_bytes(state, model, extra))


def load_state(path: str | Path, template: State, model: str) -> tuple[Any, dict[str, str]]:
    """Read a state written by `save_state`.

    `template` is the model's `initial_state(1)`; the batch of the file may differ from it. Raises `StateError` for a file
    that is damaged, of a newer format, or of another model (`model` is the content hash expected).
    """

    path = Path(path)
    wanted = leaves(template)
    metadata, tensors = _read(path, model, wanted, ragged(template))
    if metadata.get("structure") != structure(template):
        raise StateError(f"{path} holds other parts", got=metadata.get("structure"), expected=structure(template))
    extra = {key.removeprefix("extra."): value for key, value in metadata.items() if key.startswith("extra.")}
    if metadata.get("digest") != _digest(tensors, extra):
        raise StateError(f"{path} was altered after it was written", fix="Use another copy")
    if not all(torch.isfinite(leaf).all() for leaf in tensors.values()):
        raise StateError(f"{path} holds NaN or infinity", fix="Use another copy, or start a new state")
    remaining = iter(wanted)
    state = map_state(lambda leaf: tensors[next(remaining)].to(leaf), template)
    batch_size(state)
    return state, extra


def _read(
    path: Path, model: str, wanted: dict[str, Tensor], free: set[str]
) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a state file of this model, with the names, shapes and kinds of numbers of `wanted`."""
    from safetensors import SafetensorError, safe_open

    with open_for_reading(path, "state"):
        pass
    try:
        with disk_errors(path, "read"), safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            _check_metadata(path, metadata, model)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise StateError(
            f"{path} is no readable state file", got=str(error), fix="It was cut or altered; use another copy"
        ) from error
    if set(tensors) != set(wanted):
        raise StateError(f"{path} holds other parts", got=", ".join(tensors) or "none", expected=", ".join(wanted))
    for name, leaf in tensors.items():
        ours = wanted[name]
        same = leaf.dim() == ours.dim() > 0 and _fixed(leaf, name in free, 1) == _fixed(ours, name in free, 1)
        # sums are kept in the widest type that a device has, so a state may come from one with another
        alike = leaf.dtype == ours.dtype or (leaf.is_floating_point() and ours.is_floating_point())
        if not same or not alike:
            expected = ("batch", *wanted[name].shape[1:])
            raise StateError(f"State '{name}' in {path} does not fit", got=tuple(leaf.shape), expected=expected)
    return metadata, tensors


def _check_metadata(path: Path, metadata: dict[str, str], model: str) -> None:
    if metadata.get("format") != FORMAT:
        raise StateError(f"{path} is not a state", got="a safetensors file of another kind", expected=FORMAT)
    if metadata.get("version") != VERSION:
        raise StateError(
            f"{path} was written by a newer Recurra",
            got=f"state format {metadata.get('version')}",
            expected=f"format {VERSION}",
            fix="Upgrade with: pip install --upgrade recurra",
        )
    if metadata.get("model") != model:
        raise StateError(
            f"{path} belongs to another model",
            got=f"model {str(metadata.get('model'))[:12]}",
            expected=f"model {model[:12]}",
            fix="A state only means something to the weights that made it: load that model, or start a new state",
        )


def _digest(tensors: dict[str, Tensor], extra: dict[str, str]) -> str:
    """A hash of names, shapes, dtypes, bytes and what is kept beside them, independent of the file's layout."""
    digest = hashlib.sha256()
    for name in sorted(extra):
        digest.update(f"{name}={extra[name]}\n".encode("utf-8", "surrogatepass"))
    for name in sorted(tensors):
        leaf = tensors[name].contiguous()
        digest.update(f"{name} {leaf.dtype} {tuple(leaf.shape)}".encode())
        digest.update(leaf.view(torch.uint8).numpy().tobytes() if leaf.numel() else b"")
    return digest.hexdigest()
