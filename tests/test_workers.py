"""Several processes, and a batch in parts, take the steps that one process takes with the whole batch; who stops or dies
takes nobody else's work along."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

import recurra
import worker_runs
from bad_input_cases import run
from recurra.cli import launching
from recurra.errors import EnvironmentFailure, UsageError
from recurra.layers import fixed_dropout, rows_of
from recurra.training import Position, Workers, save_checkpoint
from recurra.training.checkpoint import load_checkpoint
from tolerances import assert_close

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}

# ---- who has which rows


@given(total=st.integers(0, 200), count=st.integers(1, 40), parts=st.integers(1, 12))
def test_every_row_is_one_process_s(total: int, count: int, parts: int) -> None:
    shares = [Workers(rank, count).rows(total, parts) for rank in range(count)]
    assert [row for share in shares for part in share for row in range(total)[part]] == list(range(total))
    sizes = [part.stop - part.start for share in shares for part in share]
    assert all(0 < size <= -(-total // (count * parts)) for size in sizes)
    for share, whole in zip(shares, (Workers(rank, count).rows(total) for rank in range(count)), strict=True):
        assert [(s.start, s.stop) for s in whole] == ([(share[0].start, share[-1].stop)] if share else [])


@given(total=st.integers(1, 30), count=st.integers(1, 8), parts=st.integers(1, 5), seed=st.integers(0, 99))
def test_masks_of_parts_are_the_mask_of_the_whole(total: int, count: int, parts: int, seed: int) -> None:
    inputs = torch.ones(3, total, 4)
    torch.manual_seed(seed)
    before = torch.get_rng_state()
    whole = fixed_dropout(inputs, 0.4, True)
    after = torch.get_rng_state()
    found = []
    for rank in range(count):
        for rows in Workers(rank, count).rows(total, parts):
            torch.set_rng_state(before)
            with rows_of(total, rows):
                found.append(fixed_dropout(inputs[:, rows], 0.4, True))
            assert torch.equal(torch.get_rng_state(), after)
    assert torch.equal(torch.cat(found, dim=1), whole)


# ---- the same steps


@pytest.mark.parametrize("name", worker_runs.CASES)
def test_a_batch_in_parts_is_the_batch(name: str) -> None:
    whole = worker_runs.results(*worker_runs.run(name, accumulate=1))
    for parts in (2, 3, 50):
        close(worker_runs.results(*worker_runs.run(name, accumulate=parts)), whole, f"{name} in {parts} parts")


def close(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], what: str) -> None:
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        one, two = found[key], value
        if "muon" in what and value.dtype.is_floating_point:
            # torch makes its steps orthogonal in bfloat16
            one, two = one.float(), two.float()
        try:
            if value.dtype.is_floating_point:
                assert_close(one, two, "weights")
            else:
                assert torch.equal(one, two)
        except AssertionError as error:
            raise AssertionError(f"{what}, {key}: {error}") from error


def together(count: int, command: Sequence[object], **more: Any) -> list[subprocess.CompletedProcess[str]]:
    """Run a command in so many processes that find each other; `{rank}` in its words is the number of each."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    shared = {**ENVIRONMENT, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    processes = [
        subprocess.Popen(
            [sys.executable, *(str(word).replace("{rank}", str(rank)) for word in command)],
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more,
        )
        for rank in range(count)
    ]  # fmt: skip
    said = [process.communicate(timeout=120) for process in processes]
    return [
        subprocess.CompletedProcess(process.args, process.returncode, *told)
        for process, told in zip(processes, said, strict=True)
    ]


def test_any_number_of_processes_takes_the_same_steps(tmp_path: Path) -> None:
    whole: dict[str, dict[str, torch.Tensor]] = {}
    for name in worker_runs.CASES:
        whole[name] = worker_runs.results(*worker_runs.run(name))
        _, outcome, _ = worker_runs.run(name, stop=3)
        assert outcome.position.step == 3
        save_checkpoint(tmp_path / name, outcome.position, {})
    for count in (2, 3):
        for ending in together(count, [Path(worker_runs.__file__), tmp_path], cwd=Path(__file__).parent):
            assert ending.returncode == 0, ending.stderr
        for name, wanted in whole.items():
            close(worker_runs.read(tmp_path, name, count), wanted, f"{name}, {count} processes")
    # handed from one process to two, to three, and back
    for name, wanted in whole.items():
        found = load_checkpoint(tmp_path / name)
        assert found is not None and found.position.step == 11
        close(worker_runs.results(*worker_runs.run(name, start=found.position)), wanted, f"{name}, handed on")


# ---- the launcher, over processes that only pretend


@pytest.fixture
def pretend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Let `--processes 3` start a shell script; gives the exit code, and what the processes left in a file."""

    def started(script: str, *words: str) -> tuple[int, str]:
        fake = tmp_path / "fake"
        fake.write_text(f"#!/bin/sh\n{script}\n")
        fake.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(fake))
        monkeypatch.setattr(sys, "argv", ["recurra", "fit", "a.txt", *words])
        monkeypatch.chdir(tmp_path)
        (tmp_path / "log").write_text("")
        with pytest.raises(SystemExit) as ending:
            launching.run(3)
        assert isinstance(ending.value.code, int)
        return ending.value.code, (tmp_path / "log").read_text()

    return started


Pretend = Callable[..., tuple[int, str]]


def test_processes_that_die_four_times(pretend: Pretend, capfd: pytest.CaptureFixture[str]) -> None:
    script = 'echo "$RANK $TORCHELASTIC_RESTART_COUNT" >> log; echo answer; [ $RANK = 1 ] && kill -9 $$; exit 7'
    with pytest.raises(EnvironmentFailure, match=r"ended by signal 9, 4 times\. See whether memory suffices; the same"):
        pretend(script)
    assert sorted(Path("log").read_text().split("\n"))[1:] == sorted(
        f"{rank} {n}" for rank in range(3) for n in range(4)
    )
    said = capfd.readouterr()
    assert said.err.count("A process was ended by signal 9; starting all again from the last checkpoint.") == 3
    assert said.out == ""


def test_one_answer_after_a_second_start(pretend: Pretend, capfd: pytest.CaptureFixture[str]) -> None:
    again = "TORCHELASTIC_RESTART_COUNT"
    script = f'echo "answer ${again}"; [ $RANK${again} = 20 ] && kill -9 $$; echo "$*" >> log'
    code, log = pretend(script, "--processes", "3", "--json", "--processes=3", "--fresh")
    assert code == 0
    # all words but the number of processes are handed on, the wish for a fresh start too
    assert set(log.splitlines()) == {"-m recurra fit a.txt --json --fresh"}
    assert capfd.readouterr().out == "answer 1\n"


def test_an_error_of_all_is_told_once(pretend: Pretend, capfd: pytest.CaptureFixture[str]) -> None:
    for first in ("0", "0.3"):
        code, _ = pretend(f"[ $RANK = 0 ] && sleep {first}; echo 'error: no such data' >&2; exit 3")
        assert code == 3
        assert capfd.readouterr().err == "error: no such data\n"


def test_an_error_of_one_is_told_whoever_ends_first(pretend: Pretend, capfd: pytest.CaptureFixture[str]) -> None:
    for first in ("0", "0.3"):
        code, _ = pretend(
            f"[ $RANK = 2 ] && sleep {first} && echo 'error: my memory' >&2 && exit 6; echo lost >&2; exit 7"
        )
        assert code == 6
        assert capfd.readouterr().err.splitlines().count("error: my memory") == 1
    # what the first lost is its own to tell
    assert pretend("[ $RANK = 0 ] && exit 2; exit 7")[0] == 2
    assert pretend("exit 7")[0] == 7


def test_who_hangs_after_another_s_error_is_ended_and_not_started_again(
    pretend: Pretend, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(launching, "GRACE", 0.2)
    code, log = pretend("echo start >> log; [ $RANK = 1 ] && echo 'error: mine' >&2 && exit 3; exec sleep 60")
    assert (code, log.count("start")) == (3, 3)
    assert capfd.readouterr().err == "error: mine\n"


def test_who_was_asked_to_stop_is_not_started_again(pretend: Pretend) -> None:
    code, log = pretend(f"echo start >> log; [ $RANK = 0 ] && sleep 0.3 && kill -TERM {os.getpid()}; exec sleep 60")
    assert (code, log.count("start")) == (130, 3)


def test_not_both_ways_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(UsageError, match=r"processes of its own.*torchrun.*Leave out one"):
        launching.run(2)


# ---- real runs

TEXT = "the cat sat on the mat and the dog ran.\n" * 60
LABELLED = "text\tlabel\n" + "".join(f"a film of {i} acts\t{'good' if i % 2 else 'bad'}\n" for i in range(60))
FIT = ["fit", "text.txt", "--hidden", "8", "--rows", "5", "--steps", "32", "--no-baselines", "--checkpoint-every", "3"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text(TEXT)
    Path("rows.tsv").write_text(LABELLED)
    return tmp_path


def start(*words: object, **more: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "recurra", *map(str, words)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, **more
    )  # fmt: skip


def fit(*words: object) -> tuple[int, str, str]:
    with start(*words) as process:
        out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def weights(folder: str) -> dict[str, torch.Tensor]:
    return load_file(Path(folder, "weights.safetensors"))


def children(parent: int) -> list[int]:
    return [int(number) for number in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def wait_for_step(process: subprocess.Popen[str], step: int, seen: list[str]) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        seen.append(line)
        found = re.search(r"step (\d+)\b", line)
        if found and int(found[1]) >= step and "%" in line:
            return
    raise AssertionError("".join(seen))


def test_a_process_that_is_killed(place: Path) -> None:
    """--fresh over an older model, one killed: all start again, go on, and end as one process ends alone."""
    alone = recurra.fit("text.txt", hidden=8, rows=5, steps=32, baselines=False, epochs=20, out="alone", quiet=True)
    assert alone.record["processes"] == 1
    seen: list[str] = []
    with start(*FIT, "--epochs", 20, "--out", "new", "--processes", 2, "--json") as process:
        wait_for_step(process, 30, seen)
        workers = children(process.pid)
        assert len(workers) == 2
        os.kill(workers[1], signal.SIGKILL)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0
    assert err.count("A process was ended by signal 9; starting all again from the last checkpoint.") == 1
    found = re.search(r"going on from step (\d+)", err)
    assert found and int(found[1]) >= 27
    assert "Traceback" not in err
    answer = json.loads(out)
    assert answer["out"] == "new" and len(out.splitlines()) == 1
    record = json.loads(Path("new/record.json").read_text())
    assert record["processes"] == 2
    for name, value in weights("alone").items():
        assert_close(weights("new")[name], value, "weights")
    for one, two in zip(record["history"], alone.record["history"], strict=True):
        assert (one["step"], one["units"], one["best"]) == (two["step"], two["units"], two["best"])
        assert one["valid"]["loss"] == pytest.approx(two["valid"]["loss"], rel=1e-4)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_stop_and_go_on_with_another_number(place: Path, number: int) -> None:
    words, seen = [*FIT, "--epochs", 12, "--out", "new"], list[str]()
    with start(*words, "--processes", 2) as process:
        wait_for_step(process, 1, seen)
        workers = children(process.pid)
        process.send_signal(number)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert re.search(r"error: Stopped after \d+ s; .* kept in new\. Go on with: recurra fit text\.txt --out new", said)
    assert "Traceback" not in said and "Another process" not in said and "Stopped with the others" not in said
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
    assert not Path(".new.lock").exists()
    found = load_checkpoint(Path("new"))
    assert found is not None
    ending = run(*words)
    assert ending.code == 0, ending.err
    assert f"going on from step {found.position.step}" in ending.err
    record = json.loads(Path("new/record.json").read_text())
    steps = [json.loads(line)["step"] for line in Path("new/metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps)) and record["history"][-1]["step"] == steps[-1]


def test_a_launcher_that_is_killed_leaves_nobody(place: Path) -> None:
    seen: list[str] = []
    with start(*FIT, "--minutes", 5, "--out", "new", "--processes", 2) as process:
        wait_for_step(process, 1, seen)
        workers = children(process.pid)
        process.kill()
    until = time.monotonic() + 30
    while any(Path(f"/proc/{worker}/exe").exists() for worker in workers):
        assert time.monotonic() < until
        time.sleep(0.1)
    assert len(workers) == 2


def test_a_data_error_of_all(place: Path) -> None:
    Path("bad.tsv").write_text("text\tlabel\na\tx\nb\tx\n")
    code, out, err = fit("fit", "bad.tsv", "--out", "new", "--processes", 2, "--json")
    assert code == 3
    assert err.count("error: ") == 1 and "two classes" in err and "starting all again" not in err
    assert json.loads(out)["error"]["kind"] == "DataError"
    assert not Path("new").exists()


def test_a_full_disk_of_the_first(place: Path) -> None:
    with start(
        *FIT, "--epochs", 1, "--out", "new", "--hidden", 64, "--processes", 2, preexec_fn=small_files
    ) as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 6
    assert err.count("error: ") == 1, err
    assert "error: Cannot write new/training/checkpoint-1" in err and "The disk is full: free some space" in err
    assert "Traceback" not in err and out == ""
    assert not Path("new").exists()


def small_files() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))


def test_different_files(place: Path) -> None:
    for rank in range(2):
        Path(f"text-{rank}.txt").write_text(TEXT + "x" * rank)
    endings = together(2, ["-m", "recurra", "fit", "text-{rank}.txt", *FIT[2:], "--epochs", 1, "--out", "new"])
    for ending in endings:
        assert ending.returncode == 2, ending.stderr
        assert "The processes were given different data or options. Expected: the same command" in ending.stderr
    assert not Path("new").exists()


def test_torchrun(place: Path) -> None:
    words = ["fit", "rows.tsv", "--hidden", "8", "--rows", "5", "--epochs", "3", "--no-baselines", "--out"]
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "recurra"]
    ended = subprocess.run(
        [*run, *words, "new", "--json"], capture_output=True, text=True, env=ENVIRONMENT, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["kind"] == "classify"
    recurra.fit("rows.tsv", hidden=8, rows=5, epochs=3, baselines=False, out="alone", quiet=True)
    for name, value in weights("alone").items():
        assert_close(weights("new")[name], value, "weights")


def test_a_fresh_start_stays_one_until_it_has_begun(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a death the run that began afresh goes on, and no other."""
    from recurra.fitting.destination import Destination

    arguments = {"hidden": 8}
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "older")
    Destination(Path("new"), arguments, False).keep(Position(step=7))
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "newer")
    for again in ("1", "0"):
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", again)
        begun = Destination(Path("new"), arguments, True)
        assert begun.found is None
    begun.keep(Position(step=3))
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    found = Destination(Path("new"), arguments, True).found
    assert found is not None and found.position.step == 3
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    assert Destination(Path("new"), arguments, True).found is None
