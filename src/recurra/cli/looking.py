"""The command that looks inside a model: into one or two inputs, or at the state while a stream comes in."""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import recurra
from recurra.cli.talk import printable, say_json, show_answer, tell
from recurra.cli.using import Given, decoded, given_in, piece_of
from recurra.errors import RecurraError, UsageError
from recurra.fitting.fitted import corpus_of
from recurra.inspection.measures import plural
from recurra.look import ENDINGS, Look, live
from recurra.models import Forecaster
from recurra.state import State


def look(
    folder: Path, inputs: list[str], rows: list[int], text: str | None, out: Path | None, show: bool, why: int | None,
    corpus: str | None, as_json: bool,
) -> None:  # fmt: skip
    if out is not None and out.suffix.lower() not in ENDINGS:
        raise UsageError("A look is not written so", got=out.name, expected=f"a file ending in {', '.join(ENDINGS)}")
    if show and out is not None and out.suffix.lower() == ".json":
        raise UsageError("--open shows a page or a picture", got=out.name, fix="Leave --out out, or write .html")
    model = recurra.load(folder)
    given = _given(model, inputs, rows, text)
    if not 1 <= len(given) <= 2:
        raise UsageError("A look is into one input, or two side by side", got=f"{len(given)} inputs")
    # a text is called by itself, all else by where it stands
    titles = None if isinstance(given[0].raw, str) else [one.name for one in given]
    found = model.look(*(one.raw for one in given), titles=titles, why=why, corpus=corpus)
    if show and out is None:
        out = Path(tempfile.mkdtemp(prefix="recurra-")) / "look.html"
    if out is not None:
        made = not out.parent.exists()
        found.save(out)
        if made:
            # a path that was mistyped would else be found by nobody
            tell(f"note: made the folder {out.parent}, which was not there")
        tell(f"{out}: {out.stat().st_size:,} bytes")
    if as_json:
        say_json(found.to_dict() if out is None else {"out": str(out), **_brief(found)})
    else:
        _say(found)
        if out is None:
            tell("note: --out FILE.html keeps all of it as a page, --open shows it")
    if show and out is not None:
        import webbrowser

        if not webbrowser.open(out.resolve().as_uri()):
            tell(f"note: no browser was found; open {out} yourself")


def _given(model: recurra.Model, inputs: list[str], rows: list[int], text: str | None) -> list[Given]:
    """The inputs that were asked for: texts, or rows of a file, the first where nobody says which."""
    if not inputs:
        raise UsageError("There is nothing to look at", expected="a text, or a file with --row N", fix="Name an INPUT")
    if len(inputs) > 2:
        raise UsageError("A look is into one input, or two side by side", got=f"{len(inputs)} inputs")
    if rows and not any(os.path.isfile(one) for one in inputs):
        raise UsageError("--row names a row of a file", got="a text")
    if len(rows) > 1 and len(inputs) > 1:
        raise UsageError("Two inputs come of one file with two --row, or of two files", got=f"{len(rows)} rows of two")
    found = []
    for one in inputs:
        wanted = rows if rows and os.path.isfile(one) else [1]
        found += _first(_all(model, one, text), wanted, one)
    return found


def _all(model: recurra.Model, given: str, text: str | None) -> Iterator[Given]:
    if not isinstance(model.task, Forecaster):
        yield from given_in(model, given, text if os.path.isfile(given) else None)
    elif os.path.isfile(given):
        for number, (name, series) in enumerate(corpus_of(model.task, given), 1):
            yield Given(series, name, number)
    else:
        values = piece_of(model, given)
        # numbers alone are one series of values
        if all(isinstance(value, float) for value in values):
            yield Given(np.array(values), "Input 1")
        else:
            yield Given(values, "Input 1")


def _first(items: Iterator[Given], rows: list[int], name: str) -> list[Given]:
    """The rows of these numbers, counted from 1 over the rows that can be read."""
    some = list(itertools.islice(items, max(rows)))
    if max(rows) > len(some) or min(rows) < 1:
        raise UsageError(f"{name} has no such row", got=f"--row {max(rows)}", expected=f"1 to {len(some)}")
    return [some[row - 1] for row in rows]


def _brief(found: Look) -> dict[str, Any]:
    """The answers, and what was found in words."""
    scenes = found.tree(terms=False)["scenes"]
    return {
        "scenes": [
            {
                "title": scene["title"], "steps": scene["steps"], "answer": scene["answer"],
                "why": [each["words"] for each in scene["why"]],
                # of the answer itself, which is the last
                **{name: next((each[name] and each[name]["words"] for each in scene["why"][-1:]), None)
                   for name in ("columns", "members")},
                "flow": scene["flow"]["sentence"],
                "memory": scene["flow"]["memory"], "saturation": scene["flow"]["saturation"],
            }
            for scene in scenes
        ]
    }  # fmt: skip


def _say(found: Look) -> None:
    """What a person reads in a terminal: answers, reasons, and how far the signal reaches."""
    for scene in _brief(found)["scenes"]:
        print(printable(f"{scene['title']}  ({plural(scene['steps'], 'step')})").replace("\n", "⏎"))
        print(f"  {show_answer(scene['answer'])}")
        # the last one is of the answer itself
        for each in scene["why"][-3:]:
            print(printable(f"  {each['en']}").replace("\n", "⏎"))
        for each in (scene["columns"], scene["members"]):
            if each is not None:
                print(printable(f"  {each['en']}"))
        if scene["flow"] is not None:
            print(f"  {scene['flow']['en']}")


# ---- while a stream comes in


def follow(folder: Path, given: list[str], as_json: bool) -> None:
    """Show the state after each piece of stdin: a moving picture on a terminal, else a line for each line.

    Raises `UsageError` where anything else was `given` that it does not heed.
    """
    if given:
        raise UsageError("--live reads stdin and draws in the terminal", got=", ".join(given), fix="Leave it out")
    model = recurra.load(folder)
    session = model.session()
    drawn = sys.stdout.isatty() and not as_json
    picture = _Picture() if drawn else None
    code = 0
    try:
        for number in itertools.count(1):
            raw = sys.stdin.buffer.readline()
            if not raw:
                break
            try:
                piece = piece_of(model, decoded(raw, number))
                joined = f"{model.task.separator}{piece}" if isinstance(piece, str) and session.steps else piece
                for part in _pieces(model, joined) if drawn else [joined]:
                    before = session.state
                    answer = session.push(part, top=5)
                    _tell(model, session, part, before, answer, picture, as_json)
            except RecurraError as error:
                code = error.exit_code
                tell(f"error: line {number}: {error}")
    finally:
        if picture is not None:
            picture.close()
    if code:
        raise SystemExit(code)


def _pieces(model: recurra.Model, given: Any) -> list[Any]:
    """What goes in at a time: of a text that is read by characters each character."""
    by_characters = getattr(getattr(model.task, "codec", None), "level", None) == "characters"
    return list(given) if isinstance(given, str) and by_characters else [given]


def _tell(
    model: recurra.Model, session: Any, part: Any, before: State, answer: dict[str, Any], picture: _Picture | None,
    as_json: bool,
) -> None:  # fmt: skip
    found = live.moved(session.state, before, model.task.tallies)
    if as_json:
        told = {each.name: {"norm": each.norm, "moved": each.moved} for each in found}
        say_json({"input": part if isinstance(part, str) else None, "step": session.steps, "state": told, **answer})
    elif picture is None:
        print(f"{session.steps}  {live.line(found)}  {show_answer(answer)}", flush=True)
    else:
        picture.show(session.steps, part, found, show_answer(answer))


class _Picture:
    """The state as bars, drawn anew by rich: above zero in one colour, below in another."""

    def __init__(self) -> None:
        from rich.live import Live

        self._live = Live(auto_refresh=False)
        self._live.start()
        self._read = ""

    def show(self, step: int, part: Any, found: list[live.Moved], answer: str) -> None:
        from rich.text import Text

        width = max(16, self._live.console.width - 24)
        self._read = (self._read + (part if isinstance(part, str) else ""))[-width:]
        text = Text(no_wrap=True)
        text.append(f"step {step}  ").append(printable(self._read).replace("\n", "⏎")).append("\n")
        for each in found:
            text.append(f"{each.name:>12.12} ")
            for bar, sign in live.bars(each.units, width):
                text.append(bar, style="green" if sign > 0 else "magenta")
            text.append(f" {each.norm:.2g}\n")
        text.append(answer)
        self._live.update(text, refresh=True)

    def close(self) -> None:
        self._live.stop()
