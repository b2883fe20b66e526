"""The command `validate`: every kind of potential, the ranking, the volume, the picture."""

import json
import sys

import numpy as np
import pytest
from matplotlib.image import imread

from bayestds.cli.potentials import read_candidate
from bayestds.config import load_model
from bayestds.diagnostics.draws import ForceConstantDraws, force_constant_draws
from bayestds.diagnostics.result_file import read_result, write_result
from bayestds.force_constants.invariance import constrained
from bayestds.io import read_volume
from tests.brute_force import random_stable
from tests.cli.refusal import refused, says
from tests.cli.tiny import MODEL, NAMES, TRUTH, call
from tests.crystals import default_supercell, make_crystal, make_irreducible
from tests.results import point_fit_result, posterior_result
from tests.tdep import other_cell, random_rotation, write_tdep

HARMONIC = """\
import numpy as np
from ase.calculators.harmonic import HarmonicCalculator, HarmonicForceField
from ase.io import read

def harmonic():
    atoms, hessian = read("out/supercell.extxyz"), np.load("out/hessian.npy")
    return HarmonicCalculator(HarmonicForceField(ref_atoms=atoms, ref_energy=0.0, hessian_x=hessian))

instance = harmonic()
number = 3
"""


def judged(*words) -> dict:
    outcome = call("validate", *words, "--json")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def test_fit_judges_itself_and_others(folder, shared):
    """What the fit exported is where it is; the truth is near; springs and EMT are far, and why is said."""
    assert call("export", shared.result, "-o", "out", "--to", "ase").code == 0
    (folder / "mine.py").write_text(HARMONIC)
    names = ["mine:harmonic", "tiny.toml:truth", "tiny.toml:springs", "emt"]
    record = judged(shared.result, *names, "-o", "r.png")
    assert record["ranking"][:2] == ["mine:harmonic", "tiny.toml:truth"]
    assert set(record["ranking"]) == set(names) == set(record["potentials"])
    fit, tree = record["potentials"]["mine:harmonic"], read_result(shared.result)
    # The positions of the supercell are written with 8 decimals, over steps of 1e-2 Å.
    assert fit["mahalanobis"] < 1e-3
    assert fit["residual_rms"] == pytest.approx(tree.attrs["residual_rms"], abs=1e-6)
    assert record["fit_residual_rms"] == tree.attrs["residual_rms"]
    truth = record["potentials"]["tiny.toml:truth"]
    assert truth["ifcs"] == pytest.approx(TRUTH)
    assert truth["wrong_shells"] == []
    springs = record["potentials"]["tiny.toml:springs"]
    assert springs["wrong_shells"] == [1, 2]
    assert springs["shells"]["1"]["wrong"]
    assert springs["residual_rms"] > 10 * truth["residual_rms"]
    found = force_constant_draws(tree, 1)
    z = (np.array([-0.7, 0.0, -0.7, 0.0, 0.0]) - found.mean) / np.sqrt(np.diag(found.covariance))
    assert springs["shells"]["1"]["z"] == pytest.approx(dict(zip(NAMES[:3], z[:3], strict=True)))
    assert springs["shells"]["2"]["z_max"] == pytest.approx(np.abs(z[3:]).max())
    assert imread(folder / "r.png").std() > 0.01


def test_volume_of_other_constants_is_the_simulated_one(folder, shared):
    """The residual of `springs` is the difference of two volumes from `simulate`, at the best scale."""
    record = judged(shared.result, "tiny.toml:springs")
    (folder / "springs.toml").write_text(MODEL.replace('ifcs = "truth"', 'ifcs = "springs"'))
    assert call("simulate", "springs.toml", "-o", "s.nxs").code == 0
    difference = np.log(read_volume(shared.volume)["intensity"].values)
    difference = difference - np.log(read_volume(folder / "s.nxs")["intensity"].values)
    used = read_result(shared.result)["observed_data"]["point_of_voxel"].values >= 0
    # Every voxel weighs the same. Both engines are within 1e-4.
    assert record["residual_rms"] == pytest.approx(difference[used].std(), abs=2e-4)


def test_posterior_and_words(folder):
    """A result of the tests has no model text: distances, and in words why no volume."""
    irreducible = make_irreducible("zincblende", 2)
    values = random_stable(irreducible, default_supercell("zincblende"), 0)
    draws = values * (1 + 1e-3 * np.random.default_rng(1).normal(size=(2, 200, len(values))))
    write_result(posterior_result("zincblende", draws, 2), folder / "p.nc")
    cell = other_cell(make_crystal("zincblende"), np.eye(3, dtype=int), random_rotation(0), 1)
    (folder / "tdep").mkdir()
    write_tdep(folder / "tdep", irreducible, values * np.where(irreducible.shells == 2, 1.1, 1.0), cell)
    record = judged("p.nc", "tdep")
    assert record["potential"] == "tdep"
    assert record["wrong_shells"] == [2]
    # Of 1.1 times a value that is known to 0.1 %.
    assert record["shells"]["2"]["z_max"] == pytest.approx(100, rel=0.2)
    assert record["residual_rms"] is None
    assert "cannot be built again" in record["no_residual"]
    outcome = call("validate", "p.nc", "tdep")
    assert outcome.code == 0, outcome.err
    assert "Wrong in shell 2 (off by" in outcome.out
    assert "no volume was predicted" in outcome.out
    assert "lie beyond the shells" in outcome.out
    says(refused(folder, "validate", "p.nc", "tdep", "-o", "x.png"), "cannot be built again")


@pytest.fixture
def nickel(folder):
    write_result(point_fit_result("fcc", n_shells=2), folder / "r.nc")
    return folder


def test_eam_file(nickel):
    """Pair springs written as an EAM file without a density, against their closed form."""
    distance, stiffness = 3.52 / np.sqrt(2), 3.0
    r = np.linspace(0, 3.0, 3001)
    pair = 0.5 * stiffness * (r - distance) ** 2 * (1 - np.clip((r - 2.7) / 0.25, 0, 1)) ** 4
    numbers = [np.zeros(3001), np.zeros(3001), pair * r]
    rows = ["springs", "as", "EAM", "1 Ni", "3001 0.001 3001 0.001 2.99", "28 58.69 3.52 fcc"]
    rows += [" ".join(f"{x:.10e}" for x in values) for values in numbers]
    (nickel / "springs.alloy").write_text("\n".join(rows) + "\n")
    record = judged("r.nc", "springs.alloy")
    # Φ = -k n nᵀ along (110), at rest. The file holds a spline.
    expected = {"b0": -stiffness / 2, "b1": 0.0, "b2": -stiffness / 2, "c0": 0.0, "c1": 0.0}
    assert record["ifcs"] == pytest.approx(expected, abs=1e-3)
    assert record["largest_force"] < 1e-6


@pytest.mark.parametrize(
    ("potential", "words"),
    [
        ("mine:missing", ("mine:missing", "cannot be imported", "missing")),
        ("mine:number", ("mine:number", "no calculator", "int")),
        ("nosuchmodule:f", ("nosuchmodule:f", "ModuleNotFoundError")),
        ("mine:raises", ("mine:raises", "cannot be made", "ValueError: no licence")),
        ("mine:nan", ("mine:nan", "no usable forces")),
    ],
)
def test_modules_that_do_not_serve(nickel, monkeypatch, potential, words):
    (nickel / "mine.py").write_text(
        "import numpy as np\n"
        "from ase.calculators.calculator import Calculator\n"
        "number = 3\n"
        "def raises():\n    raise ValueError('no licence')\n"
        "class nan(Calculator):\n"
        "    implemented_properties = ['forces']\n"
        "    def calculate(self, *args):\n"
        "        super().calculate(*args)\n"
        "        self.results = {'forces': np.full((len(self.atoms), 3), np.nan)}\n"
    )
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    says(refused(nickel, "validate", "r.nc", potential), *words)


def test_sets_are_judged_by_what_an_invariant_result_has(folder):
    """The nearest set that obeys the invariance: what is left is orthogonal to all such sets."""
    free = make_irreducible("hcp", 3)
    constants = constrained(free, "huang")
    assert constants.n_irreducible < free.n_irreducible
    n = constants.n_irreducible
    result = ForceConstantDraws(
        constants, np.zeros(n), np.eye(n), np.zeros((1, n)), default_supercell("hcp"), 300.0
    )
    found = read_candidate("mg_hcp:bvk_290K", result)
    given = load_model("mg_hcp").ifcs["bvk_290K"].values
    left = [given[name] for name in free.names] - constants.expansion @ found.irreducible
    assert np.abs(left).max() > 1e-5  # springs, rounded: nearly invariant
    assert np.allclose(constants.expansion.T @ left, 0, atol=1e-12)
