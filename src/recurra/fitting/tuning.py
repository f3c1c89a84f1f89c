"""`tune`: options searched on validation data, the minutes shared out, and an honest look at whether that helped."""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from recurra.data.datasets import Dataset
from recurra.errors import DataError, Interrupted, UsageError
from recurra.files import sole_writer
from recurra.fitting.asking import Asked, Asker
from recurra.fitting.comparing import Comparison, compare_on
from recurra.fitting.devices import chosen_device
from recurra.fitting.fitted import Model, load
from recurra.fitting.kinds import kind_of
from recurra.fitting.kinds.kind import Kind
from recurra.fitting.options import FitOptions
from recurra.fitting.sets import digest, gather, settled
from recurra.fitting.stopping import Stopping
from recurra.fitting.telling import same_again
from recurra.fitting.trials import Study, Trial
from recurra.inspection.measures import plural
from recurra.models import Task
from recurra.progress import Progress, duration, passes_shown
from recurra.training import Event, train

TRIALS = 10
"""Trials of full length that the minutes are shared among; as many more as are stopped early fit in."""
OWN = ("minutes", "epochs", "baselines", "tensorboard", "checkpoint_every")
"""Choices of `fit` that a search makes itself, or has no use for."""


@dataclass(frozen=True)
class Tuned:
    """What a search found. `best` and `default` are trials, `model` that of the best, `folder` the folder of the search.

    `comparison` measures both on data that neither was trained on or chosen by; it is None where the default is the best.
    `verdict` says in words what came of it, `beats_default` whether more than luck speaks for it, and `command` fits a model
    with what was found.
    """

    model: Model
    folder: Path
    metric: str
    best: Trial
    default: Trial
    trials: list[Trial]
    comparison: Comparison | None
    beats_default: bool
    verdict: str
    command: str

    def as_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "kind": self.model.kind,
            "out": str(self.folder),
            "model": str(self.model.folder),
            "metric": self.metric,
            "best": self.best.model_dump(mode="json"),
            "default": self.default.model_dump(mode="json"),
            "beats_default": self.beats_default,
            "verdict": self.verdict,
            "comparison": None if self.comparison is None else self.comparison.as_dict(),
            "command": self.command,
            "trials": [trial.model_dump(mode="json") for trial in self.trials],
        }


def tune(
    data: Any,
    *,
    minutes: float,
    trials: int = TRIALS,
    valid: Any = None,
    out: str | Path | None = None,
    fresh: bool = False,
    quiet: bool = False,
    **choices: Any,
) -> Tuned:
    """Search for options of `fit` that suit `data`, by the validation set, in so many minutes.

    Arguments:
    - data, valid: as for `fit`. A part of the training data is held back from all trials for the last look.
    - minutes: for all trials together; each is trained for a `trials`-th of them, and stopped where it falls behind. The
      first is the default. What is measured at the end comes on top.
    - out: the folder of the search; `DATA-tuned` if left out. A search that was stopped goes on there.
    - choices: options of `fit`. What is chosen is not searched.

    Raises `EnvironmentFailure` without optuna, `UsageError` for choices that make no sense, `Interrupted` on Ctrl-C (the
    trials so far are kept), and what `fit` raises for the data.
    """
    _check(minutes, trials, choices)
    share = minutes / trials
    options = FitOptions.from_user(**choices, minutes=share)
    with passes_shown(not quiet):
        sets = gather(data, valid, None, options)
        options, told = settled(sets, options)
        kind = kind_of(sets.train)
        kind.check(options)
        torch.manual_seed(options.seed)
        train_on, look = kind.split(sets.train, options.seed + 1)
        task, recipe = kind.build(train_on, options)
    space = tuple(span for span in kind.space(train_on, task, recipe) if span.name not in choices)
    if not space:
        raise UsageError("There is nothing left to search", got="every option chosen", fix="Leave some out")
    metric, more_is_better = kind.aim(task)
    asker = Asker(space, options.seed, more_is_better)
    folder = Path(out) if out is not None else Path(f"{_stem(data)}-tuned")
    arguments = {**options.deciding(), "data": digest(sets), "trials": trials}
    with sole_writer(folder), passes_shown(not quiet), Stopping() as stop:
        study = Study(folder, arguments, space, fresh)
        with Progress(unit="trials", quiet=quiet) as talk:
            for sentence in (*sets.guess, *told, *(f"note: {problem.message}" for problem in sets.problems)):
                talk.note(sentence)
            if study.trials:
                talk.note(f"going on after {len(study.trials)} trials")
            parts = {"train": train_on, "valid": sets.valid}
            search = _Search(kind, parts, options, study, asker, (metric, more_is_better), stop, talk, 60 * minutes)
            search.go(60 * share)
        best = search.best()
        study.keep_only([0, best.number])
        study.clear()
        command = same_again(data, {"valid": valid}, options.model_copy(update=best.chosen))
        return _result(study, best, metric, look, command, quiet)


def _check(minutes: Any, trials: Any, choices: Mapping[str, Any]) -> None:
    if not isinstance(minutes, int | float) or isinstance(minutes, bool) or not 0 < minutes < 1e6:
        raise UsageError("Setting 'minutes' is wrong", got=repr(minutes), expected="a number above 0")
    if type(trials) is not int or not 2 <= trials <= 10_000:
        raise UsageError("Setting 'trials' is wrong", got=repr(trials), expected="2 or more")
    for name in (*OWN, "test"):
        if name in choices:
            raise UsageError(f"A search has no '{name}'", fix="Leave it out, and fit with what was found")


class _Search:
    """Trials one after another: the default first."""

    def __init__(
        self, kind: Kind[Any, Any], parts: Mapping[str, Dataset], options: FitOptions, study: Study, asker: Asker,
        aim: tuple[str, bool], stop: Stopping, talk: Progress, seconds: float,
    ) -> None:  # fmt: skip
        self._kind, self._parts, self._options, self._study, self._asker = kind, parts, options, study, asker
        self._metric, self._more_is_better = aim
        self._stop, self._talk, self._seconds = stop, talk, seconds

    def go(self, share: float) -> None:
        """Make trials while there is time for another one of full length; two at least."""
        study = self._study
        while len(study.trials) < 2 or study.seconds + share <= self._seconds:
            asked = self._asker.ask(study.trials) if study.trials else None
            trial = None if self._stop() else self._trial(asked)
            if trial is None:
                raise self._stopped()
            study.add(trial)
            study.keep_only([0, self.best().number])
            self._talk.note(self._told(trial))

    def best(self) -> Trial:
        """The best of the trials that were trained to their end; the earlier of equals."""
        complete = [trial for trial in self._study.trials if trial.state == "complete"]
        return min(complete, key=lambda trial: self._rank(trial.value))

    def _rank(self, value: float | None) -> float:
        assert value is not None
        return -value if self._more_is_better else value

    def _trial(self, asked: Asked | None) -> Trial | None:
        """Train one; None where the person stopped it. The default may fail, the others are told as failed."""
        number, chosen = len(self._study.trials), {} if asked is None else asked.chosen
        began = time.monotonic()
        history: list[float] = []
        try:
            state, value = self._train(number, self._options.model_copy(update=chosen), asked, history, began)
            trouble = None
        except (DataError, UsageError) as error:
            if asked is None:
                raise
            state, value, trouble = "failed", None, str(error)
        if state == "stopped":
            return None
        return Trial.model_validate(
            {
                "number": number, "chosen": chosen, "state": state, "value": value, "history": history,
                "seconds": round(time.monotonic() - began, 2), "trouble": trouble,
            }
        )  # fmt: skip

    def _train(
        self, number: int, options: FitOptions, asked: Asked | None, history: list[float], began: float
    ) -> tuple[str, float | None]:
        """How the training of a trial ended, and the metric it reached; a best model goes into the folder."""
        kind, train_on, valid = self._kind, self._parts["train"], self._parts["valid"]
        torch.manual_seed(options.seed)
        task, recipe = kind.build(train_on, options)
        task = task.to(chosen_device(options.device))
        feed = task.feed(
            train_on, rows=recipe.rows, steps=recipe.steps, training=True, seed=recipe.seed, store=self._study.store
        )
        watched = task.feed(kind.part(valid), rows=32, steps=512, training=False)
        best: dict[str, Any] = {}
        behind = False

        def on_step(event: Event, done: float) -> None:
            nonlocal behind
            spent = self._study.seconds + time.monotonic() - began
            self._talk.update(event["step"], spent / self._seconds, loss=event.get("loss"))
            if "valid" in event:
                history.append(float(event["valid"][self._metric]))
                if event["best"]:
                    best["metrics"] = event["valid"]
                behind = asked is not None and done < 1 and asked.is_behind(history[-1], len(history))

        def on_best() -> None:
            best["weights"] = {name: value.clone() for name, value in task.state_dict().items()}

        outcome = train(
            task, feed, watched, recipe, stop=lambda: behind or self._stop(), on_step=on_step, on_best=on_best
        )
        if not outcome.finished:
            return "pruned" if behind and not self._stop() else "stopped", min(history, key=self._rank, default=None)
        task.load_state_dict(best["weights"])
        others = [trial.value for trial in self._study.trials if trial.state == "complete"]
        value = float(best["metrics"][self._metric])
        if number == 0 or self._rank(value) < min(map(self._rank, others)):
            kind.finish(task.cpu(), valid)
            self._study.save(number, task, self._record(task, options, best["metrics"], outcome.position.seconds))
        return "complete", value

    def _record(self, task: Task, options: FitOptions, metrics: Mapping[str, float], seconds: float) -> dict[str, Any]:
        from recurra import __version__

        return {
            "kind": task.kind,
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "version": __version__,
            "seconds": round(seconds, 1),
            "model": task.summary(),
            "metrics": {"valid": dict(metrics)},
            "data": {"name": self._parts["train"].name},
            "chosen": options.model_dump(exclude_defaults=True),
        }

    def _told(self, trial: Trial) -> str:
        chosen = ", ".join(f"{name} {_short(value)}" for name, value in trial.chosen.items()) or "the default"
        value = "-" if trial.value is None else f"{trial.value:.4f}"
        first = " (best so far)" if trial.number == self.best().number else ""
        how = {"complete": "", "pruned": " (stopped: behind the others)", "failed": f" (failed: {trial.trouble})"}
        return f"trial {trial.number}: {self._metric} {value}, {duration(trial.seconds)}, {chosen}{how[trial.state]}{first}"

    def _stopped(self) -> Interrupted:
        study = self._study
        if not study.trials:
            return Interrupted("Stopped in the first trial; nothing is known yet", fix="The same command starts again")
        best = self.best()
        kept = f"{plural(len(study.trials), 'trial')} kept in {study.folder}"
        return Interrupted(
            f"Stopped; {kept}, the best so far is trial {best.number} with "
            f"{self._metric} {best.value:.4f}, its model in {study.model(best.number)}",
            fix="The same command goes on",
        )


def _result(study: Study, best: Trial, metric: str, look: Dataset, command: str, quiet: bool) -> Tuned:
    default = study.trials[0]
    model = load(study.model(best.number))
    comparison, beats = None, False
    if best.number == 0:
        verdict = "It does not beat the default: no trial was better than it on the validation data."
    else:
        names = ["the default", f"trial {best.number}"]
        comparison = compare_on(look, names, [load(study.model(0)), model], [], quiet=quiet)
        verdict, beats = _verdict(comparison, names)
    return Tuned(
        model, study.folder, metric, best, default, list(study.trials), comparison, beats, verdict, command
    )  # fmt: skip


def _verdict(comparison: Comparison, names: list[str]) -> tuple[str, bool]:
    """In words, and whether more than luck speaks for the best trial, on data that neither model was chosen by."""
    first, second = comparison.models
    metric = comparison.metric
    figures = f"{metric} {first.metrics[metric].value:.4f} and {second.metrics[metric].value:.4f}"
    where = f"On {plural(comparison.rows, 'block' if comparison.unit == 'characters' else 'row')} that neither was chosen by"
    if comparison.rows < 2:
        return f"Whether it beats the default cannot be told of so little. {where}: {figures}.", False
    if first.name == names[0]:
        return f"It does not beat the default. {where}, the default is ahead: {figures}.", False
    if "can be luck" in second.verdict:
        return f"It is ahead of the default, but that can be luck. {where}: {figures}.", False
    return f"It beats the default. {where}: {figures}.", True


def _short(value: Any) -> str:
    if value is None:
        return "left out"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _stem(data: Any) -> str:
    stem = Path(data).name.split(".")[0] if isinstance(data, (str, Path)) else ""
    return "".join(character if character.isprintable() else "_" for character in stem) or "recurra"
