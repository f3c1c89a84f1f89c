"""`--processes N`: the same command N times on this machine, started again together where one of them dies."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from types import FrameType
from typing import IO, NoReturn

from recurra.cli.talk import tell
from recurra.errors import EnvironmentFailure, Interrupted, ProcessLost, UsageError

# those of fitting.stopping, without waiting for torch to be imported
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
RESTARTS = 3
"""How often processes that died are started again, from the last checkpoint."""
GRACE = 20.0
"""Seconds that the others have to end by themselves once one has ended."""
LAUNCHER = "RECURRA_LAUNCHER"


def run(processes: int) -> NoReturn:
    """Run this very command in so many processes, and end as they ended."""
    if "RANK" in os.environ:
        raise UsageError(
            "--processes starts processes of its own", got="one that torchrun started", fix="Leave out one of the two"
        )
    words, name = _without_processes(sys.argv[1:]), uuid.uuid4().hex
    code = 0
    for attempt in range(RESTARTS + 1):
        # the names that torchrun has for these two: the processes then know a second start from another beginning
        again = {"TORCHELASTIC_RUN_ID": name, "TORCHELASTIC_RESTART_COUNT": str(attempt)}
        code = _Team(words, processes, again).wait()
        if code >= 0:
            sys.exit(code)
        if attempt < RESTARTS:
            tell(f"A process was ended by signal {-code}; starting all again from the last checkpoint.")
    raise EnvironmentFailure(
        f"A process was ended by signal {-code}, {RESTARTS + 1} times",
        fix="See whether memory suffices; the same command goes on from the last checkpoint",
    )


def end_with_launcher() -> None:
    """Let this process, where `run` has started it, not outlive the one that did: it would hold the folder."""
    launcher = os.environ.get(LAUNCHER, "")
    if launcher.isdigit():
        threading.Thread(target=_watch, args=(int(launcher),), daemon=True).start()


def _watch(launcher: int) -> None:
    while os.getppid() == launcher:
        time.sleep(0.5)
    os._exit(1)


class _Team:
    def __init__(self, words: list[str], count: int, environment: dict[str, str]) -> None:
        threads = max(1, _cores() // count)
        environment = {
            **os.environ,
            **environment,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(_free_port()),
            "WORLD_SIZE": str(count),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
            LAUNCHER: str(os.getpid()),
        }
        # the answer of the first counts once all is done; what the others say is what the first says, and is shown only
        # where they fail and the first does not
        self._answer = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the processes)
        self._said = [tempfile.TemporaryFile() for _ in range(count - 1)]  # noqa: SIM115
        self._asked = False
        command = [sys.executable, "-m", "recurra", *words]
        self._processes = [
            subprocess.Popen(
                command,
                env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdin=None if rank == 0 else subprocess.DEVNULL,
                stdout=self._answer if rank == 0 else subprocess.DEVNULL,
                stderr=None if rank == 0 else self._said[rank - 1],
                # Ctrl-C in a terminal is to reach each of them once, and through us
                start_new_session=True,
            )
            for rank in range(count)
        ]

    def wait(self) -> int:
        """How they ended, as one exit code; negative where a signal ended one that nobody had asked to stop."""
        handlers = {number: signal.signal(number, self._pass_on) for number in SIGNALS}
        try:
            code = self._code(*self._wait())
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        if code >= 0:
            sys.stdout.write(_content(self._answer))
        for file in (self._answer, *self._said):
            file.close()
        return code

    def _wait(self) -> tuple[list[int], set[int]]:
        """(the exit codes, which of them had to be ended since others had failed)."""
        until, ended = float("inf"), set[int]()
        while any(process.poll() is None for process in self._processes):
            if until == float("inf") and any(process.poll() for process in self._processes):
                until = time.monotonic() + GRACE
            if time.monotonic() > until:
                for rank, process in enumerate(self._processes):
                    if process.poll() is None:
                        ended.add(rank)
                        process.kill()
            time.sleep(0.05)
        return [process.wait() for process in self._processes], ended

    def _code(self, codes: list[int], ended: set[int]) -> int:
        died = [code for rank, code in enumerate(codes) if code < 0 and rank not in ended]
        if died:
            return Interrupted.exit_code if self._asked else died[0]
        # whoever only lost another is not the one who knows why
        failed = [rank for rank, code in enumerate(codes) if code > 0 and code != ProcessLost.exit_code]
        if not failed:
            return max(codes)
        if failed[0] > 0:
            tell(_content(self._said[failed[0] - 1]).rstrip())
        return codes[failed[0]]

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(number)


def _content(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(sys.stdout.encoding or "utf-8", "replace")


def _without_processes(words: list[str]) -> list[str]:
    """The command line without `--processes N` or `--processes=N`."""
    kept: list[str] = []
    left = iter(words)
    for word in left:
        if word == "--processes":
            next(left, None)
        elif not word.startswith("--processes="):
            kept.append(word)
    return kept


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
