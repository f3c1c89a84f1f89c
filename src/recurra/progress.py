"""How long work is shown: one live line on a terminal, calm plain lines elsewhere, always on stderr.

It knows time, fractions and how wide a character is. It does not know what is being trained, and it never
fails the work it shows: a closed or broken stderr only makes it silent.
"""

from __future__ import annotations

import math
import os
import sys
import time
import unicodedata
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from numbers import Integral, Real
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from rich.live import Live

_SHARES = ("f1", "precision", "recall", "accuracy", "label_accuracy", "macro_f1")
_FIRST_CHOICE = ("f1", "accuracy", "macro_f1", "loss")
_RATE_WINDOW = 10.0  # seconds over which units per second are averaged
_LIVE_PAUSE = 0.1  # seconds between two drawings of the live line
_LONG = 32.0  # millions from which on a pass over data is shown
_shown: ContextVar[bool] = ContextVar("shown", default=False)


class Progress:
    """Show the progress of long work on stderr.

        with Progress(total_seconds=60, unit="characters") as progress:
            progress.update(step=100, units=51200, loss=2.1, rate=0.002)
            progress.validation({"loss": 2.2}, best=True)

    `total_seconds` and `total_steps` give the fraction done where `update` is not told it; `unit` names what
    `units` counts ("characters", "tokens", "rows"). With `quiet` nothing is written at all. `doing` says what is done
    where that is no training, so that there are no steps to show. Inside the block anything else that writes on the
    terminal should go through `note`.
    """

    def __init__(
        self,
        total_seconds: float | None = None,
        total_steps: int | None = None,
        unit: str = "characters",
        quiet: bool = False,
        doing: str = "",
    ) -> None:
        self._doing = doing
        self._total_seconds = total_seconds
        self._total_steps = total_steps
        self._unit = unit
        self._quiet = quiet
        self._face: _Face = _Silent()
        self._started = 0.0
        self._recent: deque[tuple[float, float]] = deque()
        self._validated = ""
        self._best = ""
        self._step = 0
        self._first: tuple[float, float] | None = None

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        self._recent.append((self._started, 0.0))
        if not self._quiet:
            self._face = _LiveFace() if _is_terminal() else _PlainFace()
        self._face.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._face.close()

    def update(
        self,
        step: int,
        done: float | None = None,
        units: float = 0,
        loss: float | None = None,
        rate: float | None = None,
    ) -> None:
        """Tell where the work stands.

        `done` is the fraction done (0 to 1); `units` counts from the start, for units per second; `loss` is
        the training loss in nats, `rate` the learning rate. Cheap enough to call at every step.
        """
        if self._quiet:
            return
        now = time.monotonic()
        self._step = step
        self._recent.append((now, units))
        # Keep one point older than the window, so that the window is always spanned.
        while len(self._recent) > 2 and now - self._recent[1][0] >= _RATE_WINDOW:
            self._recent.popleft()
        elapsed = now - self._started
        fraction = self._fraction(step, elapsed) if done is None else min(max(done, 0.0), 1.0)
        if self._first is None and not self._doing:
            # the first step waits for what is loaded on first use: it tells nothing of those to come
            self._first = now, fraction or 0.0
            self._recent = deque([(now, units)])
        self._face.show(lambda: self._line(step, elapsed, fraction, loss, rate), now, fraction)

    def validation(self, metrics: Mapping[str, float], best: bool) -> None:
        """Tell the measures of one validation and whether it is the best so far."""
        if not metrics:
            return
        name = _telling(metrics)
        self._validated = f"validation {_measure(name, metrics[name])}"
        if best:
            self._best = f"best {_measure(name, metrics[name])}"
        everything = ", ".join(
            f"{title.replace('_', ' ')} {_measure(title, value)}" for title, value in metrics.items()
        )
        self._face.event(f"step {self._step:,}  validation: {everything}{'  (best so far)' if best else ''}")

    def note(self, text: str) -> None:
        """Write a line of talk above the live line (or among the plain lines)."""
        self._face.say(text)

    def _fraction(self, step: int, elapsed: float) -> float | None:
        # Work that is limited by both ends at whichever limit comes first.
        shares = []
        if self._total_steps:
            shares.append(step / self._total_steps)
        if self._total_seconds:
            shares.append(elapsed / self._total_seconds)
        return min(max(shares), 1.0) if shares else None

    def _line(self, step: int, elapsed: float, fraction: float | None, loss: float | None, rate: float | None) -> str:
        # What matters most comes first: a narrow terminal cuts the end.
        parts = [self._doing] if self._doing else []
        if fraction is not None:
            parts.append(f"{math.floor(fraction * 100 + 1e-9):3d} %")
        since, already = self._first or (self._started, 0.0)
        if fraction is not None and fraction > already:
            spent = self._started + elapsed - since
            parts.append(f"{duration(spent * (1 - fraction) / (fraction - already))} left")
        if loss is not None:
            parts.append(f"loss {loss:.3f}")
        parts += [part for part in (self._validated, self._best) if part]
        (before, first), (after, last) = self._recent[0], self._recent[-1]
        if last > first and after > before:
            parts.append(f"{(last - first) / (after - before):,.0f} {self._unit}/s")
        if not self._doing:
            parts.append(f"step {step:,}")
        if rate is not None:
            parts.append(f"rate {rate:.2g}")
        if (memory := resident_memory()) is not None:
            parts.append(f"{memory / 1e9:.1f} GB")
        return "  ".join(parts)


@contextmanager
def passes_shown(shown: bool) -> Iterator[None]:
    """Whether long passes over data, made inside and however deep, show how far they are."""
    token = _shown.set(shown)
    try:
        yield
    finally:
        _shown.reset(token)


@contextmanager
def watch(doing: str, total: float, unit: str) -> Iterator[Callable[[float], None]]:
    """A pass over `total` millions of something; gives what is to be told each time how many millions more are done."""
    if total < _LONG or not _shown.get():
        yield lambda count: None
        return
    done = 0.0
    with Progress(unit=unit, doing=doing) as progress:

        def more(count: float) -> None:
            nonlocal done
            done += count
            progress.update(0, done / total, done)

        yield more


class _Face(Protocol):
    def open(self) -> None: ...

    def show(self, line: Callable[[], str], now: float, fraction: float | None) -> None:
        """Show `line`, which is made only where it is shown: there are many more steps than lines."""
        ...

    def event(self, line: str) -> None: ...
    def say(self, text: str) -> None: ...
    def close(self) -> None: ...


class _Silent:
    """Nothing at all: quiet was asked for."""

    def open(self) -> None: ...
    def show(self, line: Callable[[], str], now: float, fraction: float | None) -> None: ...
    def event(self, line: str) -> None: ...
    def say(self, text: str) -> None: ...
    def close(self) -> None: ...


class _PlainFace:
    """Lines for a log file: the first, then at each tenth of the work or after a pause, and the last."""

    def __init__(self) -> None:
        self._opened = 0.0
        self._written: float | None = None
        self._tenth = 0
        self._held: Callable[[], str] | None = None

    def open(self) -> None:
        self._opened = time.monotonic()

    def show(self, line: Callable[[], str], now: float, fraction: float | None) -> None:
        tenth = 0 if fraction is None else math.floor(fraction * 10 + 1e-9)
        # Ten seconds at first; a run of hours settles at a line a minute.
        pause = min(max(10.0, (now - self._opened) / 20), 60.0)
        if self._written is None or tenth > self._tenth or now - self._written >= pause:
            self._written, self._tenth, self._held = now, tenth, None
            _write(line())
        else:
            self._held = line

    def event(self, line: str) -> None:
        _write(line)

    def say(self, text: str) -> None:
        _write(text)

    def close(self) -> None:
        if self._held is not None:
            _write(self._held())


class _LiveFace:
    """One line at the foot of the terminal, drawn anew by rich; everything else scrolls above it."""

    def __init__(self) -> None:
        self._live: Live | None = None
        self._encoding = _encoding()  # asked for now: rich puts something else in the place of sys.stderr
        self._gone = False
        self._drawn = 0.0
        self._held: Callable[[], str] | None = None

    def open(self) -> None:
        from rich.console import Console
        from rich.live import Live

        # Drawn by hand: no thread that could meet a closed stderr. stdout stays the person's own.
        self._live = Live(console=Console(file=sys.stderr), auto_refresh=False, redirect_stdout=False)
        with self._while_there():
            self._live.start()

    def show(self, line: Callable[[], str], now: float, fraction: float | None) -> None:
        self._held = line
        if now - self._drawn >= _LIVE_PAUSE:
            self._drawn = now
            self._draw()

    def event(self, line: str) -> None:
        pass  # the live line already shows the newest and the best

    def say(self, text: str) -> None:
        if self._live is not None and not self._gone:
            from rich.text import Text

            with self._while_there():
                self._live.console.print(Text(_encodable(text, self._encoding)))

    def close(self) -> None:
        self._draw()
        if self._live is not None:
            # Also where the terminal has gone: rich gives sys.stderr back and shows the cursor again.
            with self._while_there():
                self._live.stop()
        self._live = None

    def _draw(self) -> None:
        if self._live is not None and self._held is not None and not self._gone:
            from rich.text import Text

            with self._while_there():
                line = _cut(_encodable(self._held(), self._encoding), self._live.console.width - 1)
                self._live.update(Text(line, no_wrap=True), refresh=True)
            self._held = None

    @contextmanager
    def _while_there(self) -> Iterator[None]:
        """A terminal that has gone away ends the showing, not the work."""
        try:
            yield
        except (OSError, ValueError):
            self._gone = True


def _is_terminal() -> bool:
    try:
        terminal = sys.stderr is not None and sys.stderr.isatty()
    except ValueError:  # closed
        return False
    return terminal and os.environ.get("TERM") not in ("dumb", "unknown")


def _encoding() -> str:
    return getattr(sys.stderr, "encoding", None) or "utf-8"


def _encodable(text: str, encoding: str) -> str:
    """The text with whatever the encoding lacks replaced by question marks."""
    return text.encode(encoding, "replace").decode(encoding)


def _write(line: str) -> None:
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(_encodable(line, _encoding()) + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):  # closed, or nobody reads it any more
        return


def _telling(metrics: Mapping[str, float]) -> str:
    """Which measure the line shows: for a language model the loss, which stands beside the training loss."""
    choices = ("loss",) if "perplexity" in metrics else _FIRST_CHOICE
    return next((choice for choice in choices if choice in metrics), next(iter(metrics)))


def _measure(name: str, value: float) -> str:
    if name in _SHARES and math.isfinite(value):
        return f"{value * 100:.1f} %"
    return f"{value:.3f}"


def resident_memory() -> int | None:
    """Bytes of memory that this process holds now; None where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def duration(seconds: float | None) -> str:
    """Seconds in the shortest readable form: "0.4 s", "12 s", "3:05", "2:10:00"; "?" where unknown."""
    if seconds is None or not math.isfinite(seconds):
        return "?"
    seconds = max(seconds, 0.0)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minutes}:{second:02d}"


def character_width(character: str) -> int:
    """Columns one character takes on a terminal: 2 for Chinese and other wide ones, 0 for combining marks."""
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def display_width(text: str) -> int:
    """Columns a text takes on a terminal; an emoji of several parts takes two."""
    return len(text) if text.isascii() else sum(width for _, width in _shapes(text))


def _shapes(text: str) -> Iterator[tuple[str, int]]:
    """What is drawn as one, with its columns: a character with its marks, an emoji with its tone and all joined to it."""
    shape, width, joins = "", 0, False
    for character in text:
        wide = character_width(character)
        emoji = unicodedata.category(shape[:1] or " ") == "So"
        if emoji and (joins or character in _TONES):
            wide = 0  # a part of the picture before it
        elif emoji and character == _AS_PICTURE:
            width = 2
        joins = character == _JOINER
        if wide and shape:
            yield shape, width
            shape, width = "", 0
        shape, width = shape + character, width + wide
    if shape:
        yield shape, width


_TONES = "".join(map(chr, range(0x1F3FB, 0x1F400)))
_JOINER, _AS_PICTURE = "\u200d", "\ufe0f"


def _cut(text: str, width: int) -> str:
    if display_width(text) <= width:
        return text
    kept, used = [], 0
    for shape, columns in _shapes(text):
        used += columns
        if used > width - 3:
            break
        kept.append(shape)
    return "".join(kept).rstrip() + "..."


def table(rows: Sequence[Sequence[object]], columns: Sequence[str]) -> str:
    """An aligned plain-text table with a rule under its headings; no trailing spaces, no final newline.

    Columns that hold only numbers stand to the right. Integers get thousands separators, floats four
    significant digits, `None` a dash. Wide characters count as two columns.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    numeric = [
        any(row[i] is not None for row in rows) and all(row[i] is None or _is_number(row[i]) for row in rows)
        for i in range(len(columns))
    ]
    widths = [
        max(display_width(cell) for cell in (heading, *(row[i] for row in cells))) for i, heading in enumerate(columns)
    ]

    def line(row: Sequence[str]) -> str:
        padded = []
        for cell, width, right in zip(row, widths, numeric, strict=True):
            space = " " * (width - display_width(cell))
            padded.append(space + cell if right else cell + space)
        return "  ".join(padded).rstrip()

    return "\n".join([line(columns), line(["-" * width for width in widths]), *map(line, cells)])


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, Integral):
        return f"{int(value):,}"
    if isinstance(value, Real):
        return f"{float(value):.4g}"
    return " ".join(str(value).split())
