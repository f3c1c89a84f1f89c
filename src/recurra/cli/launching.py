"""`--processes N`: the same command N times on this machine, started again together where one of them dies."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from types import FrameType
from typing import IO, NoReturn

from recurra.cli.talk import tell
from recurra.errors import EnvironmentFailure
from recurra.fitting.stopping import SIGNALS

RESTARTS = 3
"""How often processes that died are started again, from the last checkpoint."""
GRACE = 20.0
"""Seconds that the others have to end by themselves once one has ended."""


def run(processes: int) -> NoReturn:
    """Run this very command in so many processes, and end as they ended."""
    words = _without_processes(sys.argv[1:])
    code = 1
    for attempt in range(RESTARTS + 1):
        code = _Team(words, processes).wait()
        if code >= 0:
            break
        if attempt < RESTARTS:
            tell(f"A process was ended by signal {-code}; starting all again from the last checkpoint.")
            # a second start is a continuation, not another beginning
            words = [word for word in words if word != "--fresh"]
    if code < 0:
        raise EnvironmentFailure(
            f"A process was ended by signal {-code}, {RESTARTS + 1} times",
            fix="See whether memory suffices; the same command goes on from the last checkpoint",
        )
    sys.exit(code)


class _Team:
    def __init__(self, words: list[str], count: int) -> None:
        threads = max(1, _cores() // count)
        environment = {
            **os.environ,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(_free_port()),
            "WORLD_SIZE": str(count),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
        }
        # what the others say is what the first says; it is shown only where they fail and the first does not
        self._said: list[IO[bytes] | None] = [None]
        for _ in range(count - 1):
            self._said.append(tempfile.TemporaryFile())  # noqa: SIM115 (open as long as the process)
        command = [sys.executable, "-m", "recurra", *words]
        self._processes = [
            subprocess.Popen(
                command,
                env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdin=None if rank == 0 else subprocess.DEVNULL,
                stdout=None if rank == 0 else subprocess.DEVNULL,
                stderr=said,
                # Ctrl-C in a terminal is to reach each of them once, and through us
                start_new_session=True,
            )
            for rank, said in enumerate(self._said)
        ]

    def wait(self) -> int:
        """The exit code of the one that ended first in another way than well; negative where a signal ended it."""
        handlers = {number: signal.signal(number, self._pass_on) for number in SIGNALS}
        try:
            return self._wait()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _wait(self) -> int:
        first: tuple[int, int] | None = None
        until = float("inf")
        while any(process.poll() is None for process in self._processes):
            failed = next(((r, c) for r, p in enumerate(self._processes) if (c := p.poll())), None)
            if failed and first is None:
                first, until = failed, time.monotonic() + GRACE
            if time.monotonic() > until:
                for process in self._processes:
                    process.kill()
            time.sleep(0.05)
        codes = [process.wait() for process in self._processes]
        if first is None:
            first = next(((rank, code) for rank, code in enumerate(codes) if code), (0, 0))
        # one that was killed is the cause of what befell the others
        killed = next((code for code in codes if code < 0), None)
        rank, code = first
        if killed is None and rank > 0 and (said := self._said[rank]) is not None:
            said.seek(0)
            tell(said.read().decode("utf-8", "replace").rstrip())
        return code if killed is None else killed

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(number)


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
