"""Errors a person can act on: who speaks, what came, what was expected, how to mend it.

Every error that bad input can cause is one of these. The command line prints the message without a traceback and
ends with `exit_code`; Python callers can catch `RecurraError`, or the built-in class that most also are.
"""

from __future__ import annotations


class RecurraError(Exception):
    """The root of all errors raised on purpose. `exit_code` is what the command line ends with."""

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        got: object | None = None,
        expected: object | None = None,
        fix: str | None = None,
    ) -> None:
        parts = [what.rstrip(".") + "."]
        if got is not None:
            parts.append(f"Got: {got}.")
        if expected is not None:
            parts.append(f"Expected: {expected}.")
        if fix is not None:
            parts.append(fix if fix.endswith("?") else fix.rstrip(".") + ".")
        super().__init__(" ".join(parts))


class UsageError(RecurraError, ValueError):
    """An argument that makes no sense: an unknown cell, a negative size, two options that exclude each other."""

    exit_code = 2


class DataError(RecurraError, ValueError):
    """The person's data cannot be used as it is: missing, empty, broken, or not what the model was made for."""

    exit_code = 3


class ModelError(RecurraError, ValueError):
    """A folder that is no model, or one that was cut, altered, or written by a newer version."""

    exit_code = 4


class StateError(RecurraError, ValueError):
    """A state that does not fit: another model's, another batch's, damaged, or of the wrong shape."""

    exit_code = 5


class EnvironmentFailure(RecurraError, OSError):
    """The machine refused: no permission, a full disk, an optional package that is not installed."""

    exit_code = 6


class ProcessLost(EnvironmentFailure):
    """Another process that trains the same model has ended, so this one cannot go on; what it said is the reason."""

    exit_code = 7


class Interrupted(RecurraError):
    """The person stopped the work. What was done so far is kept; the message says how to go on."""

    exit_code = 130


def lacks_memory(error: BaseException) -> bool:
    """Whether memory was asked for that there is not, here or on a GPU; torch says so in words, of which these are parts."""
    said = str(error)
    wanting = any(words in said for words in ("allocate memory", "out of memory", "STATUS_ALLOC_FAILED"))
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and wanting)
