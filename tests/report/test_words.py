"""What the report page says of a result in words."""

import json
import math

import numpy as np
import pytest

from bayestds.diagnostics.summary import summary_record
from bayestds.report.words import BAD, GOOD, NOTE, caution, decimals, error, fixed, number, percent, verdict
from tests.pages import full_posterior, joint_result
from tests.results import point_fit_result


def said(tree) -> dict[str, str]:
    """Statements by their text, of which kind they are."""
    return {one.text: one.kind for one in verdict(tree, summary_record(tree))}


def like(statements: dict[str, str], start: str) -> tuple[str, str]:
    """The only statement that begins so."""
    found = [(text, kind) for text, kind in statements.items() if text.startswith(start)]
    assert len(found) == 1, statements
    return found[0]


def test_all_shells_determined():
    found = said(point_fit_result("fcc", n_shells=2))
    assert found["The data determine all 2 neighbour shells."] == GOOD


def test_some_shells_determined():
    """The prior has 1 eV/Å², so 0.12 of it is a contraction of 0.9856: short of what determined means."""
    values = np.array([-1.0, 0.1, -1.1, -0.05, 0.02])
    sd = np.array([0.001, 0.001, 0.001, 0.12, 0.12])
    found = said(point_fit_result("fcc", values, np.diag(sd**2), 2))
    text, kind = like(found, "The data determine")
    assert text == "The data determine 1 of 2 neighbour shells (1). Shell 2 is weak."
    assert kind == NOTE
    expected = "3 of 5 constants are significantly different from zero; c0 and c1 are not."
    assert like(found, "3 of 5 constants")[0] == expected


def test_fit_that_did_not_converge():
    tree = point_fit_result("fcc", n_shells=2)
    tree.attrs |= {"converged": 0, "message": "Too many rounds."}
    first = verdict(tree, summary_record(tree))[0]
    assert (first.kind, first.text) == (BAD, "The point fit did not converge. Too many rounds.")


def test_warnings_of_the_fit_are_repeated():
    tree = point_fit_result("fcc", n_shells=2)
    tree.attrs["warnings"] = json.dumps(["the volume states no temperature."])
    assert said(tree)["Warning: the volume states no temperature."] == BAD


def test_chi_square_and_what_it_is_measured_by():
    tree = point_fit_result("fcc", n_shells=2)
    tree.attrs |= {"noise": "given", "reduced_chi_square": 1.1}
    assert like(said(tree), "Chi-square")[1] == GOOD
    tree.attrs["reduced_chi_square"] = 7.0
    assert like(said(tree), "Chi-square")[1] == BAD
    # Noise that is learned is compared with the scatter of equivalent voxels, where there are any.
    tree.attrs["noise"] = "learned"
    assert like(said(tree), "Chi-square")[1] == BAD
    tree.attrs["reduced_chi_square"] = math.nan
    assert like(said(tree), "Chi-square is not known")[1] == NOTE
    tree.attrs["noise"] = "assumed"
    assert not any(text.startswith("Chi-square") for text in said(tree))


def test_odd_residuals():
    tree = point_fit_result("fcc", n_shells=2)
    tree.attrs["residuals"] = json.dumps({"rms": 0.05, "odd_rms": 0.049})
    assert "Of that 4.9% is odd about the Bragg points" in like(said(tree), "Observed and fitted")[0]
    tree.attrs["residuals"] = json.dumps({"rms": 0.05, "odd_rms": 0.035})
    assert "odd" not in like(said(tree), "Observed and fitted")[0]


def test_chains_that_have_not_converged():
    """60 draws are fewer than the 400 that are asked for."""
    text, kind = like(said(full_posterior()), "4 chains of 60 draws")
    assert kind == BAD
    assert "0 divergent trajectories" in text


def test_chains_that_have_converged():
    found = said(full_posterior(draws=500))
    assert like(found, "4 chains of 500 draws")[1] == GOOD
    assert not any(text.startswith("Warning") for text in found)


def test_each_volume_of_a_joint_fit():
    found = said(joint_result())
    assert like(found, "volume 1.nxs agrees")[1] == GOOD
    assert like(found, "volume 2.nxs disagrees")[1] == BAD


def test_caution():
    tree = point_fit_result("fcc", n_shells=2)
    assert "anharmonicity" in caution(tree)
    tree.attrs["noise"] = "ensemble"
    assert "configurations" in caution(tree)
    tree.attrs["noise"] = "assumed"
    assert "without noise" in caution(tree)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.055, "5.5%"),
        (0.9999, "1e+02%"),
        (1.5, "150%"),
        (3e-6, "3.0 × 10⁻⁴%"),
        (0.0, "0%"),
        (math.nan, "an unknown share"),
    ],
)
def test_percent(value, text):
    assert percent(value) == text


def test_numbers():
    assert number(-0.00012345) == "−0.000123"
    assert number(2.2e6) == "2.2 × 10⁶"
    assert error(0.008) == "0.0080"
    assert error(12.0) == "12"
    assert fixed(-0.0004, 2) == "0.00"
    assert fixed(-1.2345, 2) == "−1.23"
    assert {number(math.nan), error(math.inf), fixed(None, 3)} == {"–"}
    assert [decimals(x) for x in (0.0054, 0.16, 3.0, 120.0, math.nan)] == [4, 2, 1, 0, 5]
