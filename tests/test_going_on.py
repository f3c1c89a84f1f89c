"""Runs that vanish go on from their checkpoints: with damaged ones, leftovers, lines that were cut, and full disks."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import recurra
from bad_input_cases import DEEP, run
from recurra.files import sole_writer
from recurra.fitting import live
from recurra.training.loop import _Run
from test_checkpoint import NUMBERS, TENSORS, changed, put, read, refuse_at, same

assert callable(refuse_at)  # a fixture that is shared

TEXT = "the cat sat on the mat and the dog ran.\n" * 60
WORDS = "fit text.txt --hidden 8 --epochs 3 --no-baselines --rows 4 --steps 32 --checkpoint-every 4"
COMMAND = WORDS.split()


class Gone(BaseException):
    """The process is no more."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(live, "EVERY", 1)
    Path("text.txt").write_text(TEXT)
    return tmp_path


@pytest.fixture
def gone_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int | None], list[int]]]:
    """Let a run vanish before it makes a step; gives the steps that it makes."""
    step = _Run._step

    def at(last: int | None) -> list[int]:
        made: list[int] = []

        def counted(self: _Run, *arguments: Any) -> Any:
            if self._position.step == last:
                raise Gone
            made.append(self._position.step + 1)
            return step(self, *arguments)

        monkeypatch.setattr(_Run, "_step", counted)
        return made

    yield at


def fit(out: str, **choices: Any) -> recurra.Model:
    usual = {"hidden": 8, "epochs": 3, "baselines": False, "rows": 4, "steps": 32, "checkpoint_every": "4"}
    return recurra.fit("text.txt", out=out, **{**usual, **choices})


def logged(folder: str) -> list[dict[str, Any]]:
    lines = Path(folder, "metrics.jsonl").read_text().splitlines()
    return [{**json.loads(line), "seconds": 0} for line in lines]


@pytest.mark.parametrize(
    "cut",
    [
        lambda data: data,
        lambda data: data[:-1],
        lambda data: data[:-30],
        lambda data: data + b'{"step": 3, "lo',
        lambda data: data + '{"step": 3, "é'.encode()[:-1],
        lambda data: data + b"null\n[]\n{}\n",
        lambda data: data + DEEP.encode() + b"\n",
    ],
    ids=["whole", "no new line", "half a line", "half a line more", "half a letter", "no events", "without end"],
)
def test_no_step_is_told_twice(place: Path, gone_at: Callable[..., list[int]], cut: Callable[[bytes], bytes]) -> None:
    gone_at(None)
    whole = fit("whole")
    gone_at(22)
    with pytest.raises(Gone):
        fit("new")
    path = Path("new/metrics.jsonl")
    path.write_bytes(cut(path.read_bytes()))
    made = gone_at(None)
    assert fit("new").fingerprint == whole.fingerprint
    assert made[0] == 21
    assert logged("new") == logged("whole")


def test_a_line_without_its_end_is_no_line(place: Path, gone_at: Callable[..., list[int]]) -> None:
    """Even of a step that the checkpoint has: the next line would stand beside it."""
    gone_at(20)
    with pytest.raises(Gone):
        fit("new")
    path = Path("new/metrics.jsonl")
    path.write_bytes(path.read_bytes()[:-1])
    assert gone_at(None) == []
    fit("new")
    fit("whole")
    assert logged("new") == [event for event in logged("whole") if event["step"] != 20]


def test_a_damaged_checkpoint_costs_steps_and_no_bits(place: Path, gone_at: Callable[..., list[int]]) -> None:
    gone_at(None)
    whole = fit("whole")
    gone_at(30)
    with pytest.raises(Gone):
        fit("new")
    before, newest = sorted(Path("new/training").iterdir(), key=lambda path: int(path.name.partition("-")[2]))
    step = json.loads((before / NUMBERS).read_bytes())["position"]["step"]
    assert 0 < step < 30
    (newest / NUMBERS).write_bytes((newest / NUMBERS).read_bytes()[:-1])
    made = gone_at(None)
    ending = run(*COMMAND, "--out", "new")
    assert ending.code == 0
    assert f"note: the last checkpoint is damaged; the one before it is whole, at step {step}" in ending.err
    assert made[0] == step + 1
    assert recurra.load("new").fingerprint == whole.fingerprint
    assert logged("new") == logged("whole")


def test_the_only_checkpoint_is_damaged(place: Path, gone_at: Callable[..., list[int]]) -> None:
    gone_at(10)
    with pytest.raises(Gone):
        fit("new")
    gone_at(None)
    before, only = sorted(Path("new/training").iterdir(), key=lambda path: int(path.name.partition("-")[2]))
    shutil.rmtree(before)
    whole = (only / TENSORS).read_bytes()
    (only / TENSORS).write_bytes(whole[:-1])
    ending = run(*COMMAND, "--out", "new")
    assert ending.code == 4
    assert "No checkpoint in new/training can be used" in ending.err and "--fresh" in ending.err
    # whole, but of another model: what does not fit is no traceback either
    for tensors in ({}, {"weights.bias": torch.zeros(3)}):
        put_tensors(only, tensors)
        ending = run(*COMMAND, "--out", "new")
        assert ending.code == 4
        assert "The checkpoint does not fit this model" in ending.err
    put(TENSORS, whole, only)
    changed("position", "index", value=10**9)(only)
    assert "batch 1000000000 of" in run(*COMMAND, "--out", "new").err
    changed("position", "index", value=0)(only)
    changed("position", "random", value={"python": [3, [1], None]})(only)
    assert "does not fit this model" in run(*COMMAND, "--out", "new").err
    assert run(*COMMAND, "--out", "new", "--fresh").code == 0
    assert recurra.load("new").fingerprint == fit("whole").fingerprint


def put_tensors(folder: Path, tensors: dict[str, Tensor]) -> None:
    from safetensors.torch import save

    put(TENSORS, save(tensors), folder)


def test_leftovers_are_swept(place: Path, gone_at: Callable[..., list[int]]) -> None:
    gone_at(10)
    with pytest.raises(Gone):
        fit("new")
    leftovers = [
        "new/training/.checkpoint-9.abcdefgh", "new/.training.removed", "new/.weights.safetensors.abcdefgh",
        "new/.metrics.jsonl.abc_efg1", ".new.abcd_fg8",
    ]  # fmt: skip
    for name in leftovers:
        if "weights" in name or "metrics" in name:
            Path(name).write_text("half")
        else:
            Path(name).mkdir()
            Path(name, TENSORS).write_text("half")
    Path(".new.mine").mkdir()
    made = gone_at(None)
    assert fit("new").metrics == fit("whole").metrics
    assert made[0] == 9
    assert {path.name for path in place.iterdir()} == {"text.txt", "new", "whole", ".new.mine"}
    assert [path.name for path in Path("new").iterdir() if path.name.startswith(".")] == []


def test_a_folder_that_was_set_aside_comes_back(place: Path) -> None:
    for target in ("new", "other"):
        Path(f".{target}.old.abcdefgh/old").mkdir(parents=True)
        Path(f".{target}.old.abcdefgh/old/config.json").write_text(target)
    Path("other").mkdir()
    for target in ("new", "other"):
        with sole_writer(Path(target)):
            assert not Path(f".{target}.old.abcdefgh").exists()
    assert Path("new/config.json").read_text() == "new"
    assert list(Path("other").iterdir()) == []


def test_other_arguments_and_a_fresh_start(place: Path, gone_at: Callable[..., list[int]]) -> None:
    gone_at(10)
    with pytest.raises(Gone):
        fit("new")
    gone_at(None)
    ending = run(*COMMAND, "--out", "new", "--rate", "0.5")
    assert ending.code == 2
    assert "unfinished run with other arguments. Got: rate was None and is 0.5." in ending.err
    # what does not decide the end may differ
    made = gone_at(None)
    assert fit("new", checkpoint_every="7s", accumulate=2).record["processes"] == 1
    assert made[0] == 9
    gone_at(10)
    with pytest.raises(Gone):
        fit("newer")
    made = gone_at(None)
    assert fit("newer", fresh=True).fingerprint == fit("whole").fingerprint
    assert made[0] == 1
    assert logged("newer") == logged("whole")


def test_a_file_that_may_not_grow(place: Path, gone_at: Callable[..., list[int]]) -> None:
    gone_at(None)
    whole = fit("whole")
    gone_at(10)
    with pytest.raises(Gone):
        fit("new")
    kept = read(Path("new")).position
    size = max(path.stat().st_size for path in Path("new/training").rglob("*"))
    words = [sys.executable, "-W", "error", "-m", "recurra", *COMMAND, "--out", "new"]
    limited = ["bash", "-c", f'ulimit -f {size // 1024 - 5} && exec "$@"', "bash", *words]
    ended = subprocess.run(limited, capture_output=True, text=True)
    assert ended.returncode == 6
    assert "The disk is full: free some space" in ended.stderr
    assert "the same command goes on from the last checkpoint" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert same(read(Path("new")).position, kept)
    gone_at(None)
    assert fit("new").fingerprint == whole.fingerprint


def test_a_disk_full_from_the_start_leaves_nothing(place: Path, refuse_at: Callable[..., list[str]]) -> None:
    refuse_at(3, errno.ENOSPC)
    ending = run(*COMMAND, "--out", "new")
    assert ending.code == 6
    assert "The disk is full" in ending.err and "goes on" not in ending.err
    assert {path.name for path in place.iterdir()} == {"text.txt"}
