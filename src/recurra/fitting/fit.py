"""`fit`: from a person's sequences to a trained model in a folder, with the baselines beside it."""

from __future__ import annotations

import datetime
import json
import shlex
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from recurra.data.batches import Feed
from recurra.data.checking import raise_fatal
from recurra.errors import DataError, EnvironmentFailure, Interrupted, ProcessLost, UsageError
from recurra.files import sole_writer
from recurra.fitting.baselines import Row, compare
from recurra.fitting.choosing import Choice, Chooser, choice_of, trials_of
from recurra.fitting.destination import Destination, free_name
from recurra.fitting.devices import chosen_device
from recurra.fitting.fitted import Model, measure
from recurra.fitting.kinds import KINDS, kind_of
from recurra.fitting.live import telling
from recurra.fitting.options import FitOptions
from recurra.fitting.sets import Sets, digest, gather, settled
from recurra.fitting.stopping import Stopping
from recurra.fitting.telling import next_commands, result_table, same_again
from recurra.inspection import write_card, write_report
from recurra.inspection.measures import plural
from recurra.models import Task, fingerprint, load_model, save_weights
from recurra.progress import Progress, passes_shown
from recurra.training import (
    Found,
    Keeping,
    Outcome,
    Position,
    Recipe,
    Workers,
    packed,
    streamed,
    train,
    unpacked,
    workers,
)


def fit(
    data: Any,
    *,
    valid: Any = None,
    test: Any = None,
    out: str | Path | None = None,
    fresh: bool = False,
    quiet: bool = False,
    **choices: Any,
) -> Model:
    """Train a recurrent network on `data` and keep it in a folder.

    Arguments:
    - data, valid, test: a path (.txt for the next word; .tsv, .csv, .jsonl, .parquet, .npz with inputs and answers), a
      frame of pandas, polars or pyarrow, pairs (input, label), (inputs, labels), or texts. Without `valid` a tenth of the
      data is held back.
    - out: the model folder; made from the name of the data if left out. A run that was stopped goes on where it was when
      the same call is made again; `fresh` starts over and replaces what is there.
    - quiet: say nothing on stderr.
    - choices: the fields of `FitOptions`: task, text, label, cell, hidden, layers, level, minutes, epochs, seed, ...

    Raises `DataError` for data that cannot be used, `UsageError` for choices that make no sense, `Interrupted` on Ctrl-C
    (the best weights so far are kept), `EnvironmentFailure` where the disk refuses.
    """
    if "processes" in choices:
        raise UsageError(
            "From Python one process trains",
            got=f"processes={choices['processes']}",
            fix="Use `recurra fit --processes N`, or start your script with torchrun",
        )
    options = FitOptions.from_user(**choices)
    device = chosen_device(options.device)
    every = options.every()
    with workers(device) as team:
        quiet = quiet or not team.first
        with passes_shown(not quiet):
            sets = gather(data, valid, test, options)
            options, told = settled(sets, options)
            found = digest(sets)
        with Progress(quiet=quiet) as talk:
            for sentence in (*sets.guess, *told):
                talk.note(sentence)
            for problem in sets.problems:
                talk.note(f"note: {problem.message}")
        torch.manual_seed(options.seed)
        with passes_shown(not quiet):
            kind = kind_of(sets.train)
            kind.check(options)
            task, recipe = kind.build(sets.train, options)
            choice = choice_of(kind, sets.train, sets.valid, options)
        folder = Path(out) if out is not None else free_name(_stem(data), fresh)
        arguments = {**options.deciding(), "data": found}
        team.check_same("data or options", json.dumps(arguments, sort_keys=True))
        command = same_again(data, {"valid": valid, "test": test, "out": out}, options)
        with sole_writer(folder) if team.first else nullcontext(), passes_shown(not quiet):
            destination = Destination(folder, arguments, fresh) if team.first else None
            run = _Run(sets, options, task.to(device), recipe, destination, team, every, command, quiet)
            return run.go(folder, choice)


class _Run:
    """`destination` is None in all processes but the first: they train along and write nothing."""

    def __init__(
        self,
        sets: Sets,
        options: FitOptions,
        task: Task,
        recipe: Recipe,
        destination: Destination | None,
        team: Workers,
        every: tuple[float, int | None],
        command: str,
        quiet: bool,
    ) -> None:
        self._sets, self._options, self._task, self._recipe = sets, options, task, recipe
        self._destination, self._team, self._every = destination, team, every
        self._command, self._quiet = command, quiet
        self._choice: dict[str, Any] | None = None
        self._found: Found | None = None

    def go(self, folder: Path, choice: Choice | None) -> Model:
        started = time.monotonic()
        found = self._destination.found if self._destination else None
        self._found = found if self._team.count == 1 else unpacked(self._team.told(packed(found)))
        with Stopping() as stop:
            if choice is not None:
                self._choose(choice, stop)
            feed = self._feed(stop)
            outcome = self._train(feed, stop)
            if self._destination is None:
                return self._follow(outcome)
            if not outcome.finished:
                raise self._stopped(self._destination, outcome.position)
            # from here on a run that is broken off need not train again
            outcome.position.tensors = {}
            self._destination.keep(outcome.position)
            best = load_model(folder)
            if KINDS[best.kind].finish(best, self._sets.valid):
                save_weights(best, folder)
            self._team.share(best.state_dict())
            try:
                with stop.waiting():
                    record = self._record(best, outcome, time.monotonic() - started)
            except KeyboardInterrupt as error:
                raise Interrupted(
                    f"Stopped while measuring; the model is trained and stands in {folder}",
                    fix=f"For the rest, go on with: {self._command}",
                ) from error
            write_report(folder / "report.html", record)
            write_card(folder / "README.md", record)
            self._destination.finish(record)
        if not self._quiet:
            with Progress() as talk:
                talk.note(result_table(record, folder))
        return Model(best, folder, record)

    def _follow(self, outcome: Outcome) -> Model:
        """The end of a process that is not the first: the same weights, and no record."""
        if not outcome.finished:
            raise Interrupted("Stopped with the others")
        task = self._task.cpu()
        self._team.share(task.state_dict())
        return Model(task)

    def _stopped(self, destination: Destination, position: Position) -> Interrupted:
        """Keep where the run stands, and say what there is and how to go on."""
        folder, spent = destination.folder, f"Stopped after {position.seconds:.0f} s"
        if not destination.pause(self._task):
            return Interrupted(
                f"{spent}, before the first validation; nothing was written, and {folder} holds what it held",
                fix=f"Start again with: {self._command} --fresh",
            )
        best = (
            "before the first validation; the weights as they are now are"
            if position.best is None
            else "the best weights so far are"
        )
        return Interrupted(
            f"{spent}; {best} kept in {folder}",
            fix=f"Go on with: {self._command}\nOr use what there is: recurra info {shlex.quote(str(folder))}",
        )

    def _choose(self, choice: Choice, stop: Stopping) -> None:
        """Take the recipe that validation chooses; it is known already where the run goes on."""
        destination, kind = self._destination, KINDS[self._task.kind]
        position = Position() if self._found is None else self._found.position
        if position.step and not position.choice:
            # begun by a version that did not choose
            return
        device = next(self._task.parameters()).device
        chooser = Chooser(
            kind, self._sets.train, self._sets.valid, self._options, device, self._team,
            destination.keep if destination else _nothing, stop, self._quiet,
        )  # fmt: skip
        if not chooser.go(choice, position):
            raise self._stopped_choosing(position)
        if self._found is None:
            self._found = Found(position, {})
        trials = trials_of(position)
        self._choice = choice.as_dict(trials)
        if chosen := choice.chosen(trials):
            self._options = self._options.model_copy(update=dict(chosen))
            torch.manual_seed(self._options.seed)
            task, self._recipe = kind.build(self._sets.train, self._options)
            self._task = task.to(device)

    def _stopped_choosing(self, position: Position) -> Interrupted:
        destination = self._destination
        made = f"{plural(len(position.choice), 'trial')}"
        if destination is None or not destination.has_checkpoint:
            return Interrupted(
                "Stopped while choosing a recipe; nothing was kept", fix=f"Start again with: {self._command} --fresh"
            )
        return Interrupted(
            f"Stopped while choosing a recipe; {made} kept in {destination.folder}",
            fix=f"Go on with: {self._command}",
        )

    def _feed(self, stop: Stopping) -> Feed:
        recipe, destination = self._recipe, self._destination
        try:
            with stop.waiting():
                return self._task.feed(
                    self._sets.train, rows=recipe.rows, steps=recipe.steps, training=True, seed=recipe.seed,
                    store=None if destination is None else destination.store,
                )  # fmt: skip
        except KeyboardInterrupt as error:
            older = destination is not None and destination.replaces
            raise Interrupted(
                "Stopped while the text was turned into tokens; nothing of that is kept",
                fix=f"Start again with: {self._command}{' --fresh' if older else ''}",
            ) from error

    def _train(self, feed: Feed, stop: Stopping) -> Outcome:
        task, recipe, sets, destination = self._task, self._recipe, self._sets, self._destination
        for part in (sets.valid, sets.test):
            if part is not None:
                raise_fatal(KINDS[task.kind].unanswerable(task, part), part.name)
        valid = task.feed(KINDS[task.kind].part(sets.valid), rows=32, steps=512, training=False)
        if sets.test is not None:
            # what the model cannot read shows before the training, not after it
            task.feed(sets.test, rows=1, steps=512, training=False)
        note = destination.found.note if destination and destination.found else None
        start = None if self._found is None else self._found.position
        draft = self._draft(task)
        with telling(task, recipe, feed, destination, start, draft, self._options.tensorboard, self._quiet) as told:
            if note:
                told.note(f"note: {note}")
            try:
                return train(
                    task, feed, valid, recipe, start=start, stop=stop, on_step=told.on_step, workers=self._team,
                    on_best=lambda: destination.save_best(task) if destination else None,
                    keeping=Keeping(destination.keep if destination else _nothing, *self._every),
                )  # fmt: skip
            except DataError as error:
                raise self._gone_wrong(error) from error
            except EnvironmentFailure as error:
                raise self._refused(error) from error

    def _gone_wrong(self, error: DataError) -> DataError:
        """The same error, and what of the model there is."""
        destination = self._destination
        if destination is None:
            return error
        validated = (destination.folder / "config.json").exists()
        destination.abandon(self._task)
        if not (destination.folder / "config.json").exists():
            return error
        which = "best weights so far" if validated else "weights of the last checkpoint, never validated,"
        return DataError(f"{error} The {which} are kept in {destination.folder}")

    def _refused(self, error: EnvironmentFailure) -> EnvironmentFailure:
        """The same error, and that nothing is lost."""
        destination = self._destination
        if isinstance(error, ProcessLost) or destination is None or not destination.has_checkpoint:
            return error
        return EnvironmentFailure(f"{error} Then the same command goes on from the last checkpoint")

    def _draft(self, task: Task) -> dict[str, Any]:
        """What is known of the record before anything was trained."""
        from recurra import __version__

        sets, destination = self._sets, self._destination
        splits = {name: part for name, part in (("valid", sets.valid), ("test", sets.test)) if part is not None}
        return {
            "kind": task.kind,
            "command": self._command,
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "version": __version__,
            "out": "" if destination is None else str(destination.folder),
            "data": {
                "name": sets.train.name,
                "guess": sets.guess,
                "train": sets.train.size,
                **{name: dataset.size for name, dataset in splits.items()},
                "problems": [{"line": problem.line, "message": problem.message} for problem in sets.problems],
            },
            "model": task.summary(),
            "recipe": self._recipe.model_dump(),
            **({} if self._choice is None else {"choice": self._choice}),
            "processes": self._team.count,
        }

    def _record(self, best: Task, outcome: Outcome, seconds: float) -> dict[str, Any]:
        sets, position = self._sets, outcome.position
        assert self._destination is not None
        folder = self._destination.folder
        splits = {"valid": sets.valid} | ({} if sets.test is None else {"test": sets.test})
        measured = {name: measure(best, dataset) for name, dataset in splits.items()}
        rows: list[Row] = []
        if self._options.baselines:
            rows = compare(best, self._options, self._recipe, sets.train, splits, position.seconds, self._quiet)
        record: dict[str, Any] = {
            **self._draft(best),
            "seconds": round(position.seconds, 1),
            "total_seconds": round(seconds, 1),
            "history": position.history,
            "clipped": round(position.clipped / max(1, position.step), 4),
            "best_step": max((entry["step"] for entry in position.history if entry["best"]), default=0),
            "metrics": {name: metrics for name, (metrics, _) in measured.items()},
            "streaming": streamed(best, sets.valid, self._recipe.steps),
            "baselines": [row.as_dict() for row in rows],
            "fingerprint": fingerprint(best),
            "next": next_commands(best, folder),
        }
        _, sums = list(measured.values())[-1]
        told = {problem.message for problem in sets.problems}
        last = list(splits.values())[-1]
        record["notes"] = [note for note in kind_of(last).notes(best, last, sums) if note not in told]
        return record | KINDS[best.kind].details(best, sets.valid, sums)


def _nothing(position: Position) -> None:
    """The first process keeps the position for all of them."""


def _stem(data: Any) -> str:
    if isinstance(data, (str, Path)):
        stem = Path(data).name.split(".")[0]
        return "".join(character if character.isprintable() else "_" for character in stem) or "recurra"
    return "recurra"
