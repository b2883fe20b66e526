import os

import pytest

from bayestds.errors import OutputError
from bayestds.io.atomic import atomic_folder, atomic_path


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
