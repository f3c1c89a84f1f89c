"""Runs that are killed with SIGKILL, at any moment and at any call that writes, end as if nothing had been."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from killing import ALWAYS, LABELLED, RUNS, TEXT, killer, results


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", RUNS)
def test_killed_by_the_clock_and_at_calls(tmp_path: Path, name: str, threads: int) -> None:
    with killer(tmp_path, name, threads) as one:
        one.kill(2, "clock", seed=1)
        one.kill(4, "call", seed=2)
    assert len(one.kills) == 6
    assert one.runs >= 2


def test_killed_from_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    (tmp_path / "rows.tsv").write_text(LABELLED)
    command = [sys.executable, "-m", "recurra", "fit", *RUNS["classify"].split(), *ALWAYS.split(), "--out"]
    quiet = {"cwd": tmp_path, "stderr": subprocess.DEVNULL, "env": {**os.environ, "OMP_NUM_THREADS": "1"}}
    with subprocess.Popen([*command, "new"], **quiet) as process:
        while not list(tmp_path.glob("new/training/checkpoint-[5-9]*")):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "new" / "record.json").exists()
    for out in ("new", "whole"):
        subprocess.run([*command, out], check=True, **quiet)
    assert results(tmp_path / "new") == results(tmp_path / "whole")
