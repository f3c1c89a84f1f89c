"""Kernels for GPUs on a device: the tests marked `gpu`, then a table of times, errors and shares of the machine's rate.

    RECURRA_GPU=1 python benchmarks/gpu.py [--out FOLDER] [--only PATTERN] [--seconds N] [--no-tests] [--dry]

`make bench-gpu` is this. It writes gpu.jsonl, a line for the machine and one for each row as soon as it is there, and gpu.md.
No row is begun after `--seconds`, so that all of it takes less than 8 minutes. `--dry` runs every row tiny, on the processor
and in Triton's interpreter: its times mean nothing. Where recurra is not installed, it is
imported from `src`.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TESTS = (
    # the barrier first and with little time, since what waits for ever does so there
    ("parts that meet", ("tests/test_gpu_device.py", "-k", "parts_that_meet"), 120),
    ("all that are marked gpu", ("tests/test_gpu_device.py", "tests/test_gpu_choice.py"), 210),
)
"""(name, arguments of pytest, seconds) of what is tested before anything is timed."""
SIDE = 8192
"""Rows and columns of the products that the machine's rates are measured by."""


def from_the_checkout() -> None:
    """Where recurra is not installed: as it lies in `src`, without kernels for the processor; for what is begun here too."""
    if importlib.util.find_spec("recurra") is None:
        source = str(HERE.parent / "src")
        sys.path.append(source)
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), source)))


def tested() -> dict[str, str]:
    """The last line of each run of tests on this device. What follows a run that did not end is not run."""
    found: dict[str, str] = {}
    for name, paths, limit in TESTS:
        command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *paths]
        try:
            run = subprocess.run(command, cwd=HERE.parent, timeout=limit, capture_output=True, text=True, check=False)
        except subprocess.TimeoutExpired:
            return found | {name: f"not done after {limit} s"}
        found[name] = (run.stdout.strip().splitlines() or ["no output"])[-1]
        if run.returncode:
            print(run.stdout[-6000:], file=sys.stderr)
    return found


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a table in Markdown."""
    lines = ["| row | contestant | ms | error against float64 | share |", "|---|---|---|---|---|"]
    for row in results:
        for one in row["figures"]:
            took, error, share = f"not run: {one.get('failed')}", "", ""
            if "milliseconds" in one:
                took, error = f"{one['milliseconds']:.3f}", f"{one['error']:.1e}"
                share = f"{one['share']:.0%} of {one['rate']}"
            elif "published" in one:
                took = f"{one['published']:.2f}, published"
            lines.append(f"| {row['row']} | {one.get('contestant', '')} | {took} | {error} | {share} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--out", type=Path, default=HERE.parent / "build" / "bench-gpu", help="the folder of the results"
    )
    parser.add_argument("--only", default="", metavar="PATTERN", help="a regular expression that a row must match")
    parser.add_argument("--seconds", type=float, default=420.0, help="no row is begun after so many; tests count too")
    parser.add_argument("--dry", action="store_true", help="every row tiny, on the processor")
    parser.add_argument("--no-tests", dest="tests", action="store_false", help="the table alone")
    choices = parser.parse_args(arguments)
    began = time.monotonic()
    os.environ["RECURRA_GPU"] = "1"
    from_the_checkout()
    if choices.dry:
        os.environ["TRITON_INTERPRET"] = "1"

        sys.path.append(str(HERE.parent / "tests"))
        importlib.import_module("interpreted").round_as_a_device()

    import torch

    from recurra.errors import EnvironmentFailure

    if not choices.dry and not torch.cuda.is_available():
        fix = "Run this on a machine that has one, or with --dry, which tests the script on the processor"
        print(EnvironmentFailure("There is no CUDA device here", fix=fix), file=sys.stderr)
        return EnvironmentFailure.exit_code
    tests = tested() if choices.tests and not choices.dry else {}
    choices.out.mkdir(parents=True, exist_ok=True)
    with (choices.out / "gpu.jsonl").open("w", encoding="utf-8") as file:

        def keep(line: Mapping[str, Any]) -> None:
            file.write(json.dumps(line) + "\n")
            file.flush()

        about = {"tests": tests, "dry": choices.dry, "date": time.strftime("%F"), "torch": torch.__version__}
        if any("not done" in said for said in tests.values()):
            keep(about)
            print(f"A test did not end, so nothing is timed: {tests}", file=sys.stderr)
            return 1
        results = _timed(choices, began, about, keep)
    text = "\n".join([*(f"- {key}: {value}" for key, value in about.items()), "", table(results), ""])
    (choices.out / "gpu.md").write_text(text, encoding="utf-8")
    print(text)
    return 1 if any("failed" in one for row in results for one in row["figures"]) else 0


def _timed(choices: Any, began: float, about: dict[str, Any], keep: Any) -> list[dict[str, Any]]:
    """Every row that there is time for; `about` gets the machine's rates."""
    import torch

    import gpu_timing
    from gpu_rows import rows

    device = torch.device("cpu" if choices.dry else "cuda")
    about["device"] = torch.cuda.get_device_name() if device.type == "cuda" else "the processor, dry"
    about["rates"] = gpu_timing.rates(device, 64 if choices.dry else SIDE)
    keep(about)
    results: list[dict[str, Any]] = []
    for name, made in rows(choices.dry):
        if not re.search(choices.only, name):
            continue
        if time.monotonic() - began > choices.seconds:
            about["left out from"] = name
            break
        try:
            figures = gpu_timing.figures(made(device), about["rates"], device, 1 if choices.dry else gpu_timing.ROUNDS)
        except Exception as error:  # a row that fails is told in the table, and the others go on
            figures = [{"contestant": "", "failed": f"{type(error).__name__}: {error}"[:200]}]
        results.append({"row": name, "figures": figures})
        keep(results[-1])
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return results


if __name__ == "__main__":
    sys.exit(main())
