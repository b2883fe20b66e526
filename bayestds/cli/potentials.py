"""Potentials as they are named on the command line, and their force constants."""

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.calculators.calculator import BaseCalculator, get_calculator_class

from bayestds.cli.assemble import build_study
from bayestds.config import available_models, load_model
from bayestds.diagnostics.draws import ForceConstantDraws
from bayestds.errors import ForceConstantsError
from bayestds.force_constants.finite_differences import calculation_supercell, potential_constants
from bayestds.force_constants.foreign import Projection, project_foreign
from bayestds.force_constants.reading import read_foreign

EAM_SUFFIXES = (".eam", ".alloy", ".fs", ".adp")
WITHOUT_ARGUMENTS = ("emt", "lj", "morse")
"""Calculators of ASE that need neither a program nor a file."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A potential to be judged.

    Attributes:
        name: as it was given.
        irreducible: (n_irreducible,) eV/Å².
        facts: what else is known of it, for the JSON output.
        words: the same for people.
    """

    name: str
    irreducible: np.ndarray
    facts: dict[str, Any]
    words: list[str]


def read_candidate(text: str, wanted: ForceConstantDraws) -> Candidate:
    """The force constants of a potential for the crystal and the shells of a result.

    Args:
        text: MODEL:SET, a calculator of ASE, module:attribute, an EAM file, or a folder of phonopy or TDEP.
        wanted: of the result.

    Raises:
        ForceConstantsError: there is no such potential, or it fails.
        CrystalError: its crystal is another.
        ModelError: the IFC set of a model does not exist or fit.
    """
    path, (before, _, after) = Path(text), text.partition(":")
    if after and (before.endswith(".toml") or before in available_models()):
        return _named_set(text, before, after, wanted)
    if path.suffix in EAM_SUFFIXES and not path.is_dir():
        return _computed(text, _eam(path), wanted)
    if path.exists():
        foreign = read_foreign(path)
        projection, match = project_foreign(wanted.irreducible, foreign)
        facts = {"lattice_mismatch": match.strain, "charges_left_out": foreign.has_charges}
        return _projected(text, projection, facts, foreign.cautions)
    if after:
        return _computed(text, _imported(text, before, after), wanted)
    if text in WITHOUT_ARGUMENTS:
        return _computed(text, get_calculator_class(text)(), wanted)
    raise ForceConstantsError(
        f"There is no potential {text!r}.",
        f"It is no file or folder, and none of ASE's calculators that need no arguments: "
        f"{', '.join(WITHOUT_ARGUMENTS)}.",
        "Name another as module:function (which returns a calculator of ASE), an EAM file "
        f"({', '.join(EAM_SUFFIXES)}), a folder of phonopy or TDEP, or MODEL:SET for an IFC set of a model.",
    )


def _named_set(text: str, model: str, name: str, wanted: ForceConstantDraws) -> Candidate:
    constants = wanted.irreducible
    study = build_study(load_model(model), constants.n_shells, invariant=False)
    if study.irreducible.names != constants.all_names:
        raise ForceConstantsError(
            f"The IFC set {text} is of another crystal.",
            f"Its constants are {', '.join(study.irreducible.names)}; those of the result "
            f"{', '.join(constants.all_names)}.",
            "Name a model of the crystal of the result.",
        )
    every = study.ifcs(name, complete=False)
    given = study.model.ifcs[name].values
    beyond = [abs(value) for key, value in given.items() if key not in constants.all_names]
    words = [f"{len(beyond)} constants of the set are beyond the shells of the result"] if beyond else []
    # Where a result obeys invariance, the nearest set that does so as well.
    values = np.linalg.lstsq(constants.expansion, every)[0]
    return Candidate(text, values, {"largest_beyond": max(beyond, default=0.0)}, words)


def _computed(text: str, calculator: BaseCalculator, wanted: ForceConstantDraws) -> Candidate:
    supercell = calculation_supercell(wanted.irreducible, wanted.supercell)
    found = potential_constants(calculator, wanted.irreducible, supercell, text)
    facts = {
        "supercell_atoms": found.n_atoms,
        "largest_force": found.largest_force,
        "pressure_GPa": found.pressure,
    }
    words = [f"largest force on an atom at rest {found.largest_force:.2g} eV/Å"]
    if np.isfinite(found.pressure):
        words.append(f"pressure at these lattice constants {found.pressure:+.2f} GPa")
    return _projected(text, found.projection, facts, words)


def _projected(text: str, found: Projection, facts: dict[str, Any], words: list[str]) -> Candidate:
    facts |= {
        "beyond_shells": found.beyond,
        "breaks_symmetry": found.within,
        "largest_beyond": found.farthest,
    }
    words = [
        *words,
        f"{found.beyond:.2%} of its force constants lie beyond the shells, {found.within:.2%} break the "
        "symmetry",
    ]
    return Candidate(text, found.irreducible, facts, words)


def _eam(path: Path) -> BaseCalculator:
    if not path.is_file():
        raise ForceConstantsError(
            f"The potential {path} does not exist.", "There is no file of this name.", "Check the path."
        )
    from ase.calculators.eam import EAM

    return _made(str(path), lambda: EAM(potential=str(path)))


def _imported(text: str, module: str, attribute: str) -> BaseCalculator:
    """The calculator that module.attribute is, or returns."""
    # As for a script, modules in the current folder count.
    sys.path.insert(0, "")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # importing runs anyone's code
        raise ForceConstantsError(
            f"The potential {text} cannot be imported.",
            f"{type(error).__name__}: {error}",
            "Give the name of an installed module, or of one in the current folder, and of what it defines.",
        ) from error
    finally:
        sys.path.remove("")
    calculator = _made(text, found) if callable(found) else found
    if not hasattr(calculator, "get_forces"):
        raise ForceConstantsError(
            f"The potential {text} is no calculator of ASE.",
            f"It is a {type(calculator).__name__}, without get_forces.",
            "Name a calculator, its class, or a function without arguments that returns one.",
        )
    return calculator


def _made(text: str, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except Exception as error:  # a calculator is anyone's code
        raise ForceConstantsError(
            f"The potential {text} cannot be made.",
            f"{type(error).__name__}: {error}".rstrip(": "),
            "Check its file, or what it needs.",
        ) from error
