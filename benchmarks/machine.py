"""What the machine is and can do: versions, the peak of its matrix product, and how quickly it copies."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import time
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import recurra
from recurra import kernels
from timing import Call, interleaved

SIDE = 1024
PRODUCT_FLOPS = 2.0 * SIDE**3
COPIED = {"64 KiB": 1 << 16, "1 MiB": 1 << 20, "8 MiB": 1 << 23, "256 MiB": 1 << 28}


@cache
def product() -> Call:
    """One large float32 matrix product of `PRODUCT_FLOPS`: the yardstick beside the rows of whole sequences."""
    left, right = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
    out = torch.empty(SIDE, SIDE)
    return lambda: torch.mm(left, right, out=out)


def copying(size: int) -> Call:
    """A copy that touches `size` bytes in all, half of them read and half written: the yardstick beside a step."""
    source = torch.randn(max(1, size // 8))
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def ceilings() -> dict[str, Any]:
    """The peak in GFLOP/s and the bandwidths in GB/s by the bytes touched, the best of a few samples."""
    calls = {"product": product(), **{name: copying(size) for name, size in COPIED.items()}}
    best = {name: min(samples) for name, samples in interleaved(calls, 3).items()}
    return {
        "product_gflops": PRODUCT_FLOPS / best["product"] / 1e9,
        "copy_gigabytes_per_second": {name: size / best[name] / 1e9 for name, size in COPIED.items()},
    }


class Others:
    """How much of the machine's processors other programs take, from the making of this to the asking."""

    def __init__(self) -> None:
        self._start = _busy()

    def share(self) -> float | None:
        """0 for a machine to ourselves, 1 for one that leaves us nothing; None where the system does not tell."""
        now = _busy()
        if self._start is None or now is None:
            return None
        (all_before, ours_before, at_before), (all_now, ours_now, at_now) = self._start, now
        theirs = (all_now - all_before) - (ours_now - ours_before)
        return max(0.0, theirs / max(at_now - at_before, 1e-9) / (os.cpu_count() or 1))


def _busy() -> tuple[float, float, float] | None:
    """Seconds that the processors worked at all, that they worked for us, and the time."""
    path = Path("/proc/stat")
    if not path.is_file():
        return None
    user, nice, system, _, _, irq, softirq, steal = map(int, path.read_text(encoding="ascii").split()[1:9])
    everything = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return everything, sum(usage.ru_utime + usage.ru_stime for usage in usages), time.monotonic()


def record(threads: int) -> dict[str, Any]:
    """Where this was measured, and with which versions."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "threads": threads,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "recurra": recurra.__version__,
        "commit": _commit(),
        "native": kernels.missing or kernels.instruction_set(),
        **{name: _version(name) for name in ("torch", "onnxruntime", "onnx", "numpy")},
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
