"""The first part of a run's minutes: candidates are trained briefly, and validation chooses what the rest goes into.

What a person has fixed is no candidate; which there are the kind of task knows (`Kind.candidates`). The trials stand in the
run's position, so a run that is stopped goes on after the last of them, and one that goes on later does not choose again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from recurra.data.datasets import Dataset
from recurra.errors import DataError, UsageError, lacks_memory
from recurra.fitting.halving import Halving, Tried
from recurra.fitting.kinds.kind import Kind
from recurra.fitting.options import FitOptions, typed
from recurra.progress import Progress
from recurra.training import Event, Position, Workers, train

SHARE = 0.25
"""The part of the minutes that choosing takes, at the most."""
LEAST = 2.0
"""Seconds of training from which on a trial tells anything."""
LOOKS = 3
"""Validations of a trial."""


@dataclass(frozen=True)
class Choice:
    """What there is to choose among, and how: `candidates` are options, the usual ones (none) first.

    `slow` are the numbers of those of which a brief trial tells nothing.
    """

    candidates: Sequence[Mapping[str, Any]]
    metric: str
    margin: float
    halving: Halving
    slow: frozenset[int] = frozenset()

    def chosen(self, trials: Sequence[Tried]) -> Mapping[str, Any]:
        """The options of the winner."""
        return self.candidates[self._winner(trials)]

    def _winner(self, trials: Sequence[Tried]) -> int:
        return self.halving.winner(trials, self.margin, self.slow)

    def as_dict(self, trials: Sequence[Tried]) -> dict[str, Any]:
        """For the record: the winner, and each trial with its figure."""
        return {
            "metric": self.metric,
            "chosen": dict(self.chosen(trials)),
            "margin": round(self.margin, 4),
            "seconds": round(sum(one.seconds for one in trials), 1),
            "trials": [{**asdict(one), "options": dict(self.candidates[one.candidate])} for one in trials],
            "sentence": self.sentence(trials),
        }

    def sentence(self, trials: Sequence[Tried]) -> str:
        """What was chosen, in words."""
        winner = self._winner(trials)
        values = {one.candidate: one.value for one in trials}
        seconds = sum(one.seconds for one in trials)
        begin = f"Chosen by validation ({self.metric}) among {len(values)} in {seconds:.0f} s"
        usual = _figure(values.get(0))
        others = {number: value for number, value in values.items() if number and value is not None}
        if winner:
            return (
                f"{begin}: {in_words(self.candidates[winner])}, {_figure(values[winner])}; the usual recipe: {usual}."
            )
        best = min(others, key=lambda number: others[number], default=0)
        nearest = f"; next: {in_words(self.candidates[best])}, {_figure(values[best])}" if best else ""
        brief = best in self.slow and not any(one.whole for one in trials if one.candidate == best)
        why = ", too briefly trained to be compared" if brief else ""
        return f"{begin}: the usual recipe, {usual}{nearest}{why}."


def choice_of(kind: Kind[Any, Any], training: Dataset, valid: Dataset, options: FitOptions) -> Choice | None:
    """What there is to choose for a run with these options; None where all is fixed, or time is short."""
    if options.minutes is None:
        return None
    candidates = [{}, *kind.candidates(training, options)]
    halving = Halving(len(candidates), SHARE * 60 * options.minutes, LEAST)
    if not halving.sizes:
        return None
    slow = frozenset(number for number, chosen in enumerate(candidates) if chosen.keys() & kind.slow)
    return Choice(candidates, kind.compared_by, kind.margin(valid), halving, slow)


@dataclass
class Chooser:
    """One search, in one process of those that share the work: all of them make the same trials."""

    kind: Kind[Any, Any]
    training: Dataset
    valid: Dataset
    options: FitOptions
    device: torch.device
    team: Workers
    keep: Callable[[Position], None]
    stop: Callable[[], bool]
    quiet: bool

    def go(self, choice: Choice, position: Position) -> bool:
        """Make the trials that `position` lacks, and keep it after each; False where the person stopped."""
        assert self.options.minutes is not None
        trials = trials_of(position)
        following = choice.halving.following(trials)
        if following is None or position.step:
            return True
        whole = 60 * self.options.minutes
        with Progress(quiet=self.quiet) as talk:
            begun = f", going on after {len(trials)} trials" if trials else ""
            talk.note(f"choosing among {choice.halving.sizes[0]} by validation, {choice.metric}{begun}")
            while following is not None:
                candidate, number, seconds = following
                spent = sum(one.seconds for one in trials)

                def show(event: Event, done: float, spent: float = spent, seconds: float = seconds) -> None:
                    talk.update(event["step"], (spent + done * seconds) / whole, loss=event.get("loss"))

                tried = self._tried(choice, candidate, number, seconds, show)
                if tried is None:
                    return False
                trials = [*trials, tried]
                position.choice = [asdict(one) for one in trials]
                position.seconds = sum(one.seconds for one in trials)
                self.keep(position)
                told = f"failed: {tried.trouble}" if tried.value is None else _figure(tried.value)
                talk.note(f"  {in_words(choice.candidates[candidate])}: {told}, {tried.seconds:.0f} s")
                # a trial may have ended before it saw the wish
                if self.team.agreed([float(self.stop())])[0]:
                    return False
                following = choice.halving.following(trials)
            talk.note(choice.sentence(trials))
        return True

    def _tried(
        self, choice: Choice, candidate: int, number: int, seconds: float, show: Callable[[Event, float], None]
    ) -> Tried | None:
        """Train a candidate for so many seconds; None where the person stopped it."""
        began = time.monotonic()
        value, whole, trouble = None, False, None
        try:
            outcome = self._train(choice.candidates[candidate], seconds, began, show)
            if outcome is None:
                return None
            metrics, whole = outcome
            value = self.kind.compared(metrics)
        except (DataError, UsageError) as error:
            # the usual recipe has no other to give way to, and says what is wrong with the data
            if candidate == 0:
                raise
            trouble = str(error)
        except (MemoryError, RuntimeError) as error:
            if candidate == 0 or not lacks_memory(error):
                raise
            trouble = "out of memory"
        (spent,) = self.team.agreed([time.monotonic() - began])
        return Tried(candidate, number, value, round(spent, 2), whole, trouble)

    def _train(
        self, chosen: Mapping[str, Any], seconds: float, began: float, show: Callable[[Event, float], None]
    ) -> tuple[dict[str, float], bool] | None:
        """(the metrics of the best validation, whether the training came to its own end)."""
        options = self.options.model_copy(update=dict(chosen))
        torch.manual_seed(options.seed)
        task, recipe = self.kind.build(self.training, options)
        task = task.to(self.device)
        feed = task.feed(self.training, rows=recipe.rows, steps=recipe.steps, training=True, seed=recipe.seed)
        watched = task.feed(self.kind.part(self.valid), rows=32, steps=512, training=False)
        # what it took to build is the candidate's own cost, but for half of its time it trains at the least
        (left,) = self.team.agreed([max(seconds / 2, seconds - (time.monotonic() - began))])
        recipe = recipe.model_copy(update={"minutes": left / 60, "evaluations": LOOKS})
        outcome = train(task, feed, watched, recipe, stop=self.stop, on_step=show, workers=self.team)
        if not outcome.finished:
            return None
        position, epochs = outcome.position, recipe.epochs
        assert position.best is not None
        return position.best, epochs is not None and position.step >= epochs * len(feed)


def trials_of(position: Position) -> list[Tried]:
    """The trials that a position tells of."""
    return [Tried(**one) for one in position.choice]


def in_words(chosen: Mapping[str, Any]) -> str:
    """Options as a person would type them."""
    return " ".join(f"{typed(name, value)} {value}" for name, value in chosen.items()) or "the usual recipe"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
