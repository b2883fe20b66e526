import errno
import os
from contextlib import suppress

import pytest

from bayestds.errors import OutputError
from bayestds.io.atomic import atomic_folder, atomic_path
from tests.survival.faults import file_size_limit


def fail(path, error):
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        raise error


def test_success_replaces_the_target_and_leaves_nothing_else(tmp_path):
    target = tmp_path / "result.nc"
    target.write_text("old")
    with atomic_path(target) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".nc"
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert os.listdir(tmp_path) == ["result.nc"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_failure_leaves_no_file(tmp_path, error):
    with pytest.raises(error):
        fail(tmp_path / "result.nc", error)
    assert os.listdir(tmp_path) == []


def test_failure_leaves_the_target_as_it_was(tmp_path):
    target = tmp_path / "result.nc"
    target.write_text("old")
    with pytest.raises(RuntimeError):
        fail(target, RuntimeError)
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["result.nc"]


def test_permissions_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        with atomic_path(tmp_path / "result.nc"):
            pass
    finally:
        os.umask(old)
    assert (tmp_path / "result.nc").stat().st_mode & 0o777 == 0o640


def test_a_symbolic_link_stays_a_link(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with atomic_path(tmp_path / "link") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


@pytest.mark.parametrize(("name", "reason"), [("missing/result.nc", "No such file"), ("", "folder")])
def test_a_target_that_cannot_be_written_is_named(tmp_path, name, reason):
    with pytest.raises(OutputError, match=reason) as caught, atomic_path(tmp_path / name):
        pass
    assert str(tmp_path / name) in caught.value.summary
    assert caught.value.fix


def fill(path, error):
    with atomic_folder(path) as temporary:
        (temporary / "half").write_text("half")
        if error is not None:
            raise error


@pytest.mark.parametrize("empty", [False, True])
def test_folder_appears_whole(tmp_path, empty):
    if empty:
        (tmp_path / "out").mkdir()
    fill(tmp_path / "out", None)
    assert os.listdir(tmp_path) == ["out"]
    assert (tmp_path / "out" / "half").read_text() == "half"


def test_failure_leaves_no_folder(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path / "out", KeyboardInterrupt)
    assert os.listdir(tmp_path) == []


def test_folders_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="It is a file"):
        fill(tmp_path / "file", None)
    with pytest.raises(OutputError, match=r"none: No such file"):
        fill(tmp_path / "none" / "out", None)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "kept").touch()
    with pytest.raises(OutputError, match="not empty"):
        fill(tmp_path / "full", None)
    assert os.listdir(tmp_path / "full") == ["kept"]


def test_a_full_disk_is_told_and_leaves_what_was_there(tmp_path):
    (tmp_path / "result.nc").write_text("old")
    with pytest.raises(OutputError, match="No space left on device") as caught:
        fail(tmp_path / "result.nc", OSError(errno.ENOSPC, "full"))
    assert str(tmp_path / "result.nc") in caught.value.summary
    assert (tmp_path / "result.nc").read_text() == "old"
    assert os.listdir(tmp_path) == ["result.nc"]


def test_room_is_asked_for_before_the_block(tmp_path):
    """A limit of 2 MiB for files, within which 0.8 MB fit with what comes on top, and 1 MB do not."""
    begun = []
    with file_size_limit(2 * 2**20):
        for size in (800_000, 1_000_000):
            with suppress(OutputError), atomic_path(tmp_path / "r", size) as temporary:
                assert temporary.stat().st_size == 0
                begun.append(size)
    assert begun == [800_000]
    assert os.listdir(tmp_path) == ["r"]


def test_another_error_of_the_system_goes_on(tmp_path):
    with pytest.raises(FileNotFoundError):
        fail(tmp_path / "r", FileNotFoundError(errno.ENOENT, "an input"))


def test_a_full_disk_leaves_no_folder(tmp_path):
    with pytest.raises(OutputError, match="No space left"):
        fill(tmp_path / "out", OSError(errno.ENOSPC, "full"))
    assert os.listdir(tmp_path) == []
