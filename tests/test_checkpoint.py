"""Checkpoints: what they hold comes back bit for bit, and what is damaged, half written or hostile is never used."""

from __future__ import annotations

import copy
import errno
import hashlib
import json
import os
import random
import shutil
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bad_input_cases import DEEP, DIGITS
from networks import CODEC
from recurra.data.batches import StreamFeed
from recurra.errors import EnvironmentFailure, ModelError
from recurra.files import sole_writer
from recurra.training import (
    Found,
    Keeping,
    Position,
    Recipe,
    load_checkpoint,
    packed,
    remove_checkpoints,
    save_checkpoint,
    train,
    unpacked,
)  # fmt: skip
from test_training import TASKS, feed_for, language

TENSORS, NUMBERS, MANIFEST = "tensors.safetensors", "numbers.json", "manifest.json"
ARGUMENTS = {"hidden": 8, "rate": 0.1, "text": None, "data": "abc"}


def position(step: int = 10) -> Position:
    """A position with something in every field."""
    entry = {"step": 5, "best": True, "valid": {"loss": 0.1 + 0.2}, "loss": None}
    tensors = {
        "weights.a": torch.randn(31, 17),
        "optimiser.a.step": torch.tensor(3.0),
        "random.cpu": torch.get_rng_state(),
    }
    return Position(
        step, 1, 2, 300, 1.5, best={"loss": 0.1 + 0.2}, history=[entry], recent=[0.7, 3], first=1.1, smooth=2 / 3,
        clipped=4, random={"python": [3, list(range(625)), None]}, tensors=tensors,
    )  # fmt: skip


def same(one: Position, two: Position) -> bool:
    numbers = [{**vars(p), "tensors": None} for p in (one, two)]
    return (
        numbers[0] == numbers[1]
        and one.tensors.keys() == two.tensors.keys()
        and all(torch.equal(value, two.tensors[name]) for name, value in one.tensors.items())
        and all(value.dtype == two.tensors[name].dtype for name, value in one.tensors.items())
    )


def read(folder: Path) -> Found:
    found = load_checkpoint(folder)
    assert found is not None
    return found


# ---- what comes back


def test_a_position_comes_back_bit_for_bit(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path) is None
    save_checkpoint(tmp_path, position(), ARGUMENTS, "a start")
    found = read(tmp_path)
    torch.manual_seed(0)
    assert same(found.position, position())
    assert (found.arguments, found.start, found.note) == (ARGUMENTS, "a start", None)
    save_checkpoint(tmp_path, position(20), ARGUMENTS)
    assert read(tmp_path).position.step == 20
    save_checkpoint(tmp_path, position(30), ARGUMENTS)
    # the last but one stays beside the last, for the day on which that is damaged
    assert sorted(path.name for path in (tmp_path / "training").iterdir()) == ["checkpoint-2", "checkpoint-3"]
    remove_checkpoints(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_goes_from_process_to_process(tmp_path: Path) -> None:
    assert unpacked(packed(None)) is None
    save_checkpoint(tmp_path, position(), ARGUMENTS, "a start")
    found = read(tmp_path)
    told = unpacked(packed(found))
    assert told is not None and same(told.position, found.position)
    assert (told.arguments, told.start) == (ARGUMENTS, "a start")


RECIPE = Recipe(epochs=2, rows=3, steps=4, rate=1e-2, evaluations=3)


def followed(
    task: Any, feed: Any, recipe: Recipe, start: Position | None = None
) -> tuple[dict[int, Position], list[Any]]:
    """Train to the end: the position after each step, and numbers that others drew on the way."""
    every: dict[int, Position] = {}
    drawn: list[Any] = []

    def keep(at: Position) -> None:
        every[at.step] = copy.deepcopy(at)

    def draw(event: dict[str, Any], progress: float) -> None:
        drawn.append((event["step"], random.random(), np.random.random(), float(torch.rand(()))))

    train(task, feed, feed, recipe, start=start, on_step=draw, keeping=Keeping(keep, steps=1))
    return every, drawn


@pytest.mark.parametrize("average", [None, 0.9])
@pytest.mark.parametrize("optimiser", ["adamw", "sgd", "muon"])
@pytest.mark.parametrize("name", ["language", "classify"])
def test_a_run_goes_on_bit_for_bit(name: str, optimiser: str, average: float | None, tmp_path: Path) -> None:
    def build() -> Any:
        torch.manual_seed(5)
        if name == "language":
            return language(torch.float32, tied=False, dropout_outputs=0.4)
        return next(network for network in TASKS if network.name == "classify-series-gru").build()

    recipe = RECIPE.model_copy(update={"optimiser": optimiser, "average": average, "rate": 1e-3})
    torch.manual_seed(6)
    feed = feed_for(build())
    random.seed(1)
    np.random.seed(1)
    task = build()
    whole, drawn = followed(task, feed, recipe)
    kinds = {key.split(".")[0] for key in whole[3].tensors}
    assert kinds == {"weights", "optimiser", "random", "state"} | ({"average"} if average else set())
    for step in (0, 1, 3):
        save_checkpoint(tmp_path, whole[step], ARGUMENTS)
        # what the process that goes on has drawn before must not matter
        random.seed(99)
        np.random.seed(99)
        torch.manual_seed(99)
        other = build()
        again, drawn_again = followed(other, feed, recipe, read(tmp_path).position)
        assert drawn_again == drawn[step:]
        for value, wanted in zip(other.state_dict().values(), task.state_dict().values(), strict=True):
            assert torch.equal(value, wanted)
        assert again.keys() == {key for key in whole if key > step or key == step == 0}
        for key, at in again.items():
            assert without_time(at) == without_time(whole[key])
            assert at.tensors.keys() == whole[key].tensors.keys()
            assert all(torch.equal(value, whole[key].tensors[part]) for part, value in at.tensors.items())


def without_time(at: Position) -> dict[str, Any]:
    pace = {**vars(at.pace), "seconds": 0, "cost": 0}
    history = [{**entry, "seconds": 0} for entry in at.history]
    return {**vars(at), "seconds": 0, "pace": pace, "history": history, "tensors": None}


def test_what_optimisers_remember_has_names() -> None:
    every, _ = followed(language(torch.float32, tied=False), StreamFeed(torch.arange(200) % CODEC.size, 3, 4), RECIPE)
    names = {name for name in every[5].tensors if name.startswith("optimiser.head.")}
    assert names == {"optimiser.head.step", "optimiser.head.exp_avg", "optimiser.head.exp_avg_sq"}
    assert float(every[5].tensors["optimiser.head.step"]) == 5.0


# ---- damage


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A folder with two checkpoints, of the steps 10 and 20."""
    save_checkpoint(tmp_path, position(10), ARGUMENTS)
    save_checkpoint(tmp_path, position(20), ARGUMENTS)
    assert read(tmp_path).position.step == 20
    return tmp_path


def expect_the_one_before(folder: Path) -> None:
    found = read(folder)
    assert found.position.step == 10
    assert found.note == "the last checkpoint is damaged; the one before it is whole, at step 10"
    shutil.move(folder / "training" / "checkpoint-1", folder / "aside")
    with pytest.raises(ModelError, match=r"No checkpoint in .*training can be used\. Got: .*Start over with --fresh"):
        load_checkpoint(folder)
    shutil.move(folder / "aside", folder / "training" / "checkpoint-1")


@pytest.mark.parametrize("name", [TENSORS, NUMBERS, MANIFEST])
def test_cut_anywhere(two: Path, name: str) -> None:
    path = two / "training" / "checkpoint-2" / name
    data = path.read_bytes()
    for length in {*range(0, len(data), 1000), len(data) - 1}:
        path.write_bytes(data[:length])
        expect_the_one_before(two)
    for place in {*range(0, len(data), 1000), len(data) - 1}:
        path.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        if name != MANIFEST or not json_means_the_same(path.read_bytes(), data):
            expect_the_one_before(two)
    path.unlink()
    expect_the_one_before(two)
    path.mkdir()
    expect_the_one_before(two)
    path.rmdir()
    path.write_bytes(data)
    assert read(two).position.step == 20
    # no whole one goes before there is another
    path.write_bytes(b"")
    save_checkpoint(two, position(30), ARGUMENTS)
    assert not (two / "training" / "checkpoint-1").exists()
    assert read(two).position.step == 30


def json_means_the_same(one: bytes, two: bytes) -> bool:
    try:
        return json.loads(one) == json.loads(two)
    except ValueError:
        return False


def put(name: str, content: bytes, folder: Path) -> None:
    """Put a file into a checkpoint, and a manifest that agrees."""
    (folder / name).write_bytes(content)
    parts = {part: (folder / part).read_bytes() for part in (TENSORS, NUMBERS)}
    manifest = {part: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for part, data in parts.items()}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def changed(*keys: str, value: Any) -> Callable[[Path], None]:
    """Set an entry of numbers.json; `...` takes it out."""

    def make(folder: Path) -> None:
        numbers = json.loads((folder / NUMBERS).read_bytes())
        inner = numbers
        for key in keys[:-1]:
            inner = inner[key]
        if value is ...:
            del inner[keys[-1]]
        else:
            inner[keys[-1]] = value
        put(NUMBERS, json.dumps(numbers).encode(), folder)

    return make


def lying(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        change(manifest)
        (folder / MANIFEST).write_text(json.dumps(manifest))

    return make


def header(length: int, text: str = "{}") -> Callable[[Path], None]:
    return lambda folder: put(TENSORS, struct.pack("<Q", length) + text.encode(), folder)


def told(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


HUGE = '{"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}'
HOSTILE: dict[str, Callable[[Path], object]] = {
    "a manifest of another length": lying(lambda manifest: manifest[TENSORS].update(bytes=1)),
    "a manifest of another hash": lying(lambda manifest: manifest[NUMBERS].update(sha256="0" * 64)),
    "a manifest without a file": lying(lambda manifest: manifest.pop(NUMBERS)),
    "a manifest that is a list": told(MANIFEST, b"[]"),
    "a manifest without end": told(MANIFEST, DEEP.encode()),
    "a manifest of 6000 digits": told(MANIFEST, DIGITS.encode()),
    "a manifest in UTF-16": told(MANIFEST, b"\xff\xfe\x00\xd8"),
    "numbers without end": lambda folder: put(NUMBERS, DEEP.encode(), folder),
    "numbers that are a list": lambda folder: put(NUMBERS, b"[2]", folder),
    "numbers of 6000 digits": lambda folder: put(NUMBERS, DIGITS.encode(), folder),
    "numbers in UTF-16": lambda folder: put(NUMBERS, b"\xff\xfe\x00\xd8", folder),
    "another format": changed("format", value=3),
    "no format": changed("format", value=...),
    "no arguments": changed("arguments", value=...),
    "arguments that are a number": changed("arguments", value=5),
    "no position": changed("position", value=...),
    "a position that is a list": changed("position", value=[]),
    "one entry more": changed("position", "speed", value=1),
    "a step that is a word": changed("position", "step", value="many"),
    "a step without end": changed("position", "step", value=float("inf")),
    "a pace that is a word": changed("position", "pace", value="slow"),
    "a history of numbers": changed("position", "history", value=[5]),
    "a history without validations": changed("position", "history", value=[{"step": 1}]),
    "tensors that are named in the numbers": changed("position", "tensors", value={"a": [1.0]}),
    "a header of a huge length": header(1 << 62),
    "a header of the greatest length": header((1 << 64) - 1),
    "a header longer than the file": header(1000),
    "a header without end": header(len(DEEP), DEEP),
    "a tensor of a huge size": header(len(HUGE), HUGE),
    "no tensors file at all": lambda folder: put(TENSORS, b"", folder),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(two: Path, name: str) -> None:
    HOSTILE[name](two / "training" / "checkpoint-2")
    expect_the_one_before(two)


def test_another_format_is_named(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, position(), ARGUMENTS)
    changed("format", value=3)(tmp_path / "training" / "checkpoint-1")
    with pytest.raises(ModelError, match=r"another version\. Got: format 3\. Expected: 2\. Start over with --fresh"):
        load_checkpoint(tmp_path)


def test_half_a_checkpoint_makes_room_for_the_next(two: Path) -> None:
    (two / "training" / ".checkpoint-3.abcdefgh").mkdir()
    (two / "training" / ".checkpoint-3.abcdefgh" / TENSORS).write_text("half")
    save_checkpoint(two, position(30), ARGUMENTS)
    assert sorted(path.name for path in (two / "training").iterdir()) == ["checkpoint-2", "checkpoint-3"]


def test_names_that_are_no_checkpoints(two: Path) -> None:
    training = two / "training"
    for name in (
        "checkpoint-",
        "checkpoint-x",
        "checkpoint-٣",
        "checkpoint-007",
        "checkpoint--3",
        ".checkpoint-9.abcdefgh",
        "other",
    ):
        (training / name).mkdir()
    (training / "checkpoint-77").write_text("a file")
    assert read(two).position.step == 20 and read(two).note is None


# ---- a disk that refuses

WRITING = [(os, "fsync"), (os, "rename"), (os, "replace"), (os, "mkdir"), (os, "chmod"), (Path, "write_bytes")]


@pytest.fixture
def refuse_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], list[str]]:
    """Let the n-th writing call fail as the disk would; gives the calls that were made."""

    def at(number: int, reason: int) -> list[str]:
        made: list[str] = []

        def refusing(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
            def called(*arguments: Any, **named: Any) -> Any:
                made.append(name)
                if len(made) == number:
                    if name == "write_bytes":
                        call(arguments[0], arguments[1][: len(arguments[1]) // 2])
                    raise OSError(reason, os.strerror(reason))
                return call(*arguments, **named)

            return called

        for place, name in WRITING:
            monkeypatch.setattr(place, name, refusing(name, originals[name]))
        return made

    originals = {name: getattr(place, name) for place, name in WRITING}
    return at


@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EFBIG, errno.EDQUOT], ids=errno.errorcode.get)
def test_a_disk_that_fills_up_at_any_call(tmp_path: Path, refuse_at: Callable[..., list[str]], reason: int) -> None:
    refuse_at(0, reason)
    before, tmp_path = tmp_path / "before", tmp_path / "run"
    save_checkpoint(tmp_path, position(10), ARGUMENTS)
    shutil.copytree(tmp_path, before)
    made = refuse_at(0, reason)
    save_checkpoint(tmp_path, position(20), ARGUMENTS)
    count = len(made)
    assert made.count("write_bytes") == 3 and made.count("fsync") >= 5 and "rename" in made
    steps = []
    for number in range(1, count + 1):
        refuse_at(0, reason)
        shutil.rmtree(tmp_path)
        shutil.copytree(before, tmp_path)
        refuse_at(number, reason)
        # the first call makes a folder that is there
        if number > 1:
            with pytest.raises(
                EnvironmentFailure, match=r"Cannot write .*checkpoint-2.*The disk is full: free some spa"
            ):
                save_checkpoint(tmp_path, position(20), ARGUMENTS)
        assert read(tmp_path).note is None
        steps.append(read(tmp_path).position.step)
        refuse_at(0, reason)
        save_checkpoint(tmp_path, position(30), ARGUMENTS)
        assert read(tmp_path).position.step == 30
        assert len(list((tmp_path / "training").iterdir())) == 2
    # only after the last rename is there a new one
    assert steps == [10] * (count - 1) + [20]


def test_removing_checkpoints_is_all_or_nothing(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed while it removes the checkpoints of a run that ended: none is there, not half of one."""
    monkeypatch.setattr(shutil, "rmtree", lambda path, **_: None)
    remove_checkpoints(two)
    assert load_checkpoint(two) is None


def test_a_temporary_folder_has_the_names_that_are_swept(tmp_path: Path) -> None:
    for _ in range(100):
        name = Path(tempfile.mkdtemp(dir=tmp_path, prefix=".new.")).name
        with sole_writer(tmp_path / "new"):
            assert not (tmp_path / name).exists()
