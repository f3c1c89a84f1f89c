"""The benchmark: ours against torch.nn and ONNX Runtime on this machine. It times nothing whose tests fail.

python benchmarks/run.py                      # everything; the table goes to stdout, the rest to build/bench
python benchmarks/run.py --quick --only gru   # a look
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rows import Row, rows

ROOT = Path(__file__).parent.parent
OUT = ROOT / "build" / "bench"
TESTS = ("tests/test_kernels.py", "tests/test_native.py", "tests/test_native_values.py")
OF_MODULES = ("tests/test_nn_oracle.py", "tests/test_nn_lengths.py", "tests/test_nn_short.py")
OF_OPTIONS = ("tests/test_options.py", "tests/test_nn_options.py", "tests/test_native_programs.py")
MORE_TESTS = {
    **dict.fromkeys(("module", "packed", "module-step", "cell", "cell-step"), OF_MODULES),
    **dict.fromkeys(("norm", "dropout", "trace"), OF_OPTIONS),
    "penalty": ("tests/test_second_derivatives.py",),
    "own": ("tests/test_own_cell.py", "tests/test_native_programs.py"),
    **dict.fromkeys(("recompute", "recompute-memory"), ("tests/test_recompute.py",)),
}
QUIET = 0.03  # the part of the machine that others may take
BUSY = "BUSY MACHINE: other programs took {:.0%} of it, so these ratios mean nothing. Measure again when it is quiet."
UNVERIFIED = "NOT VERIFIED: the kernel tests were not run, so these numbers may belong to wrong results."


def main() -> int:
    choices = _choices()
    chosen = rows(choices.quick, choices.only)
    if choices.list:
        print("\n".join(row.name for row in chosen))
        return 0
    if not chosen:
        print(f"No row matches {choices.only!r}; --list names them.", file=sys.stderr)
        return 2
    if choices.verify and not _verified(chosen):
        print(
            "The kernel tests fail, so nothing is timed. (--no-verify times anyway, while developing.)", file=sys.stderr
        )
        return 1
    # before torch is imported: it and its libraries look here once
    os.environ["OMP_NUM_THREADS"] = str(choices.threads)
    return _measure(choices, chosen)


def _choices() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few rows, medians of 5")
    parser.add_argument(
        "--threads", type=int, default=_cores(), help="threads of each contestant; all cores if left out"
    )
    parser.add_argument("--only", metavar="PATTERN", help="a regular expression that the name of a row must match")
    parser.add_argument("--text", default="", metavar="FILE", help="a text for `recurra fit`; generated if left out")
    parser.add_argument("--rounds", type=int, default=0, help="samples of each contestant; 9, or 5 with --quick")
    parser.add_argument("--out", type=Path, default=OUT, help="folder for the JSON file and the chart; build/bench")
    parser.add_argument("--no-verify", dest="verify", action="store_false", help="while developing: skip the tests")
    parser.add_argument("--list", action="store_true", help="print the names of the rows and end")
    choices = parser.parse_args()
    if choices.threads < 1 or choices.rounds < 0:
        parser.error("--threads and --rounds are whole numbers above zero")
    if choices.text and not Path(choices.text).is_file():
        parser.error(f"there is no file {choices.text}")
    try:
        re.compile(choices.only or "")
    except re.error as error:
        parser.error(f"--only is no regular expression: {error}")
    return choices


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _verified(chosen: list[Row]) -> bool:
    more = [test for row in chosen for test in MORE_TESTS.get(row.kind, ())]
    command = [sys.executable, "-m", "pytest", "-q", *dict.fromkeys([*TESTS, *more])]
    return subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=False).returncode == 0


def _measure(choices: argparse.Namespace, chosen: list[Row]) -> int:
    import torch

    import chart
    import fits
    import machine
    import memory
    import modules
    import options
    import own_cells
    import recompute
    import report
    import sequences
    import steps
    from results import Result, Settings

    torch.set_num_threads(choices.threads)
    settings = Settings(choices.rounds or (5 if choices.quick else 9), choices.threads, choices.quick, choices.text)
    measures: dict[str, Callable[[Row, Settings], Result]] = {
        "sequence": sequences.sequence,
        "ragged": sequences.ragged,
        "resets": sequences.resets,
        "step": steps.step,
        "session": steps.session,
        "many": steps.many,
        "memory": memory.memory,
        "fit": fits.fit,
        "module": modules.module,
        "packed": modules.packed,
        "module-step": modules.module_step,
        "cell": modules.cell,
        "cell-step": modules.cell_step,
        "penalty": modules.penalty,
        "norm": options.option,
        "dropout": options.option,
        "trace": options.option,
        "own": own_cells.own,
        "recompute": recompute.recompute,
        "recompute-memory": recompute.recompute_memory,
    }
    about = {**machine.record(choices.threads), "rounds": settings.rounds, "verified": choices.verify}
    about["before"] = machine.ceilings()
    started, results, all_along = time.monotonic(), [], machine.Others()
    for place, row in enumerate(chosen, 1):
        print(f"[{place}/{len(chosen)}, {time.monotonic() - started:.0f} s] {row.name}", file=sys.stderr)
        others = machine.Others()
        results.append(measures[row.kind](row, settings))
        results[-1].others = others.share()
    about["after"], about["seconds"] = machine.ceilings(), round(time.monotonic() - started)
    about["others"] = all_along.share()

    warnings = [] if choices.verify else [UNVERIFIED]
    if about["others"] is not None and about["others"] > QUIET:
        warnings.append(BUSY.format(about["others"]))
    for warning in warnings:
        print(f"{'!' * len(warning)}\n{warning}\n{'!' * len(warning)}\n")
    report.show(results, about)
    choices.out.mkdir(parents=True, exist_ok=True)
    report.write(choices.out / "bench.json", results, about)
    title = f"Recurra {about['recurra']} and torch {about['torch']}, {about['processor']}, threads: {choices.threads}"
    pictures = chart.draw(choices.out / "bench", results, "\n".join([title, *warnings]))
    print("\n" + "  ".join(str(path) for path in [choices.out / "bench.json", *pictures]))
    for warning in warnings:
        print(f"\n{warning}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
