"""The commands that use a forecaster: predict writes a frame, evaluate tells simple forecasts beside, stream reads rows."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import recurra
from recurra.baselines import forecast_baselines
from recurra.cli.talk import say_json, tell
from recurra.errors import DataError, UsageError
from recurra.files import write_file
from recurra.fitting.fitted import measure
from recurra.fitting.forecasting import LEVELS, forecaster_of, rolling, understood
from recurra.inspection.measures import plural
from recurra.progress import table

FORMATS = (".csv", ".tsv", ".jsonl", ".parquet")


def levels_of(given: str | None) -> tuple[float, ...]:
    """`80,95` as numbers. Raises `UsageError`."""
    if given is None:
        return LEVELS
    try:
        return tuple(float(part) for part in given.split(",") if part.strip())
    except ValueError as error:
        raise UsageError("--levels is wrong", got=given, expected="numbers such as 80,95") from error


def predict(
    model: recurra.Model, inputs: str, horizon: int | None, levels: str | None, fill: str | None, out: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Forecasts as a table on stdout or in a file, by its ending."""
    if out is not None and out.suffix.lower() not in FORMATS:
        raise UsageError(
            f"Forecasts are not written as {out.name!r}", expected=f"a file ending in {', '.join(FORMATS)}"
        )
    if inputs == "-":
        text = sys.stdin.buffer.read().decode("utf-8")
        from recurra.data.tables import parse_delimited

        data: Any = parse_delimited(text, "stdin", tabs=False).columns
    elif os.path.isfile(inputs):
        data = inputs
    else:
        raise DataError(f"No such data file: {inputs}", fix="See that the path is right; rows can also come on stdin")
    follower = model.follow()
    follower.update(data, fill=fill)
    for note in follower.notes:
        tell(f"note: {note}")
    frame = follower.forecast(horizon=horizon, levels=levels_of(levels))
    import polars

    if not isinstance(frame, polars.DataFrame):
        frame = polars.DataFrame(frame)
    if out is None:
        sys.stdout.write(frame.write_ndjson() if as_json else frame.write_csv(datetime_format="%Y-%m-%d %H:%M:%S"))
        return
    write_file(out, _bytes(frame, out.suffix.lower()))
    tell(f"{plural(len(frame), 'row')} in {out}")
    if as_json:
        say_json({"out": str(out), "rows": len(frame)})


def _bytes(frame: Any, ending: str) -> bytes | str:
    from io import BytesIO

    if ending == ".parquet":
        held = BytesIO()
        frame.write_parquet(held)
        return held.getvalue()
    if ending == ".jsonl":
        return frame.write_ndjson()
    return frame.write_csv(datetime_format="%Y-%m-%d %H:%M:%S", separator="\t" if ending == ".tsv" else ",")


def evaluate(
    model: recurra.Model, data: str, windows: int | None, step: int | None, history: str | None, fill: str | None,
    out: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """The figures of a forecaster beside those of forecasts that need no network."""
    task = forecaster_of(model.task)
    read, _, notes = understood(task, data, fill)
    for note in notes:
        tell(f"note: {note}")
    dataset = rolling(task, read, windows, 1 if step is None else step, history)
    metrics, _ = measure(task, dataset)
    simple = forecast_baselines(task.codec, task.config.horizon, None, {"data": dataset})["data"]
    if out is not None:
        frame = model.cross_validation(read, windows=windows, step=step or 1, history=history)
        write_file(out, _bytes(frame, out.suffix.lower()))
        tell(f"{plural(len(frame), 'row')} in {out}")
    if as_json:
        baselines = [{"name": one.name, "metrics": one.metrics} for one in simple]
        say_json({"model": str(model.folder), "data": data, "metrics": metrics, "baselines": baselines})
        return
    names = list(metrics)
    rows = [["the model", metrics], *([one.name, one.metrics] for one in simple)]
    lines = [[name, *(f"{found[key]:.4f}" if key in found else "" for key in names)] for name, found in rows]
    print(table(lines, ["", *names]))


def row_of(model: recurra.Model, line: str) -> Any:
    """A line of a stream: a number, a JSON object with y and what stands beside it, or a list of such."""
    try:
        found = json.loads(line, parse_int=float)
    except (ValueError, RecursionError) as error:
        raise DataError(
            "This model reads values", got=repr(line[:40]), expected='a number, or {"y": 1.5, "unique_id": "a", ...}'
        ) from error
    return found if isinstance(found, list) else [found]
