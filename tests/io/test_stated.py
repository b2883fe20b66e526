import numpy as np
import pytest

from bayestds.io.stated import temperature_in_title, usable_lattice, with_notes
from bayestds.scattering.volume import make_volume


def volume_with(sigma=None, **attributes):
    rng = np.random.default_rng(1)
    intensity = rng.uniform(1, 9, (4, 3, 5))
    sigma = None if sigma is None else sigma(intensity)
    axes = (np.arange(4.0), np.arange(3.0), np.arange(5.0))
    return with_notes(make_volume(*axes, intensity, sigma=sigma, **attributes))


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("300.000K Transform", 300.0),
        ("Si T=300.0 Symmetrized Transform", 300.0),
        ("sample 150 K, run 3", 150.0),
        ("KCl 2K19 transform", None),
        ("K2NiF4", None),
        ("10 K to 300 K", None),
        ("0 K", None),
        ("10K/min", None),
        ("T = 25 C", None),
        ("scan 300", None),
        ("Ni Pilatus 100K", None),
        ("T=300mK", None),
        ("T=25degC", None),
        ("T=1.5e2 K", None),
        ("H=1 K=2", None),
        ("(0.5 K L)", None),
        ("-10 K", None),
        ("Si 300 K Transform", 300.0),
        ("T = 300 K", 300.0),
    ],
)
def test_temperatures_in_titles(title, expected):
    assert temperature_in_title(title) == expected


def test_the_temperature_of_a_title_is_used_and_said():
    volume = volume_with(title="300.000K Transform")
    assert volume.attrs["temperature"] == 300.0
    assert any("300 K was taken from the title" in note for note in volume.encoding["notes"])
    kept = volume_with(title="300.000K Transform", temperature=120.0)
    assert kept.attrs["temperature"] == 120.0


@pytest.mark.parametrize("values", [(1, 1, 1, 90, 90, 90), (0,) * 6, (np.nan,) * 6, None])
def test_numbers_that_are_no_lattice(values):
    assert usable_lattice(values) is None


def test_a_lattice_that_is_too_small_is_said():
    notes = volume_with(lattice=(0.352, 0.352, 0.352, 90, 90, 90)).encoding["notes"]
    assert any("edge of 0.352 Å" in note for note in notes)
    assert not volume_with(lattice=(2.46, 2.46, 6.7, 90, 90, 120)).encoding["notes"]


def test_a_missing_lattice_is_said():
    assert any("states no lattice" in note for note in volume_with().encoding["notes"])


@pytest.mark.parametrize(
    ("sigma", "made_up"),
    [(lambda i: i, True), (np.sqrt, True), (lambda i: 0.1 * i, False), (lambda i: np.sqrt(i) / 3, False)],
)
def test_errors_that_nobody_measured(sigma, made_up):
    notes = volume_with(sigma, lattice=(3, 3, 3, 90, 90, 90)).encoding["notes"]
    assert any("made up" in note for note in notes) == made_up


def test_roots_of_counts_are_errors():
    counts = np.random.default_rng(2).poisson(9.0, (4, 3, 5)) + 1.0
    axes = (np.arange(4.0), np.arange(3.0), np.arange(5.0))
    lattice = (3, 3, 3, 90, 90, 90)
    volume = make_volume(*axes, counts, sigma=np.sqrt(counts), lattice=lattice)
    assert not with_notes(volume).encoding["notes"]
    # A bin of a histogram with one event has not so many counts.
    volume.encoding["one_event_a_bin"] = True
    assert any("made up" in note for note in with_notes(volume).encoding["notes"])
