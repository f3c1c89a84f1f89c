"""The entry point: runs a command and turns every expected failure into one message and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import NoReturn, TextIO

import typer

from recurra.cli.commands import app
from recurra.cli.talk import say_json, tell
from recurra.errors import EnvironmentFailure, Interrupted, RecurraError, UsageError, lacks_memory

# what the reading of options raises has no public name of its own
_Misuse = typer.BadParameter.__mro__[1]
_NO_MEMORY = EnvironmentFailure(
    "Out of memory", fix="Take fewer --rows, a smaller --hidden, shorter inputs, or less data at once"
)


def main() -> NoReturn:
    """Run `recurra`.

    Exit codes: 0 well, 2 usage, 3 data, 4 model, 5 state, 6 the machine, 7 another process, 130 stopped by the person,
    141 nobody reads.
    """
    _open_streams()
    _stop_in_words()
    try:
        code = _run()
        sys.stdout.flush()
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else 1
    except RecurraError as error:
        code = _fail(error)
    except KeyboardInterrupt:
        if "--json" in sys.argv:
            _say_error(Interrupted("Stopped"))
        tell("\nStopped.")
        code = 130
    except BrokenPipeError:
        # whoever read the output has gone, as `head` does
        code = 141
    except ModuleNotFoundError as error:
        missing = f"The package {error.name} is not installed"
        code = _fail(EnvironmentFailure(missing, fix="Install what is needed with: pip install --upgrade recurra"))
    except OSError as error:
        code = _fail(EnvironmentFailure("The machine refused", got=error))
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        code = _fail(_NO_MEMORY)
    for stream in (sys.stdout, sys.stderr):
        _settle(stream)
    sys.exit(code)


def _run() -> int:
    """Run the command that the arguments name; an exit code."""
    command = typer.main.get_command(app)
    try:
        with command.make_context("recurra", sys.argv[1:]) as context:
            command.invoke(context)
    except typer.Exit as ending:
        return ending.exit_code
    except _Misuse as error:  # pyright: ignore[reportGeneralTypeIssues]
        if "--json" in sys.argv:
            _say_error(UsageError(error.format_message()))
        error.show()
        return error.exit_code
    return 0


def _fail(error: RecurraError) -> int:
    if "--json" in sys.argv:
        _say_error(error)
    tell(f"error: {error}")
    return error.exit_code


def _say_error(error: RecurraError) -> None:
    try:
        say_json({"error": {"kind": type(error).__name__, "message": str(error)}})
    except OSError:
        return  # stdout is what failed; stderr tells


def _stop_in_words() -> None:
    """A request to stop, and a terminal that closes, end a command as Ctrl-C does; one that is ignored stays ignored.

    Who trains or streams puts handlers of its own over these, and first keeps what there is.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, stop)


def _open_streams() -> None:
    """Text that a terminal cannot show must not stop the work, nor a stream that is closed."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            handle = os.open(os.devnull, os.O_RDONLY if mode == "r" else os.O_WRONLY)
            setattr(sys, name, open(handle, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 (open until the end)
        elif mode == "w" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _settle(stream: TextIO) -> None:
    """What is left in a stream that nobody reads any more must not end in a traceback."""
    try:
        stream.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
