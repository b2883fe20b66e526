"""Wrong model files."""

from collections.abc import Callable
from pathlib import Path

from tests.cli.bad_input.case import Case, nothing
from tests.cli.tiny import MODEL

GRID = MODEL[MODEL.index("[measurement.grid]") : MODEL.index("[fit]")]
MEASUREMENT = MODEL[MODEL.index("[measurement]") : MODEL.index("[fit]")]
SMALL = GRID.replace("[-2, 2, 13]", "[0, 0.3333333, 2]")
HUGE = GRID.replace("[-2, 2, 13]", "[-2, 2, 99999]")
LATTICE = "[3.52, 3.52, 3.52, 90, 90, 90]"


def model(old: str, new: str) -> Callable[[], object]:
    """What writes wrong.toml: the tiny model with other words in one place."""
    assert MODEL.count(old) == 1
    return lambda: Path("wrong.toml").write_text(MODEL.replace(old, new))


def wrong(what: str, old: str, new: str, *words: str, command: str = "fit wrong.toml") -> Case:
    """A model that must be refused with its name and these words."""
    return Case(what, model(old, new), command, ("wrong.toml", *words))


def latin() -> None:
    """A model file in an encoding of its own."""
    Path("wrong.toml").write_bytes(MODEL.replace("tiny fcc", "Å").encode("latin-1"))


MODELS = [
    wrong("TOML syntax", '"tiny fcc"', "tiny fcc", "not valid TOML", "line 1"),
    Case("model file not UTF-8", latin, "fit wrong.toml", ("wrong.toml", "UTF-8", "Byte")),
    wrong("missing section", "[force_constants]\nshells = 2\n", "", "force_constants: missing"),
    wrong(
        "missing key",
        "temperature = 300\n",
        "",
        "measurement.temperature: missing",
        "positive temperature",
    ),
    wrong("misspelt key", "temperature = 300", "temprature = 300", "did you mean 'temperature'?"),
    wrong("temperature with a unit", "temperature = 300", 'temperature = "300 K"', "'300 K'", "in K"),
    wrong("negative temperature", "temperature = 300", "temperature = -300", "found -300"),
    wrong(
        "no configurations",
        "temperature = 300\n",
        "temperature = 300\nconfigurations = 0\n",
        "measurement.configurations",
        "positive number",
        "found 0",
    ),
    wrong(
        "fractional configurations",
        "temperature = 300\n",
        "temperature = 300\nconfigurations = 2.5\n",
        "measurement.configurations",
        "2.5",
    ),
    wrong("force constant NaN", "b0 = -1.0", "b0 = nan", "ifcs.truth.values.b0", "finite"),
    wrong("lattice parameter NaN", LATTICE, "[nan, 3.52, 3.52, 90, 90, 90]", "crystal.lattice.0", "nan"),
    wrong("lattice parameter infinite", LATTICE, "[3.52, inf, 3.52, 90, 90, 90]", "crystal.lattice.1", "inf"),
    wrong("lattice of five numbers", LATTICE, "[3.52, 3.52, 3.52, 90, 90]", "crystal.lattice.5: missing"),
    wrong("angle of 270 degrees", LATTICE, "[3.52, 3.52, 3.52, 90, 90, 270]", "crystal.lattice.5", "270"),
    wrong("position NaN", "position = [0, 0, 0]", "position = [0, 0, nan]", "sites.0.position.2", "nan"),
    wrong("unknown start", '"springs"\nref', '"sprngs"\nref', "fit.start", "sprngs", "`springs`"),
    wrong("unstable start", '"springs"\nref', '"repulsive"\nref', "unstable", "'repulsive'", "signs"),
    wrong("unstable crystal to simulate", 'ifcs = "truth"', 'ifcs = "repulsive"', "unstable", "'repulsive'"),
    wrong("missing force constant", ", c1 = 0.0}", "}", "'springs'", "missing: c1"),
    wrong("unknown force constant", "c1 = 0.0}", "c7 = 0.0}", "Unknown: c7; missing: c1"),
    wrong(
        "unknown invariance",
        "shells = 2\n",
        'shells = 2\ninvariance = "all"\n',
        "force_constants.invariance",
        "none, rotation, huang or both",
    ),
    wrong("supercell of zero cells", "[3, 3, 3]", "[0, 3, 3]", "measurement.supercell", "at least 1"),
    wrong("singular supercell", "[3, 3, 3]", "[[1, 0, 0], [0, 1, 0], [1, 1, 0]]", "singular"),
    Case(
        "supercell beyond the memory",
        model("[3, 3, 3]", "[99999, 99999, 99999]"),
        "fit wrong.toml",
        ("[[99999, 0, 0], [0, 99999, 0], [0, 0, 99999]]", "4e+15 primitive cells", "536,425,709.9 GiB"),
    ),
    Case(
        "shells beyond half the supercell",
        model("[3, 3, 3]", "[1, 1, 1]"),
        "fit wrong.toml",
        ("2.489 Å", "2 shells", "supercell"),
    ),
    wrong("grid backwards", "h = [-2, 2, 13]", "h = [2, -2, 13]", "measurement.grid.h", "[2, -2, 13]"),
    wrong("grid of no points", "h = [-2, 2, 13]", "h = [-2, 2, 0]", "measurement.grid.h", "positive integer"),
    wrong("grid beyond the memory", GRID, HUGE, "99999 x 99999 x 99999", "121,068,302.6 GiB"),
    wrong("grid not commensurate with the supercell", "h = [-2, 2, 13]", "h = [-2, 2, 12]", "supercell"),
    wrong("too few points", GRID, SMALL, "Only 3 irreducible points"),
    Case(
        "nothing inside the mask",
        model("[fit]", "[mask]\nq_min = 99\n[fit]"),
        "fit wrong.toml",
        ("own measurement", "Only 0 irreducible points", "mask"),
    ),
    wrong("mask without an inside", "[fit]", "[mask]\nq_min = 3\nq_max = 2\n[fit]", "q_max = 2", "q_min = 3"),
    wrong("mask plane without a normal", "[fit]", "[mask]\nplane = [0, 0, 0]\n[fit]", "plane = [0, 0, 0]"),
    wrong("no measurement", MEASUREMENT, "", "[measurement]", "supercell and temperature"),
    wrong("no data", 'ifcs = "truth"\n', "", "names no data"),
    wrong("no such element", '"Ni"', '"Xx"', "no element 'Xx'"),
    wrong("no such space group", "space_group = 225", 'space_group = "Fm-3x"', "space group", "Fm-3x"),
    wrong(
        "two atoms on one site",
        "[0, 0, 0]}]",
        '[0, 0, 0]}, {species = "Ni", position = [0.01, 0, 0]}]',
        "Ni1 and Ni2 are at the same place",
    ),
    wrong("data file missing", 'ifcs = "truth"\n', 'file = "none.nxs"\n', "none.nxs", "not a file"),
    wrong(
        "ion of another element",
        "[fit]",
        '[scattering]\nradiation = "xray"\nions = {Ni = "Cl1-"}\n[fit]',
        "scattering.ions.Ni",
        "'Cl1-'",
    ),
    wrong(
        "ion without form factor",
        "[fit]",
        '[scattering]\nradiation = "xray"\nions = {Ni = "Ni9+"}\n[fit]',
        "'Ni9+'",
        "Ni2+, Ni3+",
    ),
    wrong(
        "photon energy out of range",
        "[fit]",
        '[scattering]\nradiation = "xray"\nenergy = 58000\n[fit]',
        "58000 keV",
        "400",
    ),
    Case(
        "neutrons and a strong absorber",
        lambda: Path("wrong.toml").write_text(
            MODEL.replace('"Ni"', '"Gd"').replace("[fit]", '[scattering]\nradiation = "neutron"\n[fit]')
        ),
        "fit wrong.toml",
        ("wrong.toml", "'Gd'", "-13.8i fm"),
    ),
    wrong(
        "negative number of shells with third order",
        "shells = 2\n",
        "shells = 2\ncubic_shells = -1\n",
        "force_constants.cubic_shells",
        "-1",
    ),
    wrong("prior of third order that is negative", "[fit]", "[priors]\ncubic_scale = -30\n[fit]", "-30"),
    Case(
        "third order beyond half the supercell",
        nothing,
        "fit tiny.toml --cubic 9",
        ("9 shells", "supercell"),
    ),
    wrong("noise that is negative", "[fit]", "[fit]\nnoise = -0.1", "fit.noise", "-0.1"),
]
