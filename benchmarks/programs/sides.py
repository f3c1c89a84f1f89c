"""What the programs here share: one training run with torch's modules and with ours, in turns, compared and timed.

It knows runs, losses and seconds, and nothing of any program.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import recurra.nn as ours

sys.path.append(str(Path(__file__).parents[1]))
from machine import Others, record
from timing import interleaved, paired

EARLY = 5
"""Losses that are compared tightly: rounding of single precision has not had time to grow."""


@dataclass
class Outcome:
    """What one run gave: the loss of every step, predictions, final weights, and the seconds of its parts."""

    losses: list[float]
    predictions: Tensor
    weights: Tensor
    seconds: dict[str, float] = field(default_factory=dict[str, float])


Run = Callable[[], Outcome]


def need(package: str, install: str) -> None:
    """Leave with a message where the program is not installed."""
    try:
        importlib.import_module(package)
    except ImportError as error:
        sys.exit(
            f"{package} cannot be imported ({error}).\n"
            f"These programs are no part of Recurra. Install it beside Recurra in an environment of its own:\n"
            f"    pip install {install}"
        )


class Clock:
    """`with clock("part"):` adds up the seconds of a part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        self.seconds.setdefault(part, 0.0)  # in the order of beginning
        started = time.perf_counter()
        yield
        self.seconds[part] += time.perf_counter() - started


def weights_of(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def show(title: str, runs: Mapping[str, Run], *, most_calls: int = 80) -> None:
    """Run every way in turns, print what differs from the first one, "torch", and the times. Options: --threads, --rounds."""
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default: what torch uses")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    others = Others()

    calls: list[Call] = []
    with recorded(calls, most_calls):
        runs["torch"]()  # also warms up
    with_other_threads = _at_other_threads(runs["torch"], options.threads)
    found = {name: [] for name in runs}
    for turn in range(options.rounds):
        names = list(runs)
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            found[name].append(runs[name]())

    truth = found["torch"][0]
    print(f"\n{'largest difference from torch':44} early loss  any loss  predictions  weights")
    again = {"torch, another round": found["torch"][-1]} if options.rounds > 1 else {}
    ways = {name: outcomes[0] for name, outcomes in found.items() if name != "torch"}
    for name, outcome in {**again, "torch, another number of threads": with_other_threads, **ways}.items():
        early, late = (_apart(truth.losses[:n], outcome.losses[:n]) for n in (EARLY, None))
        predictions, weights = (
            float((a.double() - b.double()).abs().max())
            for a, b in ((truth.predictions, outcome.predictions), (truth.weights, outcome.weights))
        )
        print(f"{name:44} {early:10.1e} {late:9.1e} {predictions:12.1e} {weights:8.1e}")
    print(f"({len(truth.losses)} losses, relative, the first {EARLY} early; predictions and weights absolute)")

    print("\nseconds, medians; how many times as fast as torch in the same round: median (quartiles)")
    for part in truth.seconds:
        taken = {name: [outcome.seconds[part] for outcome in outcomes] for name, outcomes in found.items()}
        print(f"{part:44} {_times(taken)}")
    _alone(calls, options.rounds)
    where = ", ".join(f"{name} {value}" for name, value in record(options.threads).items())
    print(f"\n{title}; {options.rounds} rounds; {where}")
    print(f"other programs took {others.share() or 0.0:.0%} of the processors")


def _times(taken: Mapping[str, Sequence[float]]) -> str:
    torchs = list(taken["torch"])
    parts = [f"torch {statistics.median(torchs):.3g}"]
    for name, values in taken.items():
        if name != "torch":
            parts.append(f"{name} {statistics.median(values):.3g}: {paired(torchs, list(values))}")
    return "; ".join(parts)


def _apart(one: Sequence[float], other: Sequence[float]) -> float:
    """The largest relative difference."""
    return max(abs(a - b) / max(abs(a), 1e-12) for a, b in zip(one, other, strict=True))


def _at_other_threads(run: Run, threads: int) -> Outcome:
    """torch against itself: how far rounding alone takes such a run."""
    torch.set_num_threads(1 if threads > 1 else 2)
    try:
        return run()
    finally:
        torch.set_num_threads(threads)


# ---- the recurrent modules alone: the very calls that the program made, again, without the program


@dataclass
class Call:
    module: nn.Module
    args: tuple[Any, ...]
    gradient: bool
    training: bool


@contextmanager
def recorded(into: list[Call], most: int) -> Iterator[None]:
    """Collects calls of recurrent modules, up to so many with a gradient and so many without."""
    left = {True: most, False: most}

    def see(module: nn.Module, args: tuple[Any, ...]) -> None:
        gradient = torch.is_grad_enabled()
        if isinstance(module, nn.RNNBase | nn.RNNCellBase) and left[gradient]:
            left[gradient] -= 1
            into.append(Call(module, _mapped(args, torch.clone), gradient, module.training))

    handle = nn.modules.module.register_module_forward_pre_hook(see)
    yield
    handle.remove()


def _mapped(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        gradient = value.requires_grad
        return function(value.detach()).requires_grad_(gradient)
    if isinstance(value, nn.utils.rnn.PackedSequence):
        return value._replace(data=_mapped(value.data, function))
    return tuple(_mapped(one, function) for one in value) if isinstance(value, tuple) else value


def _alone(calls: Sequence[Call], rounds: int) -> None:
    for gradient, what in ((True, "forward and backward"), (False, "forward, no gradient")):
        chosen = [call for call in calls if call.gradient == gradient]
        if not chosen:
            continue
        modules = {id(call.module): copy.deepcopy(call.module) for call in chosen}
        converted = {key: ours.convert(copy.deepcopy(module)) for key, module in modules.items()}
        contestants = {name: partial(_replay, chosen, of) for name, of in (("torch", modules), ("recurra", converted))}
        taken = interleaved(contestants, rounds)
        print(f"{f'{len(chosen)} calls of the modules alone, {what}':44} {_times(taken)}")


def _replay(calls: Sequence[Call], modules: Mapping[int, nn.Module]) -> None:
    for call in calls:
        with torch.set_grad_enabled(call.gradient):
            outputs, _ = modules[id(call.module)].train(call.training)(*call.args)
            if call.gradient:
                data = outputs.data if isinstance(outputs, nn.utils.rnn.PackedSequence) else outputs
                data.sum().backward()


__all__ = ["Clock", "Outcome", "need", "show", "weights_of"]
