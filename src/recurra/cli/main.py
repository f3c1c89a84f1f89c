"""The entry point: runs a command and turns every expected failure into one message and an exit code."""

from __future__ import annotations

import json
import os
import sys
from typing import NoReturn

from recurra.cli.commands import app
from recurra.errors import EnvironmentFailure, RecurraError


def main() -> NoReturn:
    """Run `recurra`. Exit codes: 0 well, 2 usage, 3 data, 4 model, 5 state, 6 the machine, 130 stopped by the person."""
    for stream in (sys.stdout, sys.stderr):
        # text that a terminal cannot show must not stop the work
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # pyright: ignore[reportAttributeAccessIssue]
    try:
        app(prog_name="recurra", standalone_mode=True)
        code = 0
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else 1
    except RecurraError as error:
        code = _fail(error)
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        code = 130
    except BrokenPipeError:
        # whoever read the output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    except OSError as error:
        code = _fail(EnvironmentFailure("The machine refused", got=error))
    except MemoryError:
        code = _fail(EnvironmentFailure("Out of memory", fix="Take fewer --rows, a smaller --hidden, or less data at once"))
    sys.exit(code)


def _fail(error: RecurraError) -> int:
    if "--json" in sys.argv:
        print(json.dumps({"error": {"kind": type(error).__name__, "message": str(error)}}, ensure_ascii=False))
    print(f"error: {error}", file=sys.stderr)
    return error.exit_code
