"""Which frames are snapshots of the crystal, and what is said of those that are not."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from bayestds.crystal.structure import build_crystal
from bayestds.crystal.supercell import make_supercell
from bayestds.errors import VolumeError
from bayestds.scattering.snapshots import (
    LARGEST_STRAIN,
    Frame,
    Snapshot,
    occupied_share,
    principal_strains,
    snapshots,
)
from tests.trajectories import MULTIPLES, Motion, factors_of, supercell_of, trajectory


def check(name: str, frames: list[Frame]) -> list[Snapshot]:
    supercell = supercell_of(name)
    return list(snapshots(frames, supercell, factors_of(supercell), "md.dump"))


@pytest.mark.parametrize("name", MULTIPLES)
@pytest.mark.parametrize(
    "motion",
    [
        Motion(),
        Motion(strain=LARGEST_STRAIN),
        Motion(drift=(0.3, -0.7, 1.1)),
        Motion(rotated=True),
        Motion(wrapped=True),
        # A tenth of the nearest distance or so.
        Motion(displacement=0.25 / np.sqrt(3)),
    ],
    ids=["moving", "strained", "drifting", "rotated", "wrapped", "hot"],
)
def test_snapshots_of_the_crystal_are_accepted(name, motion):
    found = check(name, trajectory(supercell_of(name), 3, motion))
    assert len(found) == 3


@pytest.mark.parametrize("name", MULTIPLES)
def test_positions_are_those_of_the_sites(name):
    """At rest every atom is on a site of the crystal, in fractions of the conventional cell."""
    supercell = supercell_of(name)
    crystal = supercell.crystal
    frames = trajectory(supercell, 2, Motion(displacement=0.0, strain=0.02, rotated=True, wrapped=True))
    to_primitive = crystal.conventional_matrix
    for frame, snapshot in zip(frames, check(name, frames), strict=True):
        cells = (snapshot.positions @ to_primitive)[:, None] - crystal.fractional_positions
        off = np.abs(cells - np.rint(cells)).max(axis=-1)
        kinds = np.argmin(off, axis=1)
        assert off.min(axis=1).max() < 1e-10
        assert [crystal.species[kind] for kind in kinds] == frame.species.tolist()
        np.testing.assert_array_equal(snapshot.weights, factors_of(supercell)[kinds])


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("name", MULTIPLES)
def test_drift_is_that_of_the_centroid(name, wrapped):
    """Also far beyond the cell, and where atoms cross its boundary."""
    drift = np.array([0.9, -0.4, 1.3])
    motion = Motion(drift=tuple(drift), wrapped=wrapped)
    found = check(name, trajectory(supercell_of(name), 30, motion))
    expected = np.arange(30)[:, None] * drift
    np.testing.assert_allclose([snapshot.drift for snapshot in found], expected, atol=1e-9)


def test_strains():
    supercell = supercell_of("hcp")
    deformation = np.diag([1.01, 0.99, 1.025])
    strained = supercell.lattice_vectors @ deformation
    np.testing.assert_allclose(principal_strains(strained @ strained.T, supercell), [-0.01, 0.01, 0.025])


@pytest.mark.parametrize("name", MULTIPLES)
def test_share_of_occupied_sites(name):
    """Some atoms are put on the sites of others, which leaves their own ones empty."""
    supercell = supercell_of(name)
    snapshot = check(name, trajectory(supercell, 1, Motion(drift=(3.0, 1.0, 2.0))))[0]
    belongs = snapshot.weights[:, None] == factors_of(supercell)
    assert occupied_share(snapshot.positions, belongs, supercell) == 1.0
    # The last two atoms that belong to the same site of the primitive cell as the first one.
    crowded, alike = snapshot.positions.copy(), np.flatnonzero((belongs == belongs[0]).all(axis=1))
    crowded[alike[-2:]] = crowded[alike[0]]
    share = occupied_share(crowded, belongs, supercell)
    assert share == 1 - 2 / len(crowded)


def positions(change: Callable[[np.ndarray, Frame], np.ndarray]) -> Callable[[Frame], Frame]:
    return lambda frame: replace(frame, positions=change(frame.positions.copy(), frame))


def not_finite(x: np.ndarray, frame: Frame) -> np.ndarray:
    x[4, 1] = np.nan
    return x


def molten(x: np.ndarray, frame: Frame) -> np.ndarray:
    return np.random.default_rng(0).uniform(size=x.shape) @ frame.cell


MISTAKES: dict[str, tuple[Callable[[Frame], Frame], list[str]]] = {
    "fewer atoms": (
        lambda frame: Frame(frame.cell, frame.positions[:-2], frame.species[:-2]),
        ["has 30 atoms", "has 32", "[[2, 0, 0], [0, 2, 0], [0, 0, 1]]", "`supercell`"],
    ),
    "position not finite": (positions(not_finite), ["atom 5", "not finite", "nan"]),
    "no cell": (lambda frame: replace(frame, cell=np.zeros((3, 3))), ["no periodic cell", "Lattice="]),
    "flat cell": (lambda frame: replace(frame, cell=np.ones((3, 3))), ["no periodic cell"]),
    "cell not finite": (lambda frame: replace(frame, cell=np.full((3, 3), np.nan)), ["no periodic cell"]),
    "too much strain": (
        lambda frame: replace(frame, cell=1.031 * frame.cell, positions=1.031 * frame.positions),
        ["11.66", "11.31", "strain of 3.1%", "more than 3%"],
    ),
    "shear": (
        lambda frame: replace(frame, cell=frame.cell + np.array([[0, 0, 0], [0.8, 0, 0], [0, 0, 0]])),
        ["85.", "90"],
    ),
    "axes in another order": (
        lambda frame: replace(frame, cell=frame.cell[[2, 0, 1]]),
        ["5.653 11.31 11.31", "11.31 11.31 5.653", "setting"],
    ),
    "no labels": (
        lambda frame: replace(frame, species=np.empty(0, dtype=str)),
        ["no labels", "16 As, 16 Ga", "dump_modify", "`element`"],
    ),
    "types for labels": (
        lambda frame: replace(frame, species=np.where(frame.species == "Ga", "H", "He")),
        ["16 H, 16 He", "16 As, 16 Ga", "dump_modify"],
    ),
    "one atom too many of a kind": (
        lambda frame: replace(frame, species=np.array(["Ga", *np.sort(frame.species)[1:]])),
        ["15 As, 17 Ga", "16 As, 16 Ga"],
    ),
    "fractions for positions": (
        positions(lambda x, frame: x @ np.linalg.inv(frame.cell)),
        ["not on the sites", "of the sites", "less than 90%", "in Å"],
    ),
    "molten": (positions(molten), ["not on the sites"]),
    "turned without its cell": (positions(lambda x, frame: x[:, [2, 0, 1]]), ["not on the sites"]),
    "upside down": (
        positions(lambda x, frame: -x),
        ["not on the sites"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake(mistake):
    change, words = MISTAKES[mistake]
    first = trajectory(supercell_of("zincblende"), 1, Motion())[0]
    with pytest.raises(VolumeError) as caught:
        check("zincblende", [change(first)])
    assert caught.value.summary.startswith("md.dump, frame 1: ")
    assert caught.value.fix
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "mistake", ["fewer atoms", "position not finite", "no cell", "too much strain", "types for labels"]
)
def test_mistake_of_a_later_frame(mistake):
    frames = trajectory(supercell_of("zincblende"), 4, Motion())
    frames[2] = MISTAKES[mistake][0](frames[2])
    with pytest.raises(VolumeError, match=r"md\.dump, frame 3: "):
        check("zincblende", frames)


@pytest.mark.parametrize("labels", ["Ni", "H", "Cu", None])
def test_any_label_will_do_for_a_single_species(labels):
    frames = trajectory(supercell_of("fcc"), 2, Motion())
    n = len(frames[0].positions)
    species = np.array([labels] * n if labels else [], dtype=str)
    found = check("fcc", [replace(frame, species=species) for frame in frames])
    assert all(snapshot.labels == ({labels} if labels else set()) for snapshot in found)
    assert all((snapshot.weights == 1.0).all() for snapshot in found)


def test_labels_may_change_their_order():
    frames = trajectory(supercell_of("zincblende"), 2, Motion())
    order = np.argsort(frames[1].species)
    sorted_frame = replace(frames[1], positions=frames[1].positions[order], species=frames[1].species[order])
    plain, changed = check("zincblende", frames), check("zincblende", [frames[0], sorted_frame])
    np.testing.assert_array_equal(changed[1].weights, plain[1].weights[order])


def test_labels_of_elements_stand_for_isotopes():
    """Other programs call deuterium H; with both in the crystal, labels must tell which is which."""
    cell, places = np.array([3.0] * 3 + [90.0] * 3), [[0, 0, 0], [0.5, 0.5, 0.5]]
    crystals = [build_crystal(cell, species, places) for species in (["D", "Cl"], ["D", "H"])]
    deuteride, both = (make_supercell(crystal, [2, 2, 2]) for crystal in crystals)
    frame = trajectory(deuteride, 1, Motion())[0]
    plain = replace(frame, species=np.array(["H" if label == "D" else label for label in frame.species]))
    factors = np.array([6.67, 9.58])
    (found,) = snapshots([plain], deuteride, factors, "md.dump")
    (expected,) = snapshots([frame], deuteride, factors, "md.dump")
    np.testing.assert_array_equal(found.weights, expected.weights)
    only_hydrogen = replace(frame, species=np.array(["H"] * len(frame.positions)))
    with pytest.raises(VolumeError, match="species are not those"):
        list(snapshots([only_hydrogen], both, factors, "md.dump"))
