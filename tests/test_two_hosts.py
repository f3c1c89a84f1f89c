"""Two hosts train one model, as far as this machine can pretend to be two."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

NOT_HERE = 77


def test_two_hosts_with_one_folder_and_with_two() -> None:
    script = Path(__file__).parent / "two_hosts.sh"
    ended = subprocess.run([script], capture_output=True, text=True, env={**os.environ, "PYTHON": sys.executable})
    if ended.returncode == NOT_HERE:
        pytest.skip(ended.stdout.strip().removeprefix("skipped: "))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("from those of one") == 2
