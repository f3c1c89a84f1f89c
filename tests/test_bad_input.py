"""No input breaks Recurra: each ends with its exit code and a message, and costs nothing that was there before."""

from __future__ import annotations

import errno
import json
import os
import random
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import recurra
from bad_input_cases import API, CASES, DATA, DIGITS, FIT, LABELS, MACHINE, MODEL, STATE, USAGE, Case, noise, run, table
from recurra.errors import EnvironmentFailure, ModelError, RecurraError, StateError, UsageError


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with good data and a small model of each sort."""
    folder = tmp_path_factory.mktemp("good")
    before = Path.cwd()
    os.chdir(folder)
    try:
        Path("good.tsv").write_bytes(table())
        Path("good.txt").write_text("the cat sat on the mat and the dog ran.\n" * 30)
        np.savez("good.npz", x=noise(20, 4, 2), y=LABELS)
        for name, data, more in [
            ("texts", "good.tsv", []),
            ("both", "good.tsv", ["--bidirectional"]),
            ("numbers", "good.npz", []),
            ("language", "good.txt", []),
        ]:
            assert run("fit", data, *FIT.split()[:-1], name, *more).code == 0
        assert run("stream", "texts", "--state", "good.state", stdin=b"a good film\n").code == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def place(fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder of this test's own, with all that `fitted` has."""
    folder = tmp_path / "place"
    shutil.copytree(fitted, folder)
    (folder / "mine").mkdir()
    monkeypatch.chdir(folder)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
def test_bad_input(case: Case, place: Path) -> None:
    case.make()
    before = contents(place)
    ending = run(*shlex.split(case.command), stdin=case.stdin)
    assert ending.code == case.code, ending.err
    assert re.search(case.message, ending.err, re.DOTALL), ending.err
    assert "Traceback" not in ending.err
    assert "Traceback" not in ending.out
    assert contents(place) == before


def test_bad_input_as_json(place: Path) -> None:
    for command, kind in [
        ("info nowhere --json", "ModelError"),
        ("predict texts nowhere.tsv --json", "DataError"),
        ("predict texts word --top 0 --json", "UsageError"),
        ("stream texts --state good.txt --json", "StateError"),
    ]:
        ending = run(*shlex.split(command))
        error = json.loads(ending.out)["error"]
        assert error["kind"] == kind
        assert error["message"].rstrip(".") in ending.err
        assert ending.code == getattr(recurra, kind).exit_code


# ---- input that is odd, and must work


HOSTILE = [
    "🎉🎉",
    "<script>alert(1)</script>",
    "$\\frac{$",
    "\x1b[2J",
    "\u202eabc",
    "_^{",
    "\x00",
    "%s{0}",
    "שלום",
    "'\"><img>",
]


def test_hostile_texts_and_labels(place: Path) -> None:
    rows = [{"text": f"{odd} text {i} {odd}", "label": odd} for i in range(3) for odd in [*HOSTILE, "half \ud83d"]]
    Path("odd.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ending = run("fit", "odd.jsonl", *FIT.split(), "--level", "characters")
    assert ending.code == 0, ending.err
    assert "<script>alert" not in Path("new/report.html").read_text(encoding="utf-8")
    assert sorted(recurra.load("new").task.summary()["labels"]) == sorted([*HOSTILE, "half \ud83d"])
    ending = run("predict", "new", "odd.jsonl", "--top", 20)
    assert ending.code == 0
    assert len(ending.out.splitlines()) == len(rows)
    assert not set(ending.out) & {"\x1b", "\x00", "\u202e"}
    assert "\\x1b[2J" in ending.out
    assert [json.loads(line)["input"] for line in run("predict", "new", "odd.jsonl", "--json").out.splitlines()] == [
        row["text"] for row in rows
    ]


@pytest.mark.parametrize("level", ["characters", "words", "bpe"])
def test_hostile_running_text(place: Path, level: str) -> None:
    Path("odd.txt").write_text(("".join(HOSTILE).replace("\x00", "") + " and more\n") * 30, encoding="utf-8")
    assert run("fit", "odd.txt", *FIT.split(), "--level", level).code == 0
    assert run("generate", "new", "--prompt", "<script>🎉", "--length", 9).out.startswith("<script>🎉")


def test_what_no_model_has_seen(place: Path) -> None:
    for model in ("texts", "language"):
        answers = run("predict", model, "日本語 ☃ \x00", "--json")
        assert answers.code == 0, answers.err
        assert run("stream", model, stdin="☃\n日本語\n".encode()).code == 0


def test_a_megabyte_in_one_line(place: Path) -> None:
    long = b"a good film " * 90_000 + b"\n"
    ending = run("predict", "texts", "--json", stdin=long + b"a bad film\n")
    assert ending.code == 0, ending.err
    assert json.loads(ending.out.splitlines()[1]) == json.loads(run("predict", "texts", "a bad film", "--json").out)
    assert run("stream", "language", stdin=long).code == 0


def test_answers_do_not_depend_on_company(place: Path) -> None:
    for name, inputs in [("language", ["the cat sat", "the", "t"]), ("texts", ["a good bad film", "bad", ""])]:
        model = recurra.load(name)
        assert model.predict(inputs) == [model.predict([one])[0] for one in inputs]


def test_long_inputs_go_through_in_pieces(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = {
        "language": ["the cat sat on", "the", "mat"],
        "texts": ["a good bad film", "bad", ""],
        "both": ["a good", ""],
    }
    whole = {name: recurra.load(name).predict(texts) for name, texts in inputs.items()}
    monkeypatch.setattr("recurra.models.task.PIECE", 6)
    assert {name: recurra.load(name).predict(texts) for name, texts in inputs.items()} == whole


def test_one_bad_line_costs_no_other(place: Path) -> None:
    ending = run("predict", "numbers", "--json", stdin=b"[1,2]\n[[1,2],[3,4]]\n[1,2,3]\n[5,6]\n")
    assert ending.code == DATA
    assert "Input 3" in ending.err
    answers = [json.loads(line) for line in ending.out.splitlines()]
    assert [list(answer) for answer in answers] == [["label", "probabilities"]] * 2 + [["error"]]


def test_a_bad_line_in_a_stream_costs_no_state(place: Path) -> None:
    assert run("stream", "texts", "--state", "clean", stdin=b"good film\nbad film\n").code == 0
    ending = run("stream", "texts", "--state", "other", "--json", stdin=b"good film\n\xff\xfe\nbad film\n")
    assert ending.code == DATA
    assert "line 2: " in ending.err
    assert ["error" in json.loads(line) for line in ending.out.splitlines()] == [False, True, False]
    clean, other = recurra.load("texts").resume("clean"), recurra.load("texts").resume("other")
    assert other.steps == clean.steps
    assert torch.equal(other.state.summary, clean.state.summary)
    lines = b"[1,2]\n" + b"[" * 100_000 + b"\nnonsense\n\n[1]\n[3,4]\n"
    assert run("stream", "numbers", "--state", "numeric", stdin=lines).code == DATA
    assert recurra.load("numbers").resume("numeric").steps == 2
    assert run("stream", "language", "--state", "lines", stdin=b"\nab\n\nc\n").code == DATA
    assert recurra.load("language").resume("lines").steps == len("ab\n\nc")


def test_odd_names(place: Path) -> None:
    name = os.fsdecode(b"odd \xff\x1b[2J \xe6\x97\xa5.tsv")
    shutil.copy("good.tsv", name)
    ending = run("fit", name, "--hidden", 8, "--epochs", 1, "--no-baselines")
    assert ending.code == 0, ending.err
    folder = next(path for path in Path.cwd().iterdir() if path.name.startswith("odd") and path.is_dir())
    assert run("info", folder).code == 0
    missing = run("predict", "texts", "\x1b[2J/nowhere.tsv")
    assert missing.code == DATA
    assert "\x1b" not in missing.err


@pytest.mark.parametrize(
    "record",
    [
        "[]",
        '{"metrics": 5}',
        '{"metrics": {"valid": {"loss": "x"}}}',
        "[" * 100_000,
        '{"metrics": {"a": {"b": ' + DIGITS[:400] + "}}}",
    ],
    ids=["a list", "a number", "a word", "without end", "too large"],
)  # fmt: skip
def test_the_record_is_only_talk(place: Path, record: str) -> None:
    Path("texts/record.json").write_text(record)
    ending = run("info", "texts", "--json")
    assert ending.code == 0, ending.err
    assert json.loads(ending.out)["metrics"] == {}


def test_links_stay_links(place: Path) -> None:
    Path("link").symlink_to("texts")
    Path("state link").symlink_to("good.state")
    steps = recurra.load("link").resume("state link").steps
    assert run("stream", "link", "--state", "state link", stdin=b"good\n").code == 0
    assert Path("state link").is_symlink()
    assert recurra.load("texts").resume("good.state").steps == steps + 1
    assert run("fit", "good.tsv", "--hidden", 8, "--epochs", 1, "--no-baselines", "--out", "link", "--fresh").code == 0
    assert Path("link").is_symlink()
    assert run("info", "texts").code == 0


# ---- a disk that refuses


def full(name: str, number: int = errno.ENOSPC) -> Callable[[Any, Any], None]:
    """`os.replace` on a disk that is full when it comes to the file `name`."""
    replace = os.replace

    def refuse(source: Any, target: Any) -> None:
        if Path(target).name == name:
            raise OSError(number, os.strerror(number))
        replace(source, target)

    return refuse


@pytest.mark.parametrize("name", ["config.json", "weights.safetensors", "report.html", "README.md", "record.json"])
def test_full_disk_while_fitting(place: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    before = contents(place / "texts")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full(name))
        ending = run("fit", "good.tsv", *FIT.split())
        assert ending.code == MACHINE
        assert re.search(rf"Cannot write .*{name}.*No space left.*free some space", ending.err)
        assert run("fit", "good.tsv", *FIT.split()[:-1], "texts", "--fresh").code == MACHINE
    if name in ("config.json", "weights.safetensors"):
        assert contents(place / "texts") == before
        # not yet a model, but the run goes on from its checkpoint
        assert {path.name for path in Path("new").iterdir()} <= {
            "training",
            "metrics.jsonl",
            "codec.json",
            "tokenizer.json",
            "weights.safetensors",
        }
        assert run("info", "new").code == MODEL
    else:
        # the model is there, and the same command does what is left
        assert recurra.load("new").predict(["good"])
    assert not [path for path in place.iterdir() if path.name.startswith(".")]
    assert run("fit", "good.tsv", *FIT.split()).code == 0
    assert recurra.load("new").metrics["valid"]["loss"] > 0


def test_full_disk_at_the_second_weights(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    replace = os.replace

    def refuse(source: Any, target: Any) -> None:
        if Path(target).name == "weights.safetensors" and len(done) == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done.extend([Path(target).name] * (Path(target).name == "weights.safetensors"))
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    ending = run("fit", "good.txt", "--hidden", 8, "--epochs", 3, "--no-baselines", "--out", "new")
    assert ending.code == MACHINE
    assert recurra.load("new").predict("the") != []


def test_full_disk_at_the_state(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = Path("good.state").read_bytes()
    monkeypatch.setattr(os, "replace", full("good.state"))
    ending = run("stream", "texts", "--state", "good.state", stdin=b"good\n")
    assert ending.code == MACHINE
    assert "free some space" in ending.err
    assert Path("good.state").read_bytes() == before


def test_no_permission(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "replace", full("new.state", errno.EACCES))
    ending = run("stream", "texts", "--state", "new.state", stdin=b"good\n")
    assert ending.code == MACHINE
    assert re.search(r"Cannot write new\.state.*Permission denied.*you may write to", ending.err)


def test_a_rename_that_fails_puts_the_old_folder_back(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(place)
    rename = os.rename

    def refuse(source: Any, target: Any) -> None:
        if Path(target).name == "texts" and Path(source).name != "old":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse)
    model = recurra.load("texts")
    with pytest.raises(EnvironmentFailure, match="Cannot write texts"):
        model.save("texts")
    assert contents(place) == before


# ---- two runs at once


def test_a_second_run_keeps_out_of_the_first(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from recurra.progress import Progress

    seen: list[str] = []
    update = Progress.update

    def meanwhile(self: Progress, *arguments: Any, **named: Any) -> None:
        if not seen:
            with pytest.raises(UsageError) as error:
                recurra.fit("good.tsv", hidden=16, epochs=1, baselines=False, out="new", fresh=True, quiet=True)
            seen.append(str(error.value))
        update(self, *arguments, **named)

    monkeypatch.setattr(Progress, "update", meanwhile)
    model = recurra.fit("good.tsv", hidden=8, epochs=1, baselines=False, out="new")
    assert seen == ["Another run is writing to new. Wait until it has ended, or choose another --out."]
    assert recurra.load("new").fingerprint == model.fingerprint
    assert not Path(".new.lock").exists()


# ---- in Python


@pytest.mark.parametrize(("call", "kind", "message"), [pytest.param(*row[1:], id=row[0]) for row in API])
def test_bad_calls(place: Path, call: Callable[[], object], kind: type[RecurraError], message: str) -> None:
    Path("mine/diary.txt").write_text("dear diary")
    before = contents(place)
    with pytest.raises(kind, match=message):
        call()
    assert contents(place) == before


# ---- at random


def damaged(data: bytes, count: int, seed: int) -> list[bytes]:
    """A file cut at many lengths, and with single bits turned."""
    draw = random.Random(seed)
    found = [data[:length] for length in range(0, len(data), max(1, len(data) // count))]
    for _ in range(count):
        # most of a file is numbers: look at its head as often as at the rest
        place = draw.randrange(min(len(data), 600) if draw.random() < 0.5 else len(data))
        altered = bytearray(data)
        altered[place] ^= 1 << draw.randrange(8)
        found.append(bytes(altered))
    return found


@pytest.mark.parametrize("model", ["texts", "numbers", "language"])
def test_damaged_models(place: Path, model: str) -> None:
    sound = recurra.load(model).fingerprint
    refused = 0
    for path in sorted(Path(model).iterdir()):
        if path.name not in ("config.json", "codec.json", "tokenizer.json", "weights.safetensors"):
            continue
        data = path.read_bytes()
        for content in damaged(data, 25, seed=len(data)):
            path.write_bytes(content)
            try:
                # a bit may turn where nothing depends on it
                assert recurra.load(model).fingerprint == sound
            except ModelError:
                refused += 1
        path.write_bytes(data)
    assert refused > 100


def test_damaged_states(place: Path) -> None:
    model = recurra.load("texts")
    data = Path("good.state").read_bytes()
    for content in damaged(data, 150, seed=1):
        Path("good.state").write_bytes(content)
        with pytest.raises(StateError):
            model.resume("good.state")


def test_the_table_is_large_and_each_case_is_there_once() -> None:
    assert len(CASES) > 100
    assert len({case.name for case in CASES}) == len(CASES)
    assert {case.code for case in CASES} == {USAGE, DATA, MODEL, STATE, MACHINE}
