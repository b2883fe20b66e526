"""Finding, reading and checking model files."""

import difflib
import os.path
import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from bayestds.config.messages import describe
from bayestds.config.tables import Model, ModelFile
from bayestds.config.values import listed
from bayestds.crystal.species import element_of
from bayestds.errors import ModelError
from bayestds.units import KILOVOLT_ANGSTROMS

Checked = TypeVar("Checked", bound=BaseModel)

SAME_WAVELENGTH = 0.01
"""Relative difference up to which a wavelength is that of a photon energy."""


def model_folder() -> Path:
    """Where the shipped models lie: inside the package when installed, beside it in a checkout."""
    installed = Path(__file__).parents[1] / "_models"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "models"


def available_models() -> list[str]:
    """Names of the shipped models."""
    return sorted(path.stem for path in model_folder().glob("*.toml"))


def load_model(name_or_path: str | Path) -> Model:
    """Read a model from a path, or from a bare name: current folder first, then the shipped models.

    Raises:
        ModelError: the file is missing, unreadable, or says something that cannot be meant.
    """
    path = _find(name_or_path)
    return parse_model(read_text(path), path)


def read_text(path: Path, kind: str = "model file") -> str:
    """The text of a TOML file; ``kind`` is what messages call it.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ModelError(
            f"The {kind} {path} is not UTF-8 text.",
            f"Byte {error.start} cannot be decoded; TOML files are UTF-8.",
            f"Save the file as UTF-8, or check that it is a {kind} at all.",
        ) from None
    except OSError as error:
        raise ModelError(
            f"The {kind} {path} cannot be read.",
            f"The system says: {error.strerror}.",
            "Check the name and the permissions of the file.",
        ) from None


def checked(text: str, path: Path, table: type[Checked], kind: str = "model file") -> Checked:
    """The text of a TOML file as the table that it is to be; ``kind`` is what messages call the file.

    Raises:
        ModelError: it is not TOML, or says something that cannot be meant.
    """
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ModelError(
            f"The {kind} {path} is not valid TOML.",
            f"{error}.",
            "Correct this line; texts need quotes, tables a header such as [crystal].",
        ) from None
    try:
        return table.model_validate(data)
    except ValidationError as error:
        raise _file_error(path, [describe(detail, table) for detail in error.errors()], kind) from None


def parse_model(text: str, path: Path) -> Model:
    """Check the text of a model file; `path` places the files it names and appears in messages."""
    model = Model.model_construct(**dict(checked(text, path, ModelFile)), path=path, text=text)
    if problems := _inconsistencies(model):
        raise _file_error(path, problems)
    return model


def _find(name_or_path: str | Path) -> Path:
    given = Path(name_or_path)
    candidates = [given]
    if given.suffix != ".toml" and given.name == str(name_or_path):
        candidates = [Path(f"{given}.toml"), model_folder() / f"{given}.toml", given]
    for candidate in candidates:
        if os.path.isfile(candidate):  # unlike Path.is_file, never raises
            return candidate
    known = available_models()
    close = difflib.get_close_matches(given.stem, known, n=1)
    raise ModelError(
        f"There is no model {str(name_or_path)!r}.",
        f"It is neither a file nor one of the shipped models: {', '.join(known)}.",
        f"Did you mean {close[0]}?" if close else "Give the path of a TOML file or one of these names.",
    )


def _file_error(path: Path, problems: list[str], kind: str = "model file") -> ModelError:
    example = "docs/howto_campaign.md has" if kind == "campaign file" else "the shipped model ni_fcc_paper is"
    return ModelError(
        f"The {kind} {path} has {len(problems)} problem{'s' if len(problems) > 1 else ''}.",
        "\n".join(problems),
        f"Correct the file; {example} a complete example.",
    )


def _inconsistencies(model: Model) -> list[str]:
    """What no table of the file can know alone."""
    problems = []
    measurement = model.measurement
    names = {
        "measurement.ifcs": measurement.ifcs if measurement else None,
        "fit.start": model.fit.start,
        "fit.reference": model.fit.reference,
    }
    for key, name in names.items():
        if name is not None and name not in model.ifcs:
            known = listed(model.ifcs) if model.ifcs else "none"
            problems.append(f"{key}: there is no IFC set {name!r}; this file defines {known}")
    data_file = measurement.file if measurement else None
    for key, file in {"crystal.file": model.crystal.file, "measurement.file": data_file}.items():
        if file is not None and not os.path.isfile(model.resolve(file)):
            problems.append(f"{key}: {model.resolve(file)} is not a file")
    scales, shells = model.priors.scales, model.force_constants.shells
    if scales is not None and len(scales) != shells:
        problems.append(f"priors.scales: expected {shells} numbers, one per shell, found {len(scales)}")
    species = {site.known_species for site in model.crystal.sites}
    for key, table in (("factors", set(model.scattering.factors)), ("ions", set(model.scattering.ions))):
        for name in sorted(table):
            if species and name not in species:
                problems.append(f"scattering.{key}.{name}: the crystal has only {listed(species)}")
    for name, ion in sorted(model.scattering.ions.items()):
        if element_of(ion) != element_of(name):
            problems.append(f"scattering.ions.{name}: {ion!r} is no ion of {name}")
    return problems + _instrument_problems(model)


def _instrument_problems(model: Model) -> list[str]:
    """Effects of an instrument that the rest of the file does not go with."""
    problems, given, beam = [], model.instrument, model.scattering
    for name, asked in (("polarisation", given.polarisation), ("compton", given.compton)):
        if asked and beam.radiation != "xray":
            problems.append(f'instrument.{name}: it is for X-rays; give radiation = "xray" in [scattering]')
    if given.polarisation and given.wavelength is None and beam.energy is None:
        problems.append("instrument.polarisation: it needs a `wavelength`")
    if given.wavelength is not None and beam.energy is not None:
        expected = KILOVOLT_ANGSTROMS / beam.energy
        if abs(given.wavelength - expected) > SAME_WAVELENGTH * expected:
            problems.append(
                f"instrument.wavelength: {given.wavelength:g} Å, but scattering.energy = {beam.energy:g} keV "
                f"is {expected:.4g} Å; give one of the two"
            )
    n_terms, strengths = given.background + given.compton, len(model.simulation.background)
    if strengths not in (0, n_terms):
        problems.append(
            f"simulation.background: expected {n_terms} numbers, one for each term, found {strengths}"
        )
    return problems
