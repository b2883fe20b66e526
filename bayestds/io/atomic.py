"""Files that appear whole or not at all."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bayestds.errors import OutputError


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary file beside `path`, with the same suffix, that replaces `path` when the block succeeds.

    The temporary file exists and is empty on entry. If the block raises, it is removed, an existing
    `path` stays as it was, and the exception goes on.

    Raises:
        OutputError: the folder is missing or not writable, or `path` is a folder.
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
        yield temporary
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary folder beside `path` that becomes `path` when the block succeeds.

    If the block raises, it is removed, and the exception goes on.

    Raises:
        OutputError: `path` is a file or a folder that is not empty, or its parent is missing or not writable.
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
