"""The commands that use a model: predict, generate, evaluate, stream."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import recurra
from recurra.cli.talk import say_json, show_answer
from recurra.data.checking import as_sequence
from recurra.data.datasets import LabelledDataset
from recurra.data.reading import read
from recurra.errors import DataError, RecurraError
from recurra.fitting.stopping import Stopping
from recurra.models import LanguageModel
from recurra.progress import table

CHUNK = 256


def predict(folder: Path, inputs: str, top: int, text: str | None, as_json: bool) -> None:
    model = recurra.load(folder)
    for chunk in _chunks(_inputs(model, inputs, text)):
        for raw, answer in zip(chunk, model.predict(chunk, top=top), strict=True):
            if as_json:
                say_json({**({"input": raw} if isinstance(raw, str) else {}), **answer})
            else:
                print(show_answer(answer, raw if isinstance(raw, str) else ""), flush=True)


def _inputs(model: recurra.Model, given: str, column: str | None) -> Iterator[Any]:
    """What to answer for: the rows of a file, the lines of stdin, or the text itself."""
    if given == "-":
        if sys.stdin.isatty():
            print("Type a line and press Enter; end with Ctrl-D.", file=sys.stderr)
        yield from (_piece(model, line) for line in _lines())
    elif Path(given).is_file():
        if model.kind == "language":
            yield from (line for line in read(given, task="language")[0].documents[0].splitlines() if line)  # pyright: ignore[reportAttributeAccessIssue]
        else:
            dataset, _, _ = read(given, task=model.kind, text=column, need_labels=False)
            if isinstance(dataset, LabelledDataset):
                yield from dataset.inputs
    else:
        yield _piece(model, given)


def _chunks(items: Iterator[Any]) -> Iterator[list[Any]]:
    # a person at a terminal wants each answer at once; a file goes in batches
    size = 1 if sys.stdin.isatty() else CHUNK
    chunk: list[Any] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _lines() -> Iterator[str]:
    """The lines of stdin without their ends; raises `DataError` for bytes that are no UTF-8."""
    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            yield line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise DataError(f"Line {number} of stdin is not UTF-8", got=f"byte {error.start}", fix="Convert it with iconv") from error


def _piece(model: recurra.Model, line: str) -> Any:
    """A line as the model reads it: text, or for a model of numbers a JSON list of steps (or one step)."""
    if not isinstance(model.task, LanguageModel) and model.task.config.features is not None:  # pyright: ignore[reportAttributeAccessIssue]
        try:
            values = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError("This model reads numbers", got=line[:40], expected="a JSON list such as [[1.0, 2.0], ...]") from error
        if isinstance(values, list) and values and not isinstance(values[0], list):
            values = [values]
        sequence = as_sequence(values)
        if not isinstance(sequence, np.ndarray):
            raise DataError("This model reads numbers", got=f"a list that {sequence}", expected="steps of equal width")
        return sequence
    return line


def generate(
    folder: Path, prompt: str, length: int, temperature: float, top_p: float, seed: int, as_json: bool
) -> None:
    model = recurra.load(folder)
    pieces = model.pieces(prompt, length=length, temperature=temperature, top_p=top_p, seed=seed)
    if as_json:
        say_json({"prompt": prompt, "text": "".join(pieces)})
        return
    sys.stdout.write(prompt)
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")


def evaluate(folder: Path, data: str, text: str | None, label: str | None, as_json: bool) -> None:
    model = recurra.load(folder)
    metrics = model.evaluate(data, text=text, label=label)
    if as_json:
        say_json({"model": str(folder), "data": data, "metrics": metrics})
    else:
        print(table([[name, f"{value:.4f}"] for name, value in metrics.items()], ["metric", "value"]))


def stream(folder: Path, state: Path | None, top: int, as_json: bool) -> None:
    model = recurra.load(folder)
    if state is not None and state.exists():
        session = model.resume(state)
        print(f"continuing after {session.steps} steps", file=sys.stderr)
    else:
        session = model.session()
    failed: RecurraError | None = None
    with Stopping() as stop:
        for line in _lines():
            try:
                piece = _piece(model, line)
                # the lines of a text are parted by the new lines between them
                joined = f"{model.task.separator}{piece}" if isinstance(piece, str) and session.steps else piece
                answer = session.push(joined, top=top)
            except RecurraError as error:
                # one bad line must not cost the state
                failed = error
                answer = {"error": {"kind": type(error).__name__, "message": str(error)}}
                print(f"error: {error}", file=sys.stderr)
            if as_json:
                say_json({"input": line, "step": session.steps, **answer})
            elif "error" not in answer:
                print(show_answer(answer), flush=True)
            if stop():
                break
    if state is not None:
        session.save(state)
        print(f"the state after {session.steps} steps is in {state}", file=sys.stderr)
    if failed is not None:
        raise SystemExit(failed.exit_code)
    if stop():
        raise SystemExit(130)
