"""Files that are there whole or not at all, and errors of the disk told in words."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from recurra.errors import DataError, EnvironmentFailure, ModelError, RecurraError, StateError, UsageError

try:
    import fcntl
except ImportError:  # Windows has no such locks; there only the renames protect
    fcntl = None

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
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            return "The disk is full: free some space, or choose another folder. What was there before is untouched"
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
        return open(path, "rb")
    except FileNotFoundError as error:
        raise missing(f"No such {kind} file: {path}", fix="See that the path is right") from error
    except ValueError as error:  # a NUL character
        raise missing(f"No such {kind} file: {str(path)!r}", fix="See that the path is right") from error
    except IsADirectoryError as error:
        raise missing(f"{path} is a folder", expected=f"a {kind} file") from error
    except OSError as error:
        raise _refusal(path, "read", error) from error


def write_file(path: Path, content: bytes | str) -> None:
    """Write beside the target, sync, rename: a reader sees the old file or the new one, never a part.

    Half a surrogate pair in a text, which names of files and broken JSON can hold, is written as the escape \\udXXX.
    """
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    with disk_errors(path, "write"):
        target = Path(os.path.realpath(path))  # a link stays a link
        if target.exists() and not target.is_file():
            raise EnvironmentFailure(
                f"Cannot write {path}", got="a folder or a device", expected="a file, or a free name"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o666 & ~_umask())
            os.replace(name, target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        _sync_folder(target.parent)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that takes the place of `path` when the block ends well, and vanishes otherwise."""
    target = Path(os.path.realpath(path))
    with disk_errors(path, "write"):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        yield temporary
        with disk_errors(path, "write"):
            os.chmod(temporary, 0o777 & ~_umask())
            for file in temporary.iterdir():
                if file.is_file():
                    _sync_file(file)
            _sync_folder(temporary)
            _take_place(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _take_place(temporary: Path, target: Path) -> None:
    """Rename `temporary` to `target`; what stood there goes only when the new one is in its place."""
    if not target.exists():
        os.rename(temporary, target)
        _sync_folder(target.parent)
        return
    aside = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.old."))
    try:
        os.rename(target, aside / "old")
        try:
            os.rename(temporary, target)
        except BaseException:
            os.rename(aside / "old", target)
            raise
        _sync_folder(target.parent)
    finally:
        if target.exists():
            shutil.rmtree(aside, ignore_errors=True)


def remove_folder(path: Path) -> None:
    """Remove a folder with all that is in it; whoever looks sees all of it or nothing."""
    aside = path.with_name(f".{path.name}.removed")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        os.rename(path, aside)
    except OSError:
        aside = path  # it is not there, or has to go where it stands
    shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def sole_writer(path: Path) -> Iterator[None]:
    """Hold `path` against other runs on this machine, by a locked file beside it that no crash can leave locked.

    What a run that was killed while it wrote has left beside `path` is cleared away. Raises `UsageError` where another run
    holds it, `EnvironmentFailure` where nothing can be written there.
    """
    target = Path(os.path.realpath(path))
    lock = target.parent / f".{target.name}.lock"
    with disk_errors(path, "write"):
        target.parent.mkdir(parents=True, exist_ok=True)
        handle = _locked(lock, path)
    try:
        with disk_errors(path, "write"):
            _clear_beside(target)
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(handle)


def is_held(path: Path) -> bool:
    """Whether a run holds `path` now (`sole_writer`). It asks with a shared lock and gives that back at once.

    Only a file that a crash has left is ever locked by the question: a run that ends removes its own. Where there are no
    such locks, the file beside `path` is all there is to go by.
    """
    target = Path(os.path.realpath(path))
    try:
        handle = os.open(target.parent / f".{target.name}.lock", os.O_RDONLY)
    except OSError:
        return False
    try:
        if fcntl is None:
            return True
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def _clear_beside(target: Path) -> None:
    """Remove the temporary folders of writes that were killed; a folder that had been set aside comes back."""
    own = re.compile(re.escape(f".{target.name}.") + r"(old\.)?[a-z0-9_]{8}")
    for entry in list(target.parent.iterdir()):
        found = own.fullmatch(entry.name)
        if found and entry.is_dir():
            if found[1] and (entry / "old").is_dir() and not os.path.lexists(target):
                os.rename(entry / "old", target)
            shutil.rmtree(entry, ignore_errors=True)


def _locked(lock: Path, path: Path) -> int:
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if fcntl is None:
                return handle
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # whoever held it before removes it: a lock on a removed file keeps nobody out
            if lock.exists() and os.path.samestat(os.fstat(handle), os.stat(lock)):
                return handle
        except BlockingIOError as error:
            os.close(handle)
            raise UsageError(
                f"Another run is writing to {path}", fix="Wait until it has ended, or choose another --out"
            ) from error
        except OSError as error:
            if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):  # a file system without locks
                return handle
            os.close(handle)
            raise
        os.close(handle)


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
