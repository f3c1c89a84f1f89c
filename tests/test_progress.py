"""How long work is shown: the plain face line by line, the live face on a pretended terminal, and tables."""

from __future__ import annotations

import io
import sys
from itertools import pairwise
from typing import Any

import pytest

from recurra import progress as module
from recurra.progress import Progress, display_width, duration, table

REAL_MEMORY = module.resident_memory


class Clock:
    """A clock that stands still until it is told to move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    still = Clock()
    monkeypatch.setattr(module.time, "monotonic", still)
    return still


@pytest.fixture(autouse=True)
def no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out of the lines what no test can know."""
    monkeypatch.setattr(module, "resident_memory", lambda: None)


class Terminal(io.TextIOWrapper):
    """A stderr that says it is a terminal."""

    def __init__(self, encoding: str = "utf-8") -> None:
        self.bytes = io.BytesIO()
        super().__init__(self.bytes, encoding=encoding, write_through=True)

    def isatty(self) -> bool:
        return True


def test_a_line_is_made_only_where_it_is_shown(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[int] = []
    line = Progress._line

    def counted(self: Progress, step: int, *arguments: Any) -> str:
        made.append(step)
        return line(self, step, *arguments)

    monkeypatch.setattr(Progress, "_line", counted)
    with Progress(total_steps=1000) as progress:
        for step in range(1, 250):
            clock.now += 0.001
            progress.update(step=step, units=step)
    # the first, at each tenth, and the last, which was held until the end
    assert made == [1, 100, 200, 249]
    assert [f"step {step}" in said for step, said in zip(made, capsys.readouterr().err.splitlines(), strict=True)] == [
        True
    ] * 4


def test_plain_lines_are_exact(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(total_steps=100, unit="rows") as progress:
        clock.now += 2
        progress.update(step=10, units=640, loss=2.5, rate=0.002)
        progress.validation({"loss": 0.5, "accuracy": 0.912, "macro_f1": 0.9}, best=True)
        clock.now += 2
        progress.update(step=20, units=1280, loss=2.25, rate=0.001)
        progress.note("快过圣诞节了 [bold]")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        " 10 %  loss 2.500  step 10  rate 0.002",
        "step 10  validation: loss 0.500, accuracy 91.2 %, macro f1 90.0 %  (best so far)",
        " 20 %  16 s left  loss 2.250  validation 91.2 %  best 91.2 %  320 rows/s  step 20  rate 0.001",
        "快过圣诞节了 [bold]",
    ]


def test_plain_lines_come_first_at_tenths_and_after_ten_seconds(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress(total_steps=1000) as progress:
        for step in range(1, 251):
            clock.now += 0.01
            progress.update(step=step)
        clock.now += 7.0
        progress.update(step=251)
        clock.now += 2.6
        progress.update(step=252)
    steps = [int(line.split("step ")[1].split()[0]) for line in capsys.readouterr().err.splitlines()]
    assert steps == [1, 100, 200, 252]


def test_long_runs_settle_at_a_line_a_minute(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress() as progress:
        for step in range(3600):
            clock.now += 1
            progress.update(step=step + 1)
    seconds = [int(line.split("step ")[1].replace(",", "")) for line in capsys.readouterr().err.splitlines()]
    gaps = [later - earlier for earlier, later in pairwise(seconds)]
    assert seconds[:4] == [1, 11, 21, 31]
    assert max(gaps) == 60 and gaps[-2] == 60 and sorted(gaps[:-1]) == gaps[:-1]


def test_fraction_is_the_nearer_of_two_limits(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(total_seconds=10, total_steps=1000) as progress:
        clock.now += 5
        progress.update(step=100)
        clock.now += 3
        progress.update(step=900, done=0.75)
    assert capsys.readouterr().err.splitlines() == [" 50 %  step 100", " 75 %  3.0 s left  step 900"]


def test_rate_forgets_what_is_older_than_its_window(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(unit="tokens") as progress:
        for step in range(1, 41):
            clock.now += 1
            progress.update(step=step, units=step * 10 if step <= 20 else 200 + (step - 20) * 500)
    assert capsys.readouterr().err.splitlines()[-1] == "500 tokens/s  step 40"


def test_quiet_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(total_steps=1, quiet=True) as progress:
        progress.update(step=1, loss=1.0)
        progress.validation({"loss": 1.0}, best=True)
        progress.note("hush")
    assert capsys.readouterr() == ("", "")


def test_the_live_line_is_one_line_and_notes_stand_above(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    with Progress(total_steps=10, unit="tokens") as progress:
        clock.now += 1
        progress.update(step=1, units=1000, loss=3.0)
        progress.note("kept [red]as it stands[/red]")
        clock.now += 1
        progress.update(step=2, units=1500, loss=2.0)
    written = terminal.bytes.getvalue().decode()
    assert " 10 %  loss 3.000  step 1" in written  # the first step tells nothing of the others
    assert "kept [red]as it stands[/red]" in written
    assert " 20 %  8.0 s left  loss 2.000  500 tokens/s  step 2" in written
    assert written.rstrip().endswith("\x1b[?25h"), "the cursor is shown again"
    assert sys.stderr is terminal


def test_the_live_line_is_cut_to_the_terminal(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(encoding="ascii")
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "30")
    with Progress(total_steps=10, unit="字") as progress:
        clock.now += 1
        progress.update(step=1, units=5, loss=3.0)
        clock.now += 1
        progress.update(step=2, units=9, loss=3.0)
        progress.note("快过")
    written = terminal.bytes.getvalue().decode("ascii")
    assert " 20 %  8.0 s left  loss 3....\n" in written.replace("\r", "\n")
    assert "??" in written


@pytest.mark.parametrize("tty", [False, True])
def test_a_closed_stderr_only_silences(tty: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal() if tty else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    with Progress(total_steps=2) as progress:
        progress.update(step=1)
        stream.close()
        progress.note("nobody hears this")
        progress.update(step=2, loss=1.0)
        progress.validation({"loss": 1.0}, best=False)
    assert sys.stderr is stream, "what stood in for stderr meanwhile has gone"
    with Progress(total_steps=2) as progress:
        progress.update(step=1)


def test_no_stderr_at_all_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with Progress(total_steps=2) as progress:
        progress.update(step=1)
        progress.note("nobody")


def test_what_stderr_cannot_encode_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    with Progress() as progress:
        progress.note("苹果 = apple")
    assert raw.getvalue() == b"?? = apple\n"


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "dumb")
    with Progress(total_steps=4) as progress:
        progress.update(step=2, done=0.0)
        progress.update(step=4, done=1.0)
    assert terminal.bytes.getvalue() == b"  0 %  step 2\n100 %  0.0 s left  step 4\n"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1:00"), (3599, "59:59"), (7800, "2:10:00"),
     (float("inf"), "?"), (float("nan"), "?"), (None, "?"), (-3, "0.0 s")],
)  # fmt: skip
def test_durations(seconds: float | None, shown: str) -> None:
    assert duration(seconds) == shown


def test_table_aligns_wide_characters() -> None:
    text = table([["快过圣诞节了", 12345, 0.91234], ["gru\nnet", None, 1.0]], ["名字", "rows", "accuracy"])
    assert text.splitlines() == [
        "名字            rows  accuracy",
        "------------  ------  --------",
        "快过圣诞节了  12,345    0.9123",
        "gru net            -         1",
    ]


def test_table_without_rows_and_with_mixed_columns() -> None:
    assert table([], ["a", "bb"]) == "a  bb\n-  --"
    assert table([[1, True], ["x", False]], ["a", "b"]) == "a  b\n-  -----\n1  True\nx  False"


def test_display_width_counts_columns() -> None:
    assert [display_width(text) for text in ("abc", "苹果", "e\u0301", "ｗ", "")] == [3, 4, 1, 2, 0]


def test_the_line_ends_with_the_memory(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(module, "resident_memory", lambda: 1_449_000_000)
    with Progress(total_steps=4) as progress:
        progress.update(step=1, loss=2.0)
    assert capsys.readouterr().err.rstrip().endswith("step 1  1.4 GB")


def test_the_memory_of_this_process() -> None:
    memory = REAL_MEMORY()
    assert memory is None or 10_000_000 < memory < 1 << 40
