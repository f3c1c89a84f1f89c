"""`check`: everything that is known of data before anything is trained, and the command that would train on it."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import torch

from recurra.data.checking import Problem, fatal_error, raise_fatal
from recurra.data.datasets import Dataset, TaggedDataset
from recurra.data.facts import Facts, Lines, facts_of, overlap_dict, overlap_of, view
from recurra.data.overlap import Overlap
from recurra.data.text_codec import TextCodec
from recurra.errors import RecurraError
from recurra.fitting.kinds import kind_of
from recurra.fitting.options import FitOptions
from recurra.fitting.sets import completed, read_all, settled
from recurra.fitting.telling import same_again
from recurra.models import Task
from recurra.progress import passes_shown
from recurra.training import Recipe

_COMMONEST = 20  # unknown characters or words that are named
_GIVEN = "given tokens"  # the level of what is cut into tokens already


@dataclass(frozen=True)
class Unknown:
    """What of a set the vocabulary lacks: of `tokens` so many are `unknown`, `commonest` first."""

    tokens: int
    unknown: int
    commonest: list[tuple[str, int]]
    level: str
    vocabulary: int

    @property
    def share(self) -> float:
        return self.unknown / max(1, self.tokens)


@dataclass
class Check:
    """What was found. `error` says why one cannot train, and is None where one can.

    `sets` are the facts by set; `overlaps` what two sets share, by their names (train, valid); `unknown` by set and column;
    `problems` by set, in the order of their lines; `plan` is the model and the recipe that `fit` would take, and `command`
    runs it.
    """

    guess: list[str] = field(default_factory=list)
    sets: dict[str, Facts] = field(default_factory=dict)
    overlaps: dict[tuple[str, str], Overlap] = field(default_factory=dict)
    unknown: dict[str, dict[str, Unknown]] = field(default_factory=dict)
    problems: list[tuple[str, Problem]] = field(default_factory=list)
    plan: dict[str, Any] = field(default_factory=dict)
    command: str = ""
    error: RecurraError | None = None

    @property
    def ok(self) -> bool:
        """Whether one can train on it."""
        return self.error is None

    def as_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "ok": self.ok,
            "error": None if self.error is None else {"kind": type(self.error).__name__, "message": str(self.error)},
            "guess": self.guess,
            "sets": {name: facts.as_dict() for name, facts in self.sets.items()},
            "shared": {f"{one} and {other}": overlap_dict(found) for (one, other), found in self.overlaps.items()},
            "unknown": {
                name: {
                    column: {
                        "level": found.level, "vocabulary": found.vocabulary, "tokens": found.tokens,
                        "unknown": found.unknown, "share": round(found.share, 6), "commonest": dict(found.commonest),
                    }
                    for column, found in columns.items()
                }
                for name, columns in self.unknown.items()
            },
            "problems": [
                {"set": name, "line": problem.line, "lines": list(problem.lines), "fatal": problem.fatal,
                 "message": problem.message}
                for name, problem in self.problems
            ],
            "plan": self.plan,
            "command": self.command,
        }  # fmt: skip


def check(data: Any, *, valid: Any = None, test: Any = None, quiet: bool = False, **choices: Any) -> Check:
    """Look at data as `fit` would, and train nothing.

    `data`, `valid`, `test` and the choices are those of `recurra.fit`; a text may be larger than memory. What is wrong with
    the data stands in the result and is not raised; `UsageError` is, for choices that make no sense.
    """
    options = FitOptions.from_user(**choices)
    found = Check()
    with passes_shown(not quiet):
        try:
            _look(found, data, valid, test, options)
        except RecurraError as error:
            found.error = error
            if not found.sets and (valid is not None or test is not None):
                # a validation or test set that cannot be read: of the rest there is something to be told
                with suppress(RecurraError):
                    _look(found, data, None, None, options)
    if found.ok:
        given = {"valid": valid, "test": test}
        found.command = same_again(data, given, options.model_copy(update=_suggested(found, options)))
    found.problems.sort(key=lambda entry: not entry[1].fatal)
    return found


def _look(found: Check, data: Any, valid: Any, test: Any, options: FitOptions) -> None:
    given, guess, problems = read_all(data, valid, test, options, lenient=True)
    found.guess = list(guess.reasons)
    found.problems += problems
    for name, dataset in given.items():
        found.sets[name] = facts_of(dataset)
        found.problems += [(name, problem) for problem in found.sets[name].problems]
    for one, other in combinations(given, 2):
        found.overlaps[one, other], shared = overlap_of(given[one], given[other])
        found.problems += [(other, problem) for problem in shared]
    fatal = [(name, problem) for name, problem in found.problems if problem.fatal]
    if fatal:
        name = fatal[0][0]
        raise fatal_error([problem for place, problem in fatal if place == name], given[name].name)
    sets = completed(given, guess, options)
    options, told = settled(sets, options)
    found.guess = [*sets.guess, *told]
    with torch.random.fork_rng(devices=[]):
        task, recipe = kind_of(sets.train).build(sets.train, options)
    found.plan = _plan(task, recipe, sets.train)
    codecs = kind_of(sets.train).codecs(task)
    for name, dataset in (("valid", sets.valid), ("test", sets.test)):
        if dataset is not None:
            # what the model cannot read shows here as it would before a training
            raise_fatal(kind_of(sets.train).unanswerable(task, dataset), dataset.name)
            task.feed(dataset, rows=1, steps=512, training=False)
            texts = view(dataset).texts
            found.unknown[name] = {
                column: _unknown(codec, texts[column]) for column, codec in codecs.items() if column in texts
            }
            if isinstance(sets.train, TaggedDataset) and isinstance(dataset, TaggedDataset):
                found.unknown[name]["tokens"] = _new_tokens(sets.train, dataset)


def _unknown(codec: TextCodec, lines: Lines) -> Unknown:
    tokens = 0
    strange: Counter[str] = Counter()
    for _, line in lines():
        ids = codec.encode(line)
        tokens += len(ids)
        if codec.unknown in ids:
            strange.update(codec.unknown_in(line))
    return Unknown(tokens, strange.total(), strange.most_common(_COMMONEST), codec.level, codec.size)


def _new_tokens(train: TaggedDataset, other: TaggedDataset) -> Unknown:
    """Tokens that the training data do not have: a tagger knows these by their characters alone."""
    known = {token for sentence in train.tokens for token in sentence}
    tokens = [token for sentence in other.tokens for token in sentence]
    strange = Counter(token for token in tokens if token not in known)
    return Unknown(len(tokens), strange.total(), strange.most_common(_COMMONEST), _GIVEN, len(known))


def _plan(task: Task, recipe: Recipe, train: Dataset) -> dict[str, Any]:
    """What `fit` would train, and for how long."""
    length = {name: value for name in ("minutes", "epochs") if (value := getattr(recipe, name)) is not None}
    return {"kind": task.kind, "model": task.summary(), **length, "rows": recipe.rows, "train": train.size}


def _suggested(found: Check, options: FitOptions) -> dict[str, Any]:
    """Choices that what was found speaks for."""
    widths = any(
        finding.name.startswith("full-width") and finding.rows * 100 >= lengths.total
        for facts in found.sets.values()
        for findings, lengths in zip(facts.odd.values(), facts.lengths.values(), strict=False)
        for finding in findings
    )
    texts = any(unknown.level != _GIVEN for columns in found.unknown.values() for unknown in columns.values())
    return {"normalise": True} if widths and texts and not options.normalise else {}
