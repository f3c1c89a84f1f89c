"""Exponential smoothing: the native loop against the same equations step by step in torch.

`python benchmarks/smoothing.py [--steps 512] [--batch 16] [--seasons 24 168] [--rounds 9]`: a training pass (values and the
gradients of all that is given) and the values alone, one thread, in turns in one process.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import torch
from torch import Tensor

from recurra import kernels
from recurra.kernels.smoothing import by_reference
from timing import interleaved, paired, spread


def run(loop: Any, y: Tensor, level: Tensor, rings: list[Tensor], shares: list[Tensor], train: bool) -> object:
    with torch.set_grad_enabled(train):
        results = loop(y, level, rings, shares[0], shares[1:], None)
        if train:
            return torch.autograd.grad(results, [y, level, *rings, *shares], [torch.ones_like(one) for one in results])
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=512)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seasons", type=int, nargs="*", default=[24, 168])
    parser.add_argument("--rounds", type=int, default=9)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    steps, batch = chosen.steps, chosen.batch
    print(f"{steps} steps, {batch} rows, seasons {chosen.seasons}, float32, {kernels.instruction_set()}")
    for train in (True, False):
        rings = [torch.randn(batch, size).requires_grad_(train) for size in chosen.seasons]
        shares = [torch.rand(steps, batch).requires_grad_(train) for _ in range(1 + len(rings))]
        y, level = (torch.randn(*shape).requires_grad_(train) for shape in ((steps, batch), (batch,)))
        loops = {"native": torch.ops.recurra.smoothing.default, "torch": by_reference}
        calls = {name: partial(run, loop, y, level, rings, shares, train) for name, loop in loops.items()}
        samples = interleaved(calls, chosen.rounds)
        times = ", ".join(f"{name} {spread(taken).median * 1e3:.3f} ms" for name, taken in samples.items())
        ratio = paired(samples["torch"], samples["native"]).median
        print(f"{'values and gradients' if train else 'values'}: {times}, {ratio:.0f} times faster")


if __name__ == "__main__":
    main()
