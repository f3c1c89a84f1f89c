"""Runs of `recurra fit` that are killed and made again until they end. `python tests/killing.py 200` prints a table.

A run is a process of its own, forked from one that has imported everything, so that a kill costs no start-up. It is ended
with SIGKILL by the clock, or by itself at its n-th call that writes: a file opened, halfway through its content, synced,
renamed or removed.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TEXT = "the cat sat on the mat and the dog ran.\n" * 40
ACTS = [f"a film of {'very ' * (i % 7)}{i} acts\t{'good' if i % 2 else 'bad'}\n" for i in range(60)]
LABELLED = "".join(["text\tlabel\n", *ACTS])
RUNS = {
    "language": "text.txt --hidden 8 --rows 4 --steps 16 --epochs 2 --average 0.9",
    "classify": "rows.tsv --hidden 8 --rows 4 --epochs 3 --optimiser muon",
}
ALWAYS = "--no-baselines --checkpoint-every 3"
AFTER = "after the end"
WRITING = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod"}


# ---- the side that runs


def serve() -> None:
    """Read what to run from stdin, a JSON object a line; tell how it ended, and the calls that it made, on stdout."""
    import torch._dynamo  # by the first optimiser of a process

    import recurra
    from recurra.cli.main import main

    assert callable(recurra.fit)
    assert callable(torch._dynamo.disable)
    for line in sys.stdin:
        wish = json.loads(line)
        readable, writable = os.pipe()
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            _be(main, wish, writable)
        os.close(writable)
        if wish["seconds"] is not None:
            # its end closes the pipe
            ready = select.select([readable], [], [], wish["seconds"])[0]
            if not ready:
                os.kill(child, signal.SIGKILL)
        with open(readable, "rb") as told:
            calls = told.read()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        answer = {"code": code, "seconds": time.monotonic() - began, "calls": int(calls or 0)}
        print(json.dumps(answer), flush=True)


def _be(main: Callable[[], Any], wish: dict[str, Any], told: int) -> None:
    """The forked process: the command, with its calls counted."""
    said = os.open("said.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(said, 1)
    os.dup2(said, 2)
    sys.argv = ["recurra", *wish["words"]]
    count = _count(wish["call"])
    try:
        main()
    except SystemExit as ending:
        sys.stderr.flush()
        os.write(told, str(count()).encode())
        os._exit(int(ending.code or 0))
    finally:
        os._exit(99)


def _count(last: int | None) -> Callable[[], int]:
    """Count the calls that write; at number `last` this process ends."""
    made = 0

    def tick() -> None:
        nonlocal made
        made += 1
        if made == last:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in WRITING or (event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT):
            tick()

    sync, write = os.fsync, Path.write_bytes

    def fsync(handle: int) -> None:
        tick()
        sync(handle)

    def write_bytes(path: Path, data: bytes) -> int:
        write(path, data[: len(data) // 2])
        tick()
        return write(path, data)

    os.fsync, Path.write_bytes = fsync, write_bytes  # pyright: ignore[reportAttributeAccessIssue]
    sys.addaudithook(hook)
    return lambda: made


# ---- the side that kills


class Killer:
    """A folder with data, a process that runs what it is told there, and a list of kills: (by what, where it was)."""

    def __init__(self, server: subprocess.Popen[str], folder: Path, name: str) -> None:
        self._server, self._folder = server, folder
        self._words = ["fit", *RUNS[name].split(), *ALWAYS.split(), "--out"]
        self.kills: list[tuple[str, str]] = []
        self.runs = 0
        whole = self._run("whole")
        assert whole["code"] == 0, self._said()
        self._seconds, self._calls = whole["seconds"], whole["calls"]
        self._wanted = results(folder / "whole")

    def kill(self, times: int, by: str, seed: int) -> None:
        """Kill runs so many times, by "clock" or "call", and see that each ends as the one that was never killed."""
        draw = random.Random(f"{by} {seed}")
        until = len(self.kills) + times
        while len(self.kills) < until:
            out, ended = f"run-{self.runs}", False
            while len(self.kills) < until and not ended:
                if by == "clock":
                    answer = self._run(out, seconds=draw.uniform(0, self._seconds))
                else:
                    answer = self._run(out, call=draw.randint(1, self._calls))
                if answer["code"] == -signal.SIGKILL:
                    self.kills.append((by, where(self._folder / out)))
                    # killed between its last deed and its exit
                    ended = self.kills[-1][1] == AFTER
                else:
                    assert answer["code"] == 0, self._said()
                    ended = True
            if not ended:
                assert self._run(out)["code"] == 0, self._said()
            found = results(self._folder / out)
            for part, value in self._wanted.items():
                assert found[part] == value, f"{part} of {out} differs; {self._said()}"
            assert not (self._folder / out / "training").exists()
            if not self.kills or self.kills[-1][1] != AFTER:
                left = [*(self._folder / out).glob(".*"), *self._folder.glob(f".{out}*")]
                assert not left
            self.runs += 1

    def _run(self, out: str, *, seconds: float | None = None, call: int | None = None) -> dict[str, Any]:
        assert self._server.stdin is not None and self._server.stdout is not None
        wish = {"words": [*self._words, out], "seconds": seconds, "call": call}
        print(json.dumps(wish), file=self._server.stdin, flush=True)
        return json.loads(self._server.stdout.readline())

    def _said(self) -> str:
        return (self._folder / "said.txt").read_text(errors="replace")[-3000:]


@contextmanager
def killer(folder: Path, name: str, threads: int) -> Iterator[Killer]:
    """A killer of the run `name` with so many threads."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "text.txt").write_text(TEXT)
    (folder / "rows.tsv").write_text(LABELLED)
    with subprocess.Popen(
        [sys.executable, "-W", "error", __file__, "serve"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    ) as server:  # fmt: skip
        try:
            yield Killer(server, folder, name)
        finally:
            server.kill()


def results(folder: Path) -> dict[str, Any]:
    """What a run ended with, but for the time that it took."""
    record = json.loads((folder / "record.json").read_text())
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    timeless = [[{**event, "seconds": 0} for event in events] for events in (record["history"], lines)]
    weights = (folder / "weights.safetensors").read_bytes()
    start = 8 + int.from_bytes(weights[:8], "little")
    return {
        # the two entries of its metadata come in any order
        "weights": (json.loads(weights[8:start]), weights[start:]),
        "metrics": {key: record.get(key) for key in ("metrics", "best_step", "clipped", "fingerprint", "confusion")},
        "history": timeless[0],
        "lines": timeless[1],
    }


def where(folder: Path) -> str:
    """What a run that was killed was about, as far as its folder tells."""
    if (folder / "record.json").exists() and not (folder / "training").exists():
        return AFTER
    if (folder / "record.json").exists() or any(folder.glob(".re*")) or any(folder.glob(".README*")):
        return "at the end"
    if not (folder / "training").exists():
        return "before the start"
    every = list((folder / "training").iterdir())
    if any(path.name.startswith(".") for path in every):
        return "while a checkpoint was written"
    if len(every) > 1:
        return "before the old checkpoint was gone"
    if any(path.name.startswith(".") for path in folder.iterdir()):
        return "while the model was written"
    return "between"


def table(times: int) -> str:
    """Kill so many times in all, and say where."""
    cases = [(name, threads, by) for name in RUNS for threads in (1, 2) for by in ("clock", "call")]
    shares = [times * (place + 1) // len(cases) - times * place // len(cases) for place in range(len(cases))]
    counts: dict[tuple[str, int, str], Counter[str]] = {}
    runs = {}
    with tempfile.TemporaryDirectory() as folder:
        for place, (name, threads, by) in enumerate(cases):
            with killer(Path(folder, str(place)), name, threads) as one:
                one.kill(shares[place], by, place)
            counts[name, threads, by] = Counter(what for _, what in one.kills)
            runs[name, threads, by] = one.runs
    columns = sorted({what for count in counts.values() for what in count})
    lines: list[list[object]] = [["run", "threads", "killed by", "kills", *columns, "runs, all equal"]]
    lines += [
        [name, threads, by, count.total(), *(count[what] for what in columns), runs[name, threads, by]]
        for (name, threads, by), count in counts.items()
    ]
    lines.append(
        ["all", "", "", times, *(sum(count[what] for count in counts.values()) for what in columns), sum(runs.values())]
    )
    rows = ["| " + " | ".join(map(str, line)) + " |" for line in lines]
    return "\n".join([rows[0], "|---" * len(lines[0]) + "|", *rows[1:]])


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    else:
        print(table(int(sys.argv[1])))
