"""The command line: what goes to which stream, the exit codes, and streams that are closed, full or left."""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import recurra
from bad_input_cases import MACHINE, run
from recurra.cli.main import main
from recurra.cli.talk import printable, say_json

RECURRA = f"{shlex.quote(sys.executable)} -W error -m recurra"
# as a shell has it: output is buffered
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": ""}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a classifier `texts`, a language model `language`, and their data."""
    folder = tmp_path_factory.mktemp("place")
    rows = "".join(f"a film of {i} acts\t{'good' if i % 2 else 'bad'}\n" for i in range(20))
    (folder / "rows.tsv").write_text("text\tlabel\n" + rows)
    (folder / "text.txt").write_text("the cat sat on the mat.\n" * 40)
    for name, data in [("texts", "rows.tsv"), ("language", "text.txt")]:
        recurra.fit(folder / data, hidden=8, epochs=1, baselines=False, out=folder / name, quiet=True)
    return folder


@pytest.fixture(autouse=True)
def inside(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


def shell(command: str) -> subprocess.CompletedProcess[str]:
    """A command of bash, in which $RECURRA is the program; the exit code is that of $RECURRA in a pipe."""
    script = f"set -o pipefail; {command.replace('$RECURRA', RECURRA)}"
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=ENVIRONMENT, timeout=60)


def sound(ending: subprocess.CompletedProcess[str]) -> bool:
    """No traceback, and nothing of Python's own about its streams."""
    return not any(word in ending.stderr for word in ("Traceback", "Exception ignored", "BrokenPipe", "Warning"))


# ---- answers


def test_data_on_stdout_and_talk_on_stderr() -> None:
    ending = run("fit", "rows.tsv", "--hidden", 8, "--epochs", 1, "--no-baselines", "--out", "new", "--json")
    assert ending.code == 0
    assert json.loads(ending.out)["out"] == "new"
    assert json.loads(ending.out)["streaming"]["sentences"][0] in ending.err
    assert "validation" in ending.err
    again = run("fit", "rows.tsv", "--hidden", 8, "--epochs", 1, "--no-baselines", "--out", "new", "--fresh")
    assert (again.code, again.out) == (0, "")


def test_each_command_speaks_json() -> None:
    (answer,) = map(json.loads, run("predict", "texts", "a film", "--json").out.splitlines())
    assert answer["input"] == "a film"
    assert sum(answer["probabilities"].values()) == pytest.approx(1)
    assert json.loads(run("predict", "language", "the c", "--top", 2, "--json").out)["next"][1]["probability"] > 0
    assert json.loads(run("evaluate", "texts", "rows.tsv", "--json").out)["metrics"]["accuracy"] >= 0.5
    assert json.loads(run("generate", "language", "--length", 4, "--json").out)["text"]
    about = json.loads(run("info", "texts", "--json").out)
    assert about["model"]["labels"] == ["bad", "good"]
    assert about["streaming"]["sentences"]
    assert {"texts", "language"} <= {json.loads(line)["name"] for line in run("runs", ".", "--json").out.splitlines()}
    assert {row["kernel"] for row in json.loads(run("doctor", "--json").out)["kernels"]} >= {"gru", "lstm", "linear"}
    lines = run("stream", "texts", "--json", stdin=b"a film\nof acts\n").out.splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4]


def test_info_tells_how_it_streams() -> None:
    told = run("info", "texts").out
    assert "As it will be streamed:\n  " in told
    record = json.loads(Path("texts/record.json").read_text())
    for sentence in record["streaming"]["sentences"]:
        assert sentence in told
    # a record from before there was such a part
    del record["streaming"]
    Path("old").mkdir()
    for name in ("config.json", "codec.json", "tokenizer.json", "weights.safetensors"):
        Path("old", name).write_bytes(Path("texts", name).read_bytes())
    Path("old/record.json").write_text(json.dumps(record))
    ending = run("info", "old")
    assert (ending.code, "streamed" in ending.out) == (0, False)


def test_a_stream_in_two_parts_is_the_stream_in_one() -> None:
    whole = run("stream", "language", "--json", stdin=b"the cat\nsat\non the\n").out.splitlines()
    first = run("stream", "language", "--json", "--state", "parts", stdin=b"the cat\n").out.splitlines()
    second = run("stream", "language", "--json", "--state", "parts", stdin=b"sat\non the\n").out.splitlines()
    assert [json.loads(line) for line in first + second] == [json.loads(line) for line in whole]


def test_every_row_of_a_file_is_answered() -> None:
    Path("many.jsonl").write_text("".join(json.dumps({"text": f"the c\nat {i}"}) + "\n" for i in range(300)))
    assert len(run("predict", "language", "many.jsonl").out.splitlines()) == 600
    assert len(run("predict", "texts", "many.jsonl").out.splitlines()) == 300


LEFT_OUT = {
    "csv": (
        "al.csv",
        "id,text\n1,very good\n2,bad,really\n3,fine\n",
        [2, 4],
        "3 fields, not 2 as in the header, .* (line 3)",
    ),
    "jsonl": ("al.jsonl", '{"text":"good"}\n{"txt":"bad"}\n{"text":null}\n{"text":"fine"}\n', [1, 4], "lines 2 and 3"),
    "blank lines": ("al.txt", "good\n\n \nfine\n", [1, 4], "2 rows are empty and were left out (lines 2 and 3)"),
}


@pytest.mark.parametrize(("name", "content", "lines", "note"), LEFT_OUT.values(), ids=LEFT_OUT)
def test_rows_without_an_answer_are_named(name: str, content: str, lines: list[int], note: str) -> None:
    Path(name).write_text(content)
    ending = run("predict", "texts", name, "--json")
    assert ending.code == 0
    assert [json.loads(line)["line"] for line in ending.out.splitlines()] == lines
    (told,) = ending.err.splitlines()
    assert told.startswith("note: ") and all(part in told for part in note.split(" .* "))


def test_a_table_is_answered_whole_or_not_at_all() -> None:
    with pytest.raises(recurra.DataError, match=r"Not every row .* empty text .*row 2.*Drop such rows"):
        recurra.load("texts").predict({"text": ["good", None, "fine"]})


def test_what_is_measured_is_told() -> None:
    Path("some.tsv").write_text(Path("rows.tsv").read_text() + "no label\t\n")
    told = run("evaluate", "texts", "some.tsv").err
    assert "Label: the column 'label'" in told and "note: 1 row has no label and was left out (line 22)" in told
    assert "Measured on 20 rows of some.tsv." in told
    assert "note: 1 row has no label" in run("compare", "texts", "texts", "some.tsv").out


def test_lines_of_a_text_keep_their_numbers() -> None:
    Path("new.txt").write_text("the c\n\nat\n")
    Path("new.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in ("the c\nat", "", "on")))
    for name, lines in [("new.txt", [1, 3]), ("new.jsonl", [1, 1, 3])]:
        found = [json.loads(line) for line in run("predict", "language", name, "--json").out.splitlines()]
        assert [answer["line"] for answer in found] == lines
    assert "line" not in json.loads(run("predict", "language", "the c", "--json").out)


def test_the_same_seed_writes_the_same_text() -> None:
    texts = [run("generate", "language", "--seed", seed, "--length", 40).out for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_help_and_version() -> None:
    assert run("--version").out == f"{recurra.__version__}\n"
    for command in ("fit", "predict", "generate", "evaluate", "stream", "info", "runs", "doctor"):
        ending = run(command, "--help")
        assert (ending.code, ending.err) == (0, "")
        assert "--json" in ending.out
    assert run().code == 2


def test_help_does_not_wait_for_torch() -> None:
    code = (
        "import sys; sys.argv = ['recurra', 'fit', '--help']\nfrom recurra.cli import main\n"
        "try: main()\nfinally: assert 'torch' not in sys.modules"
    )
    ending = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ending.returncode == 0, ending.stderr


# ---- what the machine refuses


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "Out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), "Out of memory"),
        (
            RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 8 GiB"),
            "Out of memory",
        ),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "Out of memory"),
        (ModuleNotFoundError("No module named 'polars'", name="polars"), "The package polars is not installed"),
        (OSError(5, "Input/output error"), "Input/output error"),
    ],
    ids=["memory", "memory of torch", "memory of a GPU", "memory of its library", "package", "disk"],
)
def test_the_machine_refuses(monkeypatch: pytest.MonkeyPatch, error: Exception, message: str) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(recurra, "load", refuse)
    ending = run("info", "texts", "--json")
    assert ending.code == MACHINE
    assert message in ending.err
    assert message in json.loads(ending.out)["error"]["message"]


def test_a_mistake_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def mistaken(*_: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(recurra, "load", mistaken)
    monkeypatch.setattr(sys, "argv", ["recurra", "info", "texts"])
    with pytest.raises(RuntimeError, match="shapes"):
        main()


def test_a_disk_that_is_full_for_the_weights() -> None:
    ending = shell("ulimit -f 8; $RECURRA fit text.txt --hidden 32 --epochs 1 --no-baselines --out big")
    assert ending.returncode == MACHINE
    assert "free some space" in ending.stderr
    assert sound(ending)
    assert not Path("big").exists()


# ---- streams that are closed, full or left


def test_a_reader_that_goes_away() -> None:
    Path("long.txt").write_text("a film\n" * 20_000)
    ending = shell("$RECURRA stream texts --state left.state < long.txt | head -n 1")
    assert ending.returncode == 141
    assert len(ending.stdout.splitlines()) == 1
    assert sound(ending)
    # what was read is kept
    assert recurra.load("texts").resume("left.state").steps >= 2


def test_a_full_stdout() -> None:
    ending = shell("$RECURRA info texts > /dev/full")
    assert ending.returncode == MACHINE
    assert "No space left" in ending.stderr
    assert sound(ending)


def test_closed_streams() -> None:
    ending = shell("$RECURRA generate language --length 3 >&- 2>&- <&-")
    assert ending.returncode == 0
    assert ending.stdout == ""
    assert sound(ending)


def test_a_closed_stdin(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("predict", "stream"):
        monkeypatch.setattr(sys, "stdin", None)
        monkeypatch.setattr(sys, "argv", ["recurra", command, "texts"])
        with pytest.raises(SystemExit) as ending:
            main()
        assert ending.value.code == 0
        sys.stdin.close()
        assert capsys.readouterr() == ("", "")


def test_a_run_whose_stderr_is_closed() -> None:
    ending = shell("$RECURRA fit rows.tsv --hidden 8 --epochs 1 --no-baselines --out mute 2>&-")
    assert ending.returncode == 0
    assert ending.stdout == ""
    assert recurra.load("mute").metrics["valid"]["loss"] > 0


def test_a_terminal_that_knows_only_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    monkeypatch.setattr(sys, "argv", ["recurra", "predict", "texts", "schön 🎉"])
    with pytest.raises(SystemExit) as ending:
        main()
    assert ending.value.code == 0
    assert b"sch\\xf6n \\U0001f389" in sys.stdout.buffer.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


def test_a_stderr_that_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Gone())
    monkeypatch.setattr(sys, "argv", ["recurra", "info", "nowhere"])
    with pytest.raises(SystemExit) as ending:
        main()
    assert ending.value.code == 4


# ---- words


def test_printable() -> None:
    assert printable("a\tb\nc é 日本 🎉 שלום") == "a\tb\nc é 日本 🎉 שלום"
    assert printable("\x1b[2J\x00\x7f\x9b\u202e") == "\\x1b[2J\\x00\\x7f\\x9b\\u202e"


def test_json_has_no_infinity(capsys: pytest.CaptureFixture[str]) -> None:
    say_json({"a": float("inf"), "b": [float("nan"), 1.5], "c": ("日",)})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [None, 1.5], "c": ["日"]}
