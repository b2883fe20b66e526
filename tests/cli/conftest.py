"""The folder that commands run in, and one fit that all tests share."""

import json
from contextlib import chdir
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.cli.tiny import MODEL, Outcome, call


class Fitted(NamedTuple):
    """A simulation and its fit, with default names wherever a command has them."""

    folder: Path
    simulated: Outcome
    fitted: Outcome
    record: dict[str, Any]

    @property
    def volume(self) -> Path:
        return self.folder / "x.nxs"

    @property
    def result(self) -> Path:
        return self.folder / "tiny_fit.nc"

    @property
    def picture(self) -> Path:
        return self.folder / "tiny_fit.png"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The current folder, with the file tiny.toml in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(MODEL)
    return tmp_path


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Fitted:
    """A noise-free volume and its fit; not to be written to."""
    folder = tmp_path_factory.mktemp("shared")
    (folder / "tiny.toml").write_text(MODEL)
    with chdir(folder):
        simulated = call("simulate", "tiny.toml", "-o", "x.nxs")
        fitted = call("fit", "tiny.toml", "x.nxs", "--json")
    assert (simulated.code, fitted.code) == (0, 0), fitted.err
    return Fitted(folder, simulated, fitted, json.loads(fitted.out))
