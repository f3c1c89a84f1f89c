"""Stopped work is not lost: Ctrl-C, a closed terminal, at every stage of a run and of a stream."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import recurra
from bad_input_cases import run
from recurra.errors import Interrupted, UsageError
from recurra.fitting.stopping import Stopping
from recurra.progress import Progress

TEXT = "the cat sat on the mat and the dog ran.\n" * 60
LABELLED = "text\tlabel\n" + "".join(f"a film of {i} acts\t{'good' if i % 2 else 'bad'}\n" for i in range(60))
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with data."""
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text(TEXT)
    Path("rows.tsv").write_text(LABELLED)
    return tmp_path


def fit(data: str, out: str | None, **choices: Any) -> recurra.Model:
    return recurra.fit(
        data, out=out, **{"hidden": 8, "epochs": 3, "baselines": False, "rows": 4, "steps": 32, **choices}
    )


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[int]]]:
    """Send a signal to this process after a step of training; gives the list of steps that were made."""
    update = Progress.update

    def at(step: int | None, number: int = signal.SIGINT, times: int = 1) -> list[int]:
        made: list[int] = []

        def counted(self: Progress, *arguments: Any, **named: Any) -> None:
            made.append(arguments[0] if arguments else named["step"])
            update(self, *arguments, **named)
            for _ in range(times if made[-1] == step else 0):
                os.kill(os.getpid(), number)

        monkeypatch.setattr(Progress, "update", counted)
        return made

    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    yield at
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


# ---- training


@pytest.mark.parametrize(("data", "steps"), [("text.txt", (5, 17, 30)), ("rows.tsv", (5, 14, 22))])
def test_a_run_that_was_stopped_gives_the_same_weights(
    stop_at: Callable[..., list[int]], data: str, steps: tuple[int, ...]
) -> None:
    whole = fit(data, "whole")
    for step in steps:
        out = f"stopped-{step}"
        stop_at(step)
        with pytest.raises(Interrupted, match="Go on with: recurra fit"):
            fit(data, out)
        made = stop_at(None)
        resumed = fit(data, out)
        assert made[0] == step + 1
        assert resumed.fingerprint == whole.fingerprint
        assert resumed.metrics == whole.metrics
        assert not Path(out, "training").exists()
        assert recurra.load(out).fingerprint == whole.fingerprint


def test_a_run_that_was_stopped_twice(stop_at: Callable[..., list[int]]) -> None:
    whole = fit("text.txt", "whole")
    for step in (3, 20):
        stop_at(step)
        with pytest.raises(Interrupted):
            fit("text.txt", "twice")
    stop_at(None)
    assert fit("text.txt", "twice").fingerprint == whole.fingerprint


def test_what_is_kept_is_the_best(stop_at: Callable[..., list[int]], capsys: pytest.CaptureFixture[str]) -> None:
    stop_at(24)
    with pytest.raises(Interrupted) as error:
        fit("text.txt", "new")
    assert "the best weights so far are kept in new" in str(error.value)
    assert "recurra info new" in str(error.value)
    kept = recurra.load("new")
    history = [re.findall(r"validation: loss ([\d.]+)", line) for line in capsys.readouterr().err.splitlines()]
    best = min(float(found[0]) for found in history if found)
    # the last tenth of the text is what was held back
    assert kept.evaluate([TEXT[round(len(TEXT) * 0.9) :]])["loss"] == pytest.approx(best, abs=6e-3)


def test_stopped_before_the_first_validation(stop_at: Callable[..., list[int]]) -> None:
    whole = fit("text.txt", "whole")
    stop_at(1)
    with pytest.raises(Interrupted) as error:
        fit("text.txt", "new")
    assert "before the first validation; the weights as they are now are kept in new" in str(error.value)
    assert recurra.load("new").predict("the")
    stop_at(None)
    assert fit("text.txt", "new").fingerprint == whole.fingerprint


def test_stopped_early_over_an_older_model(stop_at: Callable[..., list[int]]) -> None:
    older = fit("text.txt", "new", hidden=4)
    before = {path.name: path.read_bytes() for path in Path("new").iterdir()}
    stop_at(1)
    with pytest.raises(Interrupted) as error:
        fit("text.txt", "new", fresh=True)
    assert "nothing was written, and new holds what it held" in str(error.value)
    assert "--fresh" in str(error.value)
    assert {path.name: path.read_bytes() for path in Path("new").iterdir()} == before
    assert recurra.load("new").fingerprint == older.fingerprint
    # once something better is known, the older model goes
    stop_at(24)
    with pytest.raises(Interrupted, match="best weights so far"):
        fit("text.txt", "new", fresh=True)
    assert recurra.load("new").task.summary()["hidden"] == 8
    stop_at(None)
    assert fit("text.txt", "new").fingerprint == fit("text.txt", "whole").fingerprint


def test_other_arguments_do_not_go_on(stop_at: Callable[..., list[int]]) -> None:
    stop_at(5)
    with pytest.raises(Interrupted):
        fit("text.txt", "new")
    before = {path.name: path.read_bytes() for path in Path("new").rglob("*") if path.is_file()}
    stop_at(None)
    with pytest.raises(UsageError, match=r"unfinished run with other arguments.*hidden was 8 and is 16.*--fresh"):
        fit("text.txt", "new", hidden=16)
    Path("text.txt").write_text(TEXT.replace("cat", "cow"))
    with pytest.raises(UsageError, match=r"other arguments.*data was"):
        fit("text.txt", "new")
    assert {path.name: path.read_bytes() for path in Path("new").rglob("*") if path.is_file()} == before
    assert fit("text.txt", "new", hidden=16, fresh=True).task.summary()["hidden"] == 16


def test_a_second_signal_stops_at_once(stop_at: Callable[..., list[int]]) -> None:
    made = stop_at(24, times=2)
    with pytest.raises(KeyboardInterrupt):
        fit("text.txt", None)
    assert made[-1] == 24
    assert recurra.load("text-model").predict("the")
    stop_at(None)
    # the same call goes on from the last checkpoint, and another one is told
    with pytest.raises(UsageError, match=r"unfinished run.*epochs was 3 and is 1"):
        fit("text.txt", None, epochs=1)
    assert fit("text.txt", None).fingerprint == fit("text.txt", "whole").fingerprint


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_ways_to_stop(stop_at: Callable[..., list[int]], number: int) -> None:
    whole = fit("text.txt", "whole")
    before = signal.signal(number, signal.SIG_DFL)  # whoever started the tests may have had it ignored
    try:
        stop_at(9, number=number)
        with pytest.raises(Interrupted):
            fit("text.txt", "new")
    finally:
        signal.signal(number, before)
    stop_at(None)
    assert fit("text.txt", "new").fingerprint == whole.fingerprint


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Stopping() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_stopped_while_measuring_baselines(stop_at: Callable[..., list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["recurra.fitting.fit"], "compare", lambda *_: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(Interrupted) as error:
            fit("text.txt", "new", baselines=True)
    assert "the model is trained and stands in new" in str(error.value)
    trained = recurra.load("new")
    assert trained.metrics == {}
    # what is left needs no training, with the baselines or without
    made = stop_at(None)
    finished = fit("text.txt", "new", baselines=False)
    assert made == []
    assert finished.fingerprint == trained.fingerprint == fit("text.txt", "whole").fingerprint
    assert finished.record["history"] != []
    assert Path("new/report.html").exists()


def test_stopped_during_the_last_validation(stop_at: Callable[..., list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    validation = Progress.validation
    count = 0

    def last(self: Progress, *arguments: Any, **named: Any) -> None:
        nonlocal count
        count += 1
        if count == 3:
            os.kill(os.getpid(), signal.SIGINT)
        validation(self, *arguments, **named)

    monkeypatch.setattr(Progress, "validation", last)
    with pytest.raises(Interrupted, match="the model is trained"):
        fit("text.txt", "new", baselines=True)
    assert fit("text.txt", "new").metrics["valid"]["loss"] > 0


# ---- in a process of its own


def start(*words: object, **more: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "recurra", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, **more,
    )  # fmt: skip


def wait_for(stream: Any, pattern: str) -> list[str]:
    """Read lines until one matches."""
    seen = []
    for line in stream:
        seen.append(line)
        if re.search(pattern, line):
            return seen
    raise AssertionError("".join(seen))


def test_ctrl_c_while_training() -> None:
    words = ("fit", "text.txt", "--hidden", 8, "--minutes", 5, "--no-baselines", "--out", "new")
    with start(*words) as process:
        assert process.stderr is not None
        wait_for(process.stderr, r"step 1\b")
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert process.returncode == 130
    assert re.search(r"error: Stopped after \d+ s; .* kept in new\. Go on with: recurra fit text\.txt --out new", said)
    assert "Traceback" not in said
    assert recurra.load("new").predict("the")
    assert not Path(".new.lock").exists()


def test_ctrl_c_while_a_stream_waits() -> None:
    fit("rows.tsv", "new", epochs=1)
    with start("stream", "new", "--state", "my.state", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        process.stdin.write("a good film\nof acts\n")
        process.stdin.flush()
        wait_for(process.stdout, "good")
        wait_for(process.stdout, "good")
        time.sleep(0.2)
        # it now waits for a line that does not come
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert "Traceback" not in process.stderr.read()
    assert recurra.load("new").resume("my.state").steps == 5


# ---- streams


def test_ctrl_c_between_two_lines_of_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    model = fit("rows.tsv", "new", epochs=1)
    push = recurra.Session.push

    def stopped(self: recurra.Session, raw: Any, **named: Any) -> Any:
        answer = push(self, raw, **named)
        if raw == "second":
            os.kill(os.getpid(), signal.SIGINT)
        return answer

    monkeypatch.setattr(recurra.Session, "push", stopped)
    ending = run("stream", "new", "--state", "my.state", stdin=b"first film\nsecond\nthird\n")
    assert ending.code == 130
    assert len(ending.out.splitlines()) == 2
    assert model.resume("my.state").steps == 3


def test_ctrl_c_while_a_state_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    model = fit("rows.tsv", "new", epochs=1)
    replace = os.replace

    def stopped(source: Any, target: Any) -> None:
        if Path(target).name == "my.state":
            os.kill(os.getpid(), signal.SIGINT)
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stopped)
        assert run("stream", "new", "--state", "my.state", stdin=b"first film\n").code == 130
    assert model.resume("my.state").steps == 0
    assert run("stream", "new", "--state", "my.state", stdin=b"first film\n").code == 0
    assert model.resume("my.state").steps == 2


# ---- before there is anything to keep


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("after", ["recurra.cli", "torch", "A tenth"])
def test_a_signal_before_the_training_is_an_exit_in_words(place: Path, number: signal.Signals, after: str) -> None:
    """While Python, then torch is loaded, and while the data are read."""
    script = (
        "import os, signal, sys, builtins\n"
        f"after, number = {after!r}, {int(number)}\n"
        # (whoever started the tests, nohup for one, may have had it ignored)
        "signal.signal(number, signal.SIG_DFL)\n"
        "real = builtins.__import__\n"
        "def watched(name, *rest, **named):\n"
        "    found = real(name, *rest, **named)\n"
        "    if name == after:\n"
        "        os.kill(os.getpid(), number)\n"
        "    return found\n"
        "from recurra.cli.main import main\n"
        "builtins.__import__ = watched\n"
        "if after == 'A tenth':\n"
        "    import recurra.fitting\n"
        "    f = sys.modules['recurra.fitting.fit']\n"
        "    f.kind_of = lambda dataset: os.kill(os.getpid(), number)\n"
        "sys.argv = ['recurra', 'fit', 'text.txt', '--epochs', '1', '--out', 'new', '--json']\n"
        "main()\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert ended.returncode == 130, ended.stderr
    assert '"kind": "Interrupted"' in ended.stdout
    assert "Stopped." in ended.stderr
    assert not Path("new").exists()
