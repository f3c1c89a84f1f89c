"""Files that are there whole or not at all, and errors of the disk told in words."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from recurra.errors import DataError, EnvironmentFailure, ModelError, RecurraError, StateError

_MISSING: dict[str, type[RecurraError]] = {"data": DataError, "model": ModelError, "state": StateError}


@contextmanager
def disk_errors(path: Path, doing: str) -> Iterator[None]:
    """Turn what the operating system refuses into an `EnvironmentFailure` that names the path and the way out."""
    try:
        yield
    except RecurraError:
        raise
    except OSError as error:
        raise _refusal(path, doing, error) from error


def _refusal(path: Path, doing: str, error: OSError) -> EnvironmentFailure:
    return EnvironmentFailure(f"Cannot {doing} {path}", got=error.strerror or str(error), fix=_way_out(error))


def _way_out(error: OSError) -> str:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return "The disk is full: free some space, or choose another folder with --out. What was there before is untouched"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return "Choose a place you may write to, or ask its owner for permission"
        case errno.ENOTDIR | errno.EEXIST:
            return "A file stands where a folder is needed: move it, or choose another name"
        case errno.ENAMETOOLONG:
            return "Choose a shorter name"
        case _:
            return "See that the path is right and the disk is there"


def open_for_reading(path: Path, kind: str) -> BinaryIO:
    """Open a person's file of a `kind` ("data", "model", "state"), or say what is wrong with the path."""
    missing = _MISSING[kind]
    try:
        return open(path, "rb")  # noqa: SIM115 (the caller closes it)
    except FileNotFoundError as error:
        raise missing(f"No such {kind} file: {path}", fix="See that the path is right") from error
    except IsADirectoryError as error:
        raise missing(f"{path} is a folder", expected=f"a {kind} file") from error
    except OSError as error:
        raise _refusal(path, "read", error) from error


def write_file(path: Path, content: bytes | str) -> None:
    """Write beside the target, sync, rename: a reader sees the old file or the new one, never a part."""
    data = content.encode() if isinstance(content, str) else content
    with disk_errors(path, "write"):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o666 & ~_umask())
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that takes the place of `path` when the block ends well, and vanishes otherwise."""
    with disk_errors(path, "write"):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield temporary
        with disk_errors(path, "write"):
            os.chmod(temporary, 0o777 & ~_umask())
            for file in temporary.iterdir():
                if file.is_file():
                    _sync_file(file)
            _sync_folder(temporary)
            replaced = None
            if path.exists():
                replaced = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.old."))
                os.rename(path, replaced / "old")
            os.rename(temporary, path)
            _sync_folder(path.parent)
            if replaced is not None:
                shutil.rmtree(replaced)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_file(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    # Windows cannot open a folder; there the rename alone has to do.
    if os.name == "posix":
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
