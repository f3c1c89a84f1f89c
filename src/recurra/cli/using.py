"""The commands that use a model: predict, generate, evaluate, stream."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import recurra
from recurra.cli import forecasts
from recurra.cli.talk import say_json, show_answer, tell
from recurra.data.checking import as_sequence
from recurra.data.datasets import TextDataset
from recurra.data.facts import unit_of
from recurra.data.reading import read
from recurra.data.sequence_codec import SeriesCodec
from recurra.errors import DataError, RecurraError, UsageError
from recurra.fitting.stopping import Stopping
from recurra.fitting.to_measure import long_of
from recurra.models import Answer, Forecaster, Tagger, Translator
from recurra.progress import table
from recurra.streaming import Session

CHUNK = 256
TOP = 5  # answers, where nobody says how many
ENDINGS = (
    ".txt",
    ".tsv",
    ".csv",
    ".jsonl",
    ".json",
    ".parquet",
    ".npz",
    ".npy",
    ".ts",
    ".gz",
    ".conll",
    ".bio",
    ".bmes",
)


def predict(
    folder: Path, inputs: str, top: int | None, text: str | None, choices: dict[str, Any], as_json: bool,
    frame: dict[str, Any],
) -> None:  # fmt: skip
    model = recurra.load(folder)
    if isinstance(model.task, Forecaster):
        if top is not None or text is not None or any(value is not None for value in choices.values()):
            raise UsageError("A forecaster has no --top, --text or --beam", fix="Leave it out")
        forecasts.predict(model, inputs, **frame, as_json=as_json)
        return
    if any(value is not None for value in frame.values()):
        raise UsageError(
            "--horizon, --levels, --fill and --out are for forecasters", got=f"a model of kind '{model.kind}'"
        )
    choices = {name: value for name, value in choices.items() if value is not None}
    if top is not None and isinstance(model.task, Translator):
        width = choices.get("beam", model.task.config.beam)
        if 0 < width < top:
            tell(f"note: a beam of {width} has no more than {width} translations; for {top} of them take --beam {top}")
    for chunk in _chunks(given_in(model, inputs, text)):
        for one, answer in _answers(model, chunk, {"top": top or TOP, **choices}):
            if as_json:
                raw = one.raw if isinstance(one.raw, str) else None
                known = {"line": one.line, "series": one.series, "input": raw}
                say_json({name: value for name, value in known.items() if value is not None} | answer)
            else:
                print(show_answer(answer, one.series or one.raw, all_of_them=top is not None), flush=True)


class Given(NamedTuple):
    """What to answer for, how errors call it, where it stands in its file, and what it is called there."""

    raw: Any
    name: str
    line: int | None = None
    series: str | None = None


def _answers(model: recurra.Model, chunk: list[Given], choices: dict[str, Any]) -> Iterator[tuple[Given, Answer]]:
    """Inputs with their answers; one that cannot be read costs no answer to those before it."""
    try:
        yield from zip(chunk, model.predict([one.raw for one in chunk], **choices), strict=True)
    except UsageError:
        # an option is at fault, and no input
        raise
    except RecurraError:
        for one in chunk:
            try:
                answers = model.predict([one.raw], **choices)
            except RecurraError as error:
                raise type(error)(f"{one.name}: {error}") from error
            yield one, answers[0]


def given_in(model: recurra.Model, given: str, column: str | None) -> Iterator[Given]:
    """What to answer for: the rows of a file, the lines of stdin, or the text itself."""
    if column is not None and not os.path.isfile(given):
        raise UsageError("--text names a column of a file", got="lines on stdin" if given == "-" else "a text")
    if given == "-":
        if sys.stdin.isatty():
            tell("Type a line and press Enter; end with Ctrl-D.")
        for number, line in enumerate(sys.stdin.buffer, start=1):
            yield Given(piece_of(model, decoded(line, number)), f"Input {number}")
    elif os.path.isfile(given):
        yield from _rows(model, given, column)
    elif (given.lower().endswith(ENDINGS) and " " not in given) or given.endswith(os.sep):
        raise DataError(f"No such data file: {given}", fix="See that the path is right; a text can also come on stdin")
    else:
        yield Given(piece_of(model, given), "Input 1")


def _rows(model: recurra.Model, path: str, column: str | None) -> Iterator[Given]:
    """The rows of a file; those without an answer are told, so that the others can be matched with theirs."""
    dataset, _, problems = read(path, task=model.kind, text=column, need_labels=False, long=long_of(model.task))
    for problem in problems:
        if problem.left_out:
            tell(f"note: {problem.message}")
    unit = unit_of(dataset.name).capitalize()
    if isinstance(dataset, TextDataset):
        rows = ((line, text) for line, text in dataset.numbered_lines() if text)
    else:
        rows = zip(dataset.lines, dataset.raw, strict=True)
    names = getattr(dataset, "ids", None)
    for place, (line, raw) in enumerate(rows):
        if names is None:
            yield Given(raw, f"{unit} {line}", line)
        else:
            yield Given(raw, f"Series {names[place]!r} ({unit.lower()} {line})", line, names[place])


def _chunks(items: Iterator[Given]) -> Iterator[list[Given]]:
    # a person at a terminal wants each answer at once; a file goes in batches
    size = 1 if sys.stdin.isatty() else CHUNK
    chunk: list[Given] = []
    try:
        for item in items:
            chunk.append(item)
            if len(chunk) == size:
                yield chunk
                chunk = []
    except RecurraError:
        # what came before the bad line has its answer
        if chunk:
            yield chunk
        raise
    if chunk:
        yield chunk


def decoded(line: bytes, number: int) -> str:
    """A line of stdin without its end; raises `DataError` for bytes that are no UTF-8."""
    try:
        return line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        got = f"byte 0x{line[error.start]:02X} at byte {error.start}"
        raise DataError(f"Line {number} of stdin is not UTF-8", got=got, fix="Convert it with iconv") from error


def piece_of(model: recurra.Model, line: str) -> Any:
    """A line as the model reads it: text; for a tagger also a JSON list of tokens, for a model of numbers one of steps."""
    if isinstance(model.task, Tagger):
        return _tokens(line)
    if isinstance(model.task, Forecaster):
        return forecasts.row_of(model, line)
    if isinstance(getattr(model.task, "codec", None), SeriesCodec):
        expected = "a JSON list such as [[1.0, 2.0], ...]"
        try:
            # a whole number may have more digits than Python reads
            values = json.loads(line, parse_int=float)
        except (ValueError, RecursionError) as error:
            raise DataError("This model reads numbers", got=repr(line[:40]), expected=expected) from error
        if not isinstance(values, list):
            raise DataError("This model reads numbers", got=repr(line[:40]), expected=expected)
        if values and not isinstance(values[0], list):
            values = [values]
        sequence = as_sequence(values)
        if not isinstance(sequence, np.ndarray):
            raise DataError("This model reads numbers", got=f"a list that {sequence}", expected="steps of equal width")
        return sequence
    return line


def _tokens(line: str) -> Any:
    """A line as a JSON list of tokens where it is one, else the text for the model to cut."""
    try:
        found = json.loads(line) if line.startswith("[") else None
    except (ValueError, RecursionError):
        return line
    return found if isinstance(found, list) and all(isinstance(token, str) for token in found) else line


def generate(
    folder: Path, prompt: str, length: int, temperature: float, top_p: float, seed: int, as_json: bool
) -> None:
    model = recurra.load(folder)
    pieces = model.pieces(prompt, length=length, temperature=temperature, top_p=top_p, seed=seed)
    if as_json:
        say_json({"prompt": prompt, "text": "".join(pieces)})
        return
    print(prompt, end="")
    for piece in pieces:
        print(piece, end="", flush=True)
    print()


def evaluate(folder: Path, data: str, choices: dict[str, Any], as_json: bool, frame: dict[str, Any]) -> None:
    model = recurra.load(folder)
    if isinstance(model.task, Forecaster):
        if any(value not in (None, False) for value in choices.values()):
            raise UsageError("A forecaster is measured as it was made: it has no columns to choose", fix="Leave it out")
        forecasts.evaluate(model, data, **frame, as_json=as_json)
        return
    if any(value is not None for value in frame.values()):
        raise UsageError(
            "--windows, --step, --history, --fill and --out are for forecasters", got=f"a model of kind '{model.kind}'"
        )
    metrics = model.evaluate(data, **choices)
    if as_json:
        say_json({"model": str(folder), "data": data, "metrics": metrics})
    else:
        print(table([[name, f"{value:.4f}"] for name, value in metrics.items()], ["metric", "value"]))


def stream(folder: Path, state: Path | None, top: int, as_json: bool) -> None:
    model = recurra.load(folder)
    if state is not None and os.path.lexists(state):
        session = model.resume(state)
        tell(f"continuing after {session.steps} steps")
    else:
        session = model.session()
    with Stopping() as stop:
        if state is not None:
            # a place that cannot be written shows before the work, not after it
            session.save(state)
        try:
            code = _follow(model, session, stop, top, as_json)
        finally:
            if state is not None:
                session.save(state)
                tell(f"the state after {session.steps} steps is in {state}")
    if code:
        raise SystemExit(code)


def _follow(model: recurra.Model, session: Session, stop: Stopping, top: int, as_json: bool) -> int:
    """Push the lines of stdin and answer each; the exit code. One bad line must not cost the state."""
    code = 0
    for number in itertools.count(1):
        try:
            with stop.waiting():
                raw = sys.stdin.buffer.readline()
        except KeyboardInterrupt:
            return 130
        if not raw:
            break
        line = raw.decode("utf-8", "backslashreplace").rstrip("\r\n")
        try:
            piece = piece_of(model, decoded(raw, number))
            # the lines of a text are parted by the new lines between them
            joined = f"{model.task.separator}{piece}" if isinstance(piece, str) and session.steps else piece
            answer = session.push(joined, top=top)
        except RecurraError as error:
            code = error.exit_code
            answer = {"error": {"kind": type(error).__name__, "message": str(error)}}
            tell(f"error: line {number}: {error}")
        if as_json:
            say_json({"input": line, "step": session.steps, **answer})
        elif "error" not in answer:
            print(show_answer(answer), flush=True)
    return code
