"""What a step of training costs, by the length of a chunk and by the rows of a batch: linear until the machine is full.

python benchmarks/cost.py --out docs/cost.svg     # the table goes to stdout, the chart to the file
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

LENGTHS, ROWS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096), (1, 2, 4, 8, 16, 32, 64, 128, 256)
FIXED_ROWS, FIXED_LENGTH = 8, 64
CELLS = ("elman", "gru", "lstm")
HIDDEN, VOCABULARY = 256, 65


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/bench/cost.svg"), help="file for the chart")
    parser.add_argument("--rounds", type=int, default=5)
    choices = parser.parse_args()
    # processor time of one thread: what other programs do does not count
    os.environ["OMP_NUM_THREADS"] = "1"
    found = {cell: _measured(cell, choices.rounds) for cell in CELLS}
    print("GRU, LSTM and Elman 1x256, 65 symbols, float32, one thread: processor time of a training step")
    for cell, (by_length, by_rows) in found.items():
        rows = [(FIXED_ROWS, steps, seconds) for steps, seconds in by_length.items()]
        rows += [(rows_, FIXED_LENGTH, seconds) for rows_, seconds in by_rows.items()]
        for batch, steps, seconds in rows:
            each = 1e6 * seconds / (batch * steps)
            print(f"{cell:6} {batch:4} rows {steps:5} steps {1e3 * seconds:9.2f} ms {each:7.2f} us a token")
    choices.out.parent.mkdir(parents=True, exist_ok=True)
    _draw(found, choices.out)
    print(f"chart: {choices.out}", file=sys.stderr)
    return 0


def _measured(cell: str, rounds: int) -> tuple[dict[int, float], dict[int, float]]:
    import torch

    from recurra.data.text_codec import TextCodec
    from recurra.layers import StackConfig
    from recurra.models import LanguageModel, LanguageModelConfig

    codec = TextCodec.learn(["".join(chr(0x4E00 + place) for place in range(VOCABULARY - 1))])
    config = LanguageModelConfig(stack=StackConfig(cell=cell, hidden=HIDDEN), vocabulary=VOCABULARY, tied=False)
    task = LanguageModel(config, codec).train()

    def cost(rows: int, steps: int) -> float:
        from recurra.data.batches import Batch

        tokens = torch.randint(0, VOCABULARY, (rows, steps + 1))
        batch: Any = Batch(tokens[:, :-1], tokens[:, 1:])
        spent = []
        for _ in range(rounds + 1):
            began = time.process_time()
            task.zero_grad()
            task.step_loss(batch)[0].backward()
            spent.append(time.process_time() - began)
        return median(spent[1:])

    return {steps: cost(FIXED_ROWS, steps) for steps in LENGTHS}, {rows: cost(rows, FIXED_LENGTH) for rows in ROWS}


def _draw(found: dict[str, tuple[dict[int, float], dict[int, float]]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), sharey=True)
    titles = (f"by the length of a chunk, {FIXED_ROWS} rows", f"by the rows of a batch, {FIXED_LENGTH} steps")
    for side, (axis, title) in enumerate(zip(axes, titles, strict=True)):
        for cell, curves in found.items():
            axis.plot(list(curves[side]), [1e3 * value for value in curves[side].values()], marker="o", label=cell)
        first, last = min(found["gru"][side]), max(found["gru"][side])
        top = 1e3 * found["gru"][side][last]
        axis.plot([first, last], [top * first / last, top], color="grey", linestyle=":", label="proportional")
        axis.set(xscale="log", yscale="log", title=title, xlabel=("steps", "rows")[side])
        axis.xaxis.set_major_formatter("{x:g}")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("milliseconds of one core")
    axes[0].legend()
    figure.suptitle("A training step of a language model, 256 units")
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    sys.exit(main())
