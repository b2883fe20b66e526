"""What does not fit into memory is refused before it is taken: sizes by hand, memory made small."""

from pathlib import Path

import pytest

from bayestds import memory
from tests.cli.refusal import refused, says
from tests.cli.tiny import MODEL

VOXELS = 13**3
ATOMS = 108


def has(monkeypatch: pytest.MonkeyPatch, n_bytes: float) -> None:
    """Let this computer have so little memory."""
    monkeypatch.setattr(memory, "physical_memory", lambda: float(n_bytes))


def test_grid(folder, monkeypatch):
    """130 bytes a voxel: the measured size of simulating one."""
    has(monkeypatch, 130 * VOXELS - 1)
    few = ("--chains", "1", "--draws", "4")
    for command, *more in (("simulate",), ("fit",), ("sample", *few), ("plan",)):
        says(refused(folder, command, "tiny.toml", *more), "13 x 13 x 13", "GiB free", "Use fewer points")


@pytest.mark.parametrize("nufft", [False, True])
def test_configuration(folder, monkeypatch, nufft):
    """Two of three waves of every atom multiplied, and six volumes; the nonuniform FFT needs only these."""
    words = ("simulate", "tiny.toml", "--engine", "sampled", *(["--nufft"] if nufft else []))
    needed = 8 * (6 * VOXELS + (0 if nufft else 13 * 13 * ATOMS))
    # More than the voxels themselves ask for, so that this is what is refused.
    Path("tiny.toml").write_text(MODEL)
    monkeypatch.setattr("bayestds.cli.assemble.BYTES_PER_VOXEL", 8)
    has(monkeypatch, needed - 1)
    outcome = refused(folder, *words)
    says(outcome, "108 atoms and 13 x 13 x 13 voxels")
    assert ("--nufft" in outcome.err) is not nufft


def test_dense_hessian(folder, monkeypatch):
    """(3N)² doubles four times over: 3.4 MB, which nothing else of this simulation comes near."""
    has(monkeypatch, 4 * 8 * (3 * ATOMS) ** 2)
    words = ("simulate", "tiny.toml", "--engine", "sampled", "--sampler", "dense")
    says(refused(folder, *words), "324 rows", "--sampler block")


def test_points_and_pairs(folder, monkeypatch):
    """Near phases of the direct form take 48 bytes a pair and block: 79 points are 22 blocks of 56 pairs."""
    monkeypatch.setattr("bayestds.cli.assemble.BYTES_PER_VOXEL", 8)
    has(monkeypatch, 48 * 22 * 56)
    outcome = refused(folder, "simulate", "tiny.toml")
    says(outcome, "79 points, with 56 pairs of atoms each", "smaller supercell")


def test_derivatives(folder, shared, monkeypatch):
    """79 points times 5 constants, made a million times dearer: 3.2 GB."""
    monkeypatch.setattr("bayestds.cli.sizes.COPIES_OF_DERIVATIVES", 10**6)
    has(monkeypatch, 2 * 2**30)
    outcome = refused(folder, "fit", "tiny.toml", str(shared.volume))
    says(outcome, str(shared.volume), f"{shared.record['n_points']} irreducible points", "5 force constants")


@pytest.mark.parametrize(("draws", "fits"), [(10_000, True), (20_000, False)])
def test_draws(draws, fits, monkeypatch):
    """2 chains of 10,200 draws of 5 constants and 6 statistics are 1.8 MB, twice."""
    from bayestds.cli.sampling import _check_memory
    from bayestds.errors import ModelError
    from bayestds.inference.nuts import Sampling

    has(monkeypatch, 2 * 8 * 2 * 10_200 * (5 + 6))
    if fits:
        _check_memory(Sampling(2, draws, 200), 5)
    else:
        with pytest.raises(ModelError, match="2 chains of 20,000 draws"):
            _check_memory(Sampling(2, draws, 200), 5)
