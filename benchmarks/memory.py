"""The memory of one training pass: how far the resident memory of a fresh process grows above what it held before.

That counts everything: results, gradients, what is kept for the backward pass, and every scratch buffer. Run as a
script it is that process: `memory.py CONTESTANT CELL BATCH STEPS WIDTH THREADS` prints the bytes.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from results import Result, Settings
from rows import Row
from timing import paired

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
PASSES = 3
UNTOLD = "not measured: this system does not tell a process its peak"


def memory(row: Row, settings: Settings) -> Result:
    """Mebibytes of ours and of torch.nn, each measured in a process of its own."""
    if not RESET.exists():
        return Result(row, {}, unit="MiB", note=UNTOLD)
    samples = {
        contestant: [grown(__file__, contestant, row, settings.threads) for _ in range(PASSES)]
        for contestant in ("ours", "torch")
    }
    ratio = paired(samples["ours"], samples["torch"])
    return Result(row, samples, unit="MiB", ratios={"torch": ratio}, note="ours as a part of torch's; lower is better")


def grown(script: str, contestant: str, row: Row, threads: int) -> float:
    """The mebibytes that `script` prints for this contestant, as a process of its own."""
    words = [contestant, row.cell, row.batch, row.steps, row.width, threads]
    command = [sys.executable, script, *map(str, words)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 2**20


def tell(once: Callable[[int], object], steps: int) -> None:
    """Print by how many bytes the memory of this process grows at most while `once` runs over so many steps."""
    once(2)  # whatever is made once, such as threads and their buffers, is there before
    before = _status("VmRSS")
    RESET.write_text("5", encoding="ascii")  # the peak starts from here
    once(steps)
    print(_status("VmHWM") - before)


def _status(field: str) -> int:
    for line in STATUS.read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    raise ValueError(f"{STATUS} has no {field}")


def _main(contestant: str, cell: str, batch: int, steps: int, width: int, threads: int) -> None:
    import torch

    from peers import pair

    torch.set_num_threads(threads)
    both = pair(cell, width)
    module = both.ours if contestant == "ours" else both.theirs

    def once(steps: int) -> None:
        inputs = torch.ones(steps, batch, width, requires_grad=True)
        outputs = (
            both.ours(inputs, both.ours.initial_state(batch))[0] if contestant == "ours" else both.theirs(inputs)[0]
        )
        kept = torch.autograd.grad(outputs, [inputs, *module.parameters()], torch.ones_like(outputs))
        del kept

    tell(once, steps)


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
