"""Fits of texts that are not held: the same model, the same way to stop and go on, and little memory."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import recurra
from bad_input_cases import run
from recurra import progress
from recurra.data import pieces, text_files, tokens
from recurra.data.datasets import TextDataset
from recurra.data.reading import read
from recurra.data.text_codec import TextCodec
from recurra.errors import EnvironmentFailure, Interrupted
from recurra.fitting import splits
from recurra.fitting.kinds import language
from recurra.progress import Progress

LINES = [
    "the cat sat on the mat and the dog lay under it, ",
    "一只猫坐在垫子上，想要一个苹果。",
    "it's 3.14 o'clock, 😀 déjà vu",
    "",
    "and the dog ran off",
]
TEXT = "".join(f"{LINES[i % 5]}{i * i % 97}\r\n" for i in range(500))
# told apart from the record of a run for the seconds and folders alone
MOVING = ("date", "seconds", "total_seconds", "out", "command", "next")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a text."""
    monkeypatch.chdir(tmp_path)
    Path("big.txt").write_text(TEXT, encoding="utf-8", newline="")
    return tmp_path


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is a large one, read in small pieces."""
    monkeypatch.setattr(text_files, "LARGE", 1)
    monkeypatch.setattr(pieces, "BLOCK", 512)
    monkeypatch.setattr(pieces, "PIECE", 512)


def fit(out: str, **choices: Any) -> recurra.Model:
    given = {"hidden": 8, "epochs": 1, "baselines": False, "rows": 4, "steps": 32, "quiet": True, **choices}
    return recurra.fit("big.txt", out=out, **given)


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int | None) -> None:
    """Ctrl-C after a step of training."""
    update = Progress.update

    def counted(self: Progress, *arguments: Any) -> None:
        update(self, *arguments)
        if arguments[0] == step:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Progress, "update", counted)


def stop_encoding(monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    """Ctrl-C before a piece is turned into tokens."""
    encode, count = TextCodec.encode_array, 0

    def counted(self: TextCodec, text: str) -> Any:
        nonlocal count
        count += 1
        if count == piece:
            os.kill(os.getpid(), signal.SIGINT)
        return encode(self, text)

    monkeypatch.setattr(TextCodec, "encode_array", counted)


def comparable(model: recurra.Model) -> dict[str, Any]:
    record = {key: value for key, value in model.record.items() if key not in MOVING}
    data = {key: value for key, value in record["data"].items() if key != "guess"}
    history = [{key: value for key, value in entry.items() if key != "seconds"} for entry in record["history"]]
    streaming = {**record["streaming"], "seconds": 0.0}
    return {**record, "data": data, "history": history, "streaming": streaming}


@pytest.mark.parametrize("level", ["characters", "words", "bpe"])
def test_the_model_is_that_of_a_held_text(level: str, request: pytest.FixtureRequest) -> None:
    choices = {"level": level, "vocabulary": 300 if level == "bpe" else None, "valid": "valid.txt", "test": "big.txt"}
    Path("valid.txt").write_text(TEXT[:3000], newline="")
    held = [fit("held", **choices), fit("held-split", level=level)]
    request.getfixturevalue("large")
    big = [fit("big", **choices), fit("big-split", level=level)]
    for one, two in zip(held, big, strict=True):
        assert one.fingerprint == two.fingerprint
        assert comparable(one) == comparable(two)
    assert "also stand in big.txt" in big[0].record["data"]["problems"][0]["message"]
    assert not Path("big/training").exists()
    assert sorted(entry.name for entry in Path("big").iterdir()) == sorted(
        entry.name for entry in Path("held").iterdir()
    )
    assert big[0].evaluate("big.txt") == held[0].evaluate([Path("big.txt").read_text()])


def test_baselines_are_those_of_a_held_text(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    held = fit("held", baselines=True).record["baselines"]
    request.getfixturevalue("large")
    learnt: list[int] = []
    learn = language._codec
    monkeypatch.setattr(language, "_codec", lambda *arguments: learnt.append(1) or learn(*arguments))
    big = fit("big", baselines=True).record["baselines"]
    assert len(learnt) == 1  # the twin has the vocabulary that is there
    assert [row["name"] for row in big] == ["modified Kneser-Ney", "feed-forward network"]
    assert big[0]["metrics"] == held[0]["metrics"]
    length = len(TEXT.replace("\r", "")) * 9 // 10
    for one, two in zip(held, big, strict=True):
        told = rf"(.*), trained on the last ({length:,}) of \2 characters"
        assert (found := re.fullmatch(told, two["detail"])) and found[1] == one["detail"]


def test_what_is_measured_and_learnt_from_is_bounded(large: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splits, "MEASURED", 800)
    monkeypatch.setattr("recurra.fitting.sets.COUNTED", 900)
    monkeypatch.setattr(splits, "COUNTED", 900)
    monkeypatch.setattr(language, "LEARNT", {"words": 1280, "bpe": 1280})
    monkeypatch.setattr("recurra.fitting.sets.LEARNT", language.LEARNT)
    text = TEXT.replace("\r", "")
    cut = round(len(text) * 0.9)
    model = fit("new", baselines=True, level="words")
    data = model.record["data"]
    assert (data["train"]["tokens"], data["valid"]["tokens"]) == (cut, 800)
    assert data["guess"][-4:] == [
        f"Of the {len(text) - cut:,} characters of the validation text the first 800 are measured.",
        f"The training text of {cut:,} characters is read in pieces and its tokens kept in a file.",
        "The vocabulary is learnt from 1,280 characters spread over it.",
        "The baselines learn from its last 900 characters.",
    ]
    assert model.metrics["valid"] == model.evaluate([text[cut : cut + 800]])
    assert all(row["detail"].endswith(f"on the last 900 of {cut:,} characters") for row in model.record["baselines"])
    assert model.record["token_losses"]["tokens"]
    given = fit("given", valid="big.txt", test="big.txt")
    assert {name: given.record["data"][name]["tokens"] for name in ("train", "valid", "test")} == {
        "train": len(text), "valid": 800, "test": 800,
    }  # fmt: skip
    told = "characters of the test text the first 800 are measured."
    assert given.record["data"]["guess"][2].endswith(told)
    learnt = TextCodec.learn([text[:cut]], "words", minimum=2)
    assert 2 < model.task.summary()["vocabulary"] < learnt.size
    whole = TextDataset([text], "x")
    assert splits.spread(whole, 100) is whole and splits.counted(whole) is whole and splits.measured(whole) is whole


def test_the_parts_of_a_text(large: None, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(f"{number:07d}\n" for number in range(2000))
    Path("big.txt").write_text(text)
    train, _, _ = read("big.txt")
    assert isinstance(train, TextDataset) and not train.held
    parts = splits.spread(train, 1280).documents
    assert parts == [text[at : at + 20] for at in range(0, 16_000, 250)]
    assert splits.counted(train).documents == [text]
    monkeypatch.setattr(splits, "COUNTED", 900)
    monkeypatch.setattr(splits, "MEASURED", 800)
    assert splits.counted(train).documents == [text[-900:]]
    assert splits.measured(train).documents == [text[:800]]


# ---- stopped, and gone on with


@pytest.mark.parametrize("steps", [(1,), (25,), (5, 60)])
def test_a_run_that_was_stopped_gives_the_same_weights(
    large: None, written: list[int], monkeypatch: pytest.MonkeyPatch, steps: tuple[int, ...]
) -> None:
    whole = fit("whole", epochs=3)
    del written[:]
    for step in steps:
        with monkeypatch.context() as patch:
            stop_at(patch, step)
            with pytest.raises(Interrupted, match="Go on with: recurra fit"):
                fit("new", epochs=3)
        there = sorted(entry.name for entry in Path("new/training").iterdir())
        checkpoints, rest = [name for name in there if name.startswith("checkpoint-")], there[-2:]
        assert checkpoints and [*checkpoints, *rest] == there and rest == ["tokens.bin", "tokens.json"]
    resumed = fit("new", epochs=3)
    assert len(written) == 1  # the tokens of the first call
    assert resumed.fingerprint == whole.fingerprint and resumed.metrics == whole.metrics
    assert not Path("new/training").exists()


def test_damaged_tokens_do_not_change_the_end(large: None, written: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fit("whole")
    with monkeypatch.context() as patch:
        stop_at(patch, 9)
        with pytest.raises(Interrupted):
            fit("new")
    path = Path("new/training/tokens.bin")
    path.write_bytes(bytes(path.stat().st_size))
    del written[:]
    assert fit("new").fingerprint == whole.fingerprint and len(written) == 1


@pytest.mark.parametrize("piece", [1, 7])
def test_ctrl_c_while_encoding(large: None, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    words = ("fit", "big.txt", "--hidden", "8", "--epochs", "1", "--no-baselines", "--out", "new")
    with monkeypatch.context() as patch:
        stop_encoding(patch, piece)
        ending = run(*words)
    assert ending.code == 130
    assert ending.err.endswith(
        "error: Stopped while the text was turned into tokens; nothing of that is kept. "
        "Start again with: recurra fit big.txt --out new --hidden 8 --epochs 1 --no-baselines.\n"
    )
    assert not Path("new").exists() and not Path(".new.lock").exists()
    assert run(*words).code == 0


def test_ctrl_c_while_encoding_again(large: None, written: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fit("whole")
    with monkeypatch.context() as patch:
        stop_at(patch, 9)
        with pytest.raises(Interrupted):
            fit("new")
    Path("new/training/tokens.bin").unlink()
    with monkeypatch.context() as patch:
        stop_encoding(patch, 3)
        with pytest.raises(Interrupted, match="Stopped while the text was turned into tokens"):
            fit("new")
    assert not Path("new/training/tokens.part").exists()
    assert fit("new").fingerprint == whole.fingerprint


def test_an_older_model_is_left_as_it_was(large: None, monkeypatch: pytest.MonkeyPatch) -> None:
    older = fit("new", hidden=4)
    before = {path.name: path.read_bytes() for path in Path("new").iterdir()}
    for stop, at, told in ((stop_encoding, 3, "--fresh"), (stop_at, 1, "holds what it held.*--fresh")):
        with monkeypatch.context() as patch:
            stop(patch, at)
            with pytest.raises(Interrupted, match=told):
                fit("new", fresh=True)
        assert {path.name: path.read_bytes() for path in Path("new").iterdir()} == before
    assert recurra.load("new").fingerprint == older.fingerprint
    assert fit("new", fresh=True).fingerprint == fit("whole").fingerprint


def test_tokens_of_a_run_that_was_killed_are_used(
    large: None, written: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["recurra.fitting.fit"], "train", killed)
        with pytest.raises(Killed):
            recurra.fit("big.txt", hidden=8, epochs=1, rows=4, steps=32, baselines=False, quiet=True)
    assert sorted(entry.name for entry in Path("big-model/training").iterdir()) == ["tokens.bin", "tokens.json"]
    again = recurra.fit("big.txt", hidden=8, epochs=1, rows=4, steps=32, baselines=False, quiet=True)
    assert again.folder == Path("big-model") and len(written) == 1
    assert again.fingerprint == fit("whole").fingerprint


def test_a_full_disk(large: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr(tokens.os, "fsync", full)
        with pytest.raises(EnvironmentFailure, match=r"Cannot write new/training/tokens\.bin.*disk is full"):
            fit("new")
    assert not Path("new").exists()
    assert fit("new").metrics["valid"]["loss"] > 0


# ---- what is said, and what it takes


def test_long_passes_tell_how_far_they_are(
    large: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_LONG", 0.0)
    fit("new", quiet=False, valid="big.txt")
    said = capsys.readouterr().err
    for doing, unit in (
        ("checking", "MB"), ("comparing", "million characters"), ("hashing", "million characters"),
        ("counting", "million characters"), ("encoding", "million characters"),
    ):  # fmt: skip
        lines = re.findall(rf"^{doing} +\d+ %.*", said, re.MULTILINE)
        assert lines, doing
        assert re.search(rf"\d+ %  \S.* left  [\d,]+ {unit}/s  [\d.]+ GB$", lines[-1])
        assert "step" not in "".join(lines)
    fit("quiet", valid="big.txt")
    assert capsys.readouterr().err == ""


SCRIPT = """
import sys, threading, time
import recurra

def anonymous():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon")) / 1024

def fit(name):
    recurra.fit(name, out=name + "-model", hidden=16, minutes=0.03, rows=8, steps=32, baselines=False, quiet=True)

peak, ended = 0.0, False
def look():
    global peak
    while not ended:
        peak = max(peak, anonymous())
        time.sleep(0.01)

fit("small.txt")
before = anonymous()
watcher = threading.Thread(target=look)
watcher.start()
fit("large.txt")
ended = True
watcher.join()
print(peak - before)
"""


def test_a_large_text_takes_little_memory() -> None:
    Path("small.txt").write_text(TEXT * 10)
    block = "".join(f"{line}{i * i % 9973}\n" for i in range(20_000) for line in LINES[:2])
    with open("large.txt", "w", encoding="utf-8") as file:
        for _ in range(150_000_000 // len(block.encode())):
            file.write(block)
    assert Path("large.txt").stat().st_size > 2 * text_files.LARGE
    ending = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert ending.returncode == 0, ending.stderr
    assert float(ending.stdout) < 100  # megabytes; the text alone has 150
