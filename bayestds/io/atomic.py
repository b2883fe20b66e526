"""Files that appear whole or not at all."""

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bayestds.errors import OutputError

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
"""What the system says where it cannot take what is written: a full disk, a quota, a limit, a broken disk."""

OVERHEAD = 2**20
"""Bytes of a file beyond its numbers, and a tenth of those."""


@contextmanager
def atomic_path(path: str | os.PathLike[str], size: int = 0) -> Iterator[Path]:
    """A temporary file beside `path`, with the same suffix, that replaces `path` when the block succeeds.

    The temporary file exists and is empty on entry. If the block raises, it is removed, an existing
    `path` stays as it was, and the exception goes on.

    Args:
        path: the file.
        size: bytes of numbers that HDF5 is going to write, for which there must be room: where a disk is full
            in the middle, HDF5 ends the process with a segmentation fault.

    Raises:
        OutputError: the folder is missing or not writable, `path` is a folder, or the disk is full.
    """
    # Through a symbolic link the file it points to is replaced, not the link.
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise OutputError(f"Cannot write {path}.", "It is a folder.", "Name a file inside it.")
    temporary = target.with_name(f".{target.stem[:100]}-{uuid.uuid4().hex}{target.suffix}")
    try:
        # Unlike tempfile's 0600, this mode leaves the permissions to the umask.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:
        raise OutputError(
            f"Cannot write {path}.",
            f"A file cannot be created in {target.parent}: {error.strerror}.",
            "Choose an existing folder that you may write to.",
        ) from error
    try:
        with _room_or_error(path):
            if size:
                _check_room(temporary, size)
            yield temporary
            with open(temporary, "rb+") as written:
                os.fsync(written.fileno())
            os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _check_room(file: Path, size: int) -> None:
    """Take so many bytes and the overhead for a moment; a quota and other limits are felt as well.

    Raises:
        OSError: they cannot be had.
    """
    size += size // 10 + OVERHEAD
    with open(file, "rb+") as opened:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(opened.fileno(), 0, size)
        elif shutil.disk_usage(file.parent).free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        opened.truncate(0)


@contextmanager
def _room_or_error(path: str | os.PathLike[str]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise OutputError(
            f"Cannot write {path}.",
            f"The system says: {os.strerror(error.errno)}.",
            "Free some space there, or choose another place; what was there before has been kept.",
        ) from error


@contextmanager
def atomic_folder(path: str | os.PathLike[str], size: int = 0) -> Iterator[Path]:
    """A temporary folder beside `path` that becomes `path` when the block succeeds.

    If the block raises, it is removed, and the exception goes on.

    Args:
        path: the folder.
        size: bytes of numbers that are going to be written; see :func:`atomic_path`.

    Raises:
        OutputError: `path` is a file or a folder that is not empty, its parent is missing or not writable, or
            the disk is full.
    """
    target = Path(os.path.realpath(path))
    check_folder(path)
    temporary = target.with_name(f".{target.name[:100]}-{uuid.uuid4().hex}")
    try:
        temporary.mkdir()
    except OSError as error:
        raise OutputError(
            f"Cannot write {path}.",
            f"A folder cannot be created in {target.parent}: {error.strerror}.",
            "Choose an existing folder that you may write to.",
        ) from error
    try:
        with _room_or_error(path):
            if size:
                probe = temporary / "room"
                probe.touch()
                _check_room(probe, size)
                probe.unlink()
            yield temporary
            os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_folder(path: str | os.PathLike[str]) -> None:
    """Refuse a folder that cannot be made.

    Raises:
        OutputError: `path` is a file, or a folder that is not empty.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir() and any(target.iterdir()):
        raise OutputError(
            f"Cannot write {path}.", "The folder is not empty.", "Name a new folder, or empty this one."
        )
    if target.exists() and not target.is_dir():
        raise OutputError(f"Cannot write {path}.", "It is a file.", "Name a new folder.")
