"""Model files: one TOML file states a crystal, its force constants and a measurement.

A model file is data. It is checked here as far as the file alone allows; whether the names of its
force constants fit the crystal is checked by the code that knows the crystal.
"""

import difflib
import math
import os.path
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError, model_validator
from pydantic_core import ErrorDetails

from bayestds.errors import ModelError

Matrix = tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]


class Axis(NamedTuple):
    """Equally spaced points from `first` to `last`, both included, in r.l.u. of the conventional cell."""

    first: float
    last: float
    points: int


def _axis(value: Any) -> Axis:
    if not isinstance(value, list | tuple) or len(value) != 3:
        raise ValueError("three numbers are needed")
    first, last, points = value
    if not all(type(x) in (int, float) and math.isfinite(x) for x in value):
        raise ValueError("all three must be finite numbers")
    if type(points) is not int or points < 1:
        raise ValueError("the number of points must be a positive integer")
    if (points > 1 and last <= first) or (points == 1 and last != first):
        raise ValueError("the last point must lie above the first (one point alone: last = first)")
    return Axis(float(first), float(last), points)


def _matrix(value: Any) -> Matrix:
    rows = value if isinstance(value, list | tuple) else []
    if len(rows) == 3 and all(type(x) is int for x in rows):
        if min(rows) < 1:
            raise ValueError("every length must be at least 1")
        rows = [[x if i == j else 0 for j in range(3)] for i, x in enumerate(rows)]
    if len(rows) != 3 or not all(
        isinstance(row, list | tuple) and len(row) == 3 and all(type(x) is int for x in row) for row in rows
    ):
        raise ValueError("not three integers and not three rows of three integers")
    (a, b, c), (d, e, f), (g, h, i) = rows
    determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    if determinant == 0:
        raise ValueError("the matrix is singular")
    if determinant < 0:
        raise ValueError("the determinant is negative: exchange two rows")
    return ((a, b, c), (d, e, f), (g, h, i))


def _space_group(value: Any) -> int | str:
    if (isinstance(value, str) and value.strip()) or (type(value) is int and 1 <= value <= 230):
        return value
    raise ValueError("not a space group")


def _noise(value: Any) -> float | Literal["learned"]:
    if value != "learned" and not (type(value) in (int, float) and math.isfinite(value) and value > 0):
        raise ValueError("neither of the two")
    return value


Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]
NotNegative = Annotated[Number, Field(ge=0)]
Integer = Annotated[int, Field(strict=True)]
Wedge = Annotated[Number, Field(gt=0, le=90)]
Miller = tuple[Integer, Integer, Integer]
Species = Annotated[str, Field(pattern=r"^[A-Z][a-z]?$")]
# A self term a0, a1_Na ... is not accepted: it follows from the acoustic sum rule.
IFCName = Annotated[str, Field(pattern=r"^([b-z]|[a-z]{2})\d+$")]
Angle = Annotated[Number, Field(gt=0, lt=180)]
Lattice = tuple[Positive, Positive, Positive, Angle, Angle, Angle]
SpaceGroup = Annotated[int | str, PlainValidator(_space_group)]
Noise = Annotated[float | Literal["learned"], PlainValidator(_noise)]
Family = Literal["normal", "student_t", "shrinkage"]
Supercell = Annotated[Matrix, PlainValidator(_matrix)]
GridAxis = Annotated[Axis, PlainValidator(_axis), Field(description="[first, last, points] in r.l.u.")]


class _Section(BaseModel):
    """A table of the file; the description of a field is what an error message says was expected."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Site(_Section):
    """One atom of the cell, or of the asymmetric unit."""

    species: Species = Field(description='a chemical symbol such as "Ni"')
    position: tuple[Number, Number, Number] = Field(description="three fractional coordinates")
    mass: Positive | None = Field(default=None, description="a positive mass in amu")


class Crystal(_Section):
    """A structure file, or the conventional cell with its sites.

    With `space_group` the sites are the asymmetric unit; without it they are all atoms of the cell.
    """

    file: str | None = Field(default=None, description="a CIF or POSCAR file, relative to the model file")
    lattice: Lattice | None = Field(default=None, description="a, b, c in Å and three angles in degrees")
    space_group: SpaceGroup | None = Field(default=None, description="a number from 1 to 230 or a symbol")
    sites: tuple[Site, ...] = Field(default=(), description="a list of tables {species, position}")

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> "Crystal":
        inline = {"lattice", "space_group", "sites"} & self.model_fields_set
        if self.file is not None and inline:
            raise ValueError(f"give either `file` or {_listed(inline)}, not both")
        if self.file is None and not (self.lattice and self.sites):
            raise ValueError("give either `file`, or `lattice` and at least one of `sites`")
        return self


class ForceConstants(_Section):
    """How far the force constants reach."""

    shells: Annotated[Integer, Field(gt=0)] = Field(description="a positive number of neighbour shells")
    shell_tolerance: Positive = Field(default=1e-3, description="a positive difference of distances in Å")


class IFCSet(_Section):
    """Named values of the irreducible force constants."""

    source: str = Field(description="a text that says where the values come from")
    values: dict[IFCName, Number] = Field(
        min_length=1,
        description="finite numbers in eV/Å², named by shell and index: {b0 = -1.5, b1 = 0.1} "
        "(self terms such as a0 follow from the sum rule)",
    )


class Grid(_Section):
    """The points of a volume."""

    h: GridAxis
    k: GridAxis
    l: GridAxis  # noqa: E741


class Measurement(_Section):
    """What `fit` and `simulate` use when no volume is given, and the state of the measured crystal."""

    supercell: Supercell = Field(description="three positive integers or a 3x3 integer matrix")
    temperature: Positive = Field(description="a positive temperature in K")
    ifcs: str | None = Field(default=None, description="the name of the IFC set to simulate")
    file: str | None = Field(default=None, description="a data file, relative to the model file")
    grid: Grid | None = Field(default=None, description="a table with h, k and l")

    @model_validator(mode="after")
    def _one_origin(self) -> "Measurement":
        if self.ifcs is not None and self.file is not None:
            raise ValueError("give either `ifcs` (simulated) or `file` (measured), not both")
        if self.file is None and self.grid is None:
            raise ValueError("give a `grid`, or a data `file` that brings its own")
        return self


class Scattering(_Section):
    """Scattering factors of point atoms; 1 for a species that is not named."""

    factors: dict[Species, Number] = Field(default={}, description="numbers by species, {Ni = 1.0}")


class Mask(_Section):
    """The part of reciprocal space that is used."""

    q_min: NotNegative = Field(default=0.0, description="the smallest |Q| in Å^-1, not negative")
    q_max: Positive | None = Field(default=None, description="the largest |Q| in Å^-1, above q_min")
    wedge: Wedge | None = Field(default=None, description="degrees above the plane, over 0 and at most 90")
    plane: Miller | None = Field(default=None, description="h k l of the normal of a plane through Γ")
    bragg_radius: NotNegative = Field(default=0.0, description="a radius around Bragg peaks in r.l.u.")

    @model_validator(mode="after")
    def _something_left(self) -> "Mask":
        if self.q_max is not None and self.q_max <= self.q_min:
            raise ValueError(f"q_max = {self.q_max:g} must be larger than q_min = {self.q_min:g}")
        if self.plane == (0, 0, 0):
            raise ValueError("plane = [0, 0, 0] has no direction")
        return self


class Priors(_Section):
    """Scales of the priors: `scales` by shell or `scale` times `decay` per shell (normal in a point fit)."""

    family: Family = Field(default="normal", description="normal, student_t or shrinkage")
    scales: tuple[Positive, ...] | None = Field(default=None, description="positive numbers by shell, eV/Å²")
    scale: Positive = Field(default=1.0, description="a positive number in eV/Å², for the first shell")
    decay: Positive = Field(default=0.4, description="a positive factor from one shell to the next")

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> "Priors":
        other = {"scale", "decay"} & self.model_fields_set
        if self.scales is not None and other:
            raise ValueError(f"give either `scales` or {_listed(other)}, not both")
        return self

    def by_shell(self, shells: int) -> tuple[float, ...]:
        """Prior standard deviation of each shell in eV/Å²."""
        return self.scales or tuple(self.scale * self.decay**shell for shell in range(shells))


class Fit(_Section):
    """Where a fit starts, what it is compared with, and how accurate it is."""

    start: str | None = Field(default=None, description="the name of an IFC set")
    reference: str | None = Field(default=None, description="the name of an IFC set to compare with")
    noise: Noise | None = Field(default=None, description='a relative standard deviation, or "learned"')
    noise_floor: bool = Field(default=False, strict=True, description="true to learn one on top of errors")
    degrees_of_freedom: Positive | None = Field(default=None, description="a positive number (Student-t)")
    tolerance: Positive = Field(default=1e-4, description="a positive tolerance of log-intensity")


class _ModelFile(_Section):
    """The tables of a model file."""

    title: str = Field(description="a text")
    crystal: Crystal
    force_constants: ForceConstants
    ifcs: dict[str, IFCSet] = {}
    measurement: Measurement | None = None
    scattering: Scattering = Scattering()
    mask: Mask = Mask()
    priors: Priors = Priors()
    fit: Fit = Fit()


class Model(_ModelFile):
    """A checked model file; `path` and `text` are the file itself, kept for reproducibility."""

    path: Path
    text: str

    def resolve(self, file: str) -> Path:
        """The path of a file that the model names."""
        return self.path.parent / file


def model_folder() -> Path:
    """Where the shipped models lie: inside the package when installed, beside it in a checkout."""
    installed = Path(__file__).parent / "_models"
    return installed if installed.is_dir() else Path(__file__).parents[1] / "models"


def available_models() -> list[str]:
    """Names of the shipped models."""
    return sorted(path.stem for path in model_folder().glob("*.toml"))


def load_model(name_or_path: str | Path) -> Model:
    """Read a model from a path, or from a bare name: current folder first, then the shipped models.

    Raises:
        ModelError: the file is missing, unreadable, or says something that cannot be meant.
    """
    path = _find(name_or_path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ModelError(
            f"The model file {path} is not UTF-8 text.",
            f"Byte {error.start} cannot be decoded; TOML files are UTF-8.",
            "Save the file as UTF-8, or check that it is a model file at all.",
        ) from None
    except OSError as error:
        raise ModelError(
            f"The model file {path} cannot be read.",
            f"The system says: {error.strerror}.",
            "Check the permissions of the file.",
        ) from None
    return parse_model(text, path)


def parse_model(text: str, path: Path) -> Model:
    """Check the text of a model file; `path` places the files it names and appears in messages."""
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ModelError(
            f"The model file {path} is not valid TOML.",
            f"{error}.",
            "Correct this line; texts need quotes, tables a header such as [crystal].",
        ) from None
    try:
        checked = _ModelFile.model_validate(data)
    except ValidationError as error:
        raise _model_error(path, [_describe(detail) for detail in error.errors()]) from None
    model = Model.model_construct(**dict(checked), path=path, text=text)
    if problems := _inconsistencies(model):
        raise _model_error(path, problems)
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


def _model_error(path: Path, problems: list[str]) -> ModelError:
    return ModelError(
        f"The model file {path} has {len(problems)} problem{'s' if len(problems) > 1 else ''}.",
        "\n".join(problems),
        "Correct the file; the shipped model ni_fcc_paper is a complete example.",
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
            known = _listed(model.ifcs) if model.ifcs else "none"
            problems.append(f"{key}: there is no IFC set {name!r}; this file defines {known}")
    data_file = measurement.file if measurement else None
    for key, file in {"crystal.file": model.crystal.file, "measurement.file": data_file}.items():
        if file is not None and not os.path.isfile(model.resolve(file)):
            problems.append(f"{key}: {model.resolve(file)} is not a file")
    scales, shells = model.priors.scales, model.force_constants.shells
    if scales is not None and len(scales) != shells:
        problems.append(f"priors.scales: expected {shells} numbers, one per shell, found {len(scales)}")
    species = {site.species for site in model.crystal.sites}
    for name in model.scattering.factors:
        if species and name not in species:
            problems.append(f"scattering.factors.{name}: the crystal has only {_listed(species)}")
    return problems


def _describe(detail: ErrorDetails) -> str:
    """One line for one error of pydantic: the key, what was expected, what was found."""
    location = [part for part in detail["loc"] if part != "[key]"]
    section: type[BaseModel] | None = _ModelFile
    expected = "a table"
    for part in location[:-1]:
        section, expected = _step(section, part, expected)
    _, expected = _step(section, location[-1], expected)
    key = ".".join(str(part) for part in location)
    if detail["type"] == "extra_forbidden":
        known = list(section.model_fields) if section else []
        close = difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {_listed(known)}"
        return f"{key}: unknown key; {hint}"
    if detail["type"] == "missing":
        return f"{key}: missing; expected {expected}"
    why = detail["msg"].removeprefix("Value error, ")
    if isinstance(detail["input"], dict) and detail["type"] == "value_error":
        return f"{key}: {why}"
    reason = f" ({why})" if detail["type"] == "value_error" else ""
    return f"{key}: expected {expected}, found {detail['input']!r}{reason}"


def _step(
    section: type[BaseModel] | None, part: int | str, expected: str
) -> tuple[type[BaseModel] | None, str]:
    """Follow one part of a key: the table it leads into, and what is expected there."""
    field = section.model_fields.get(str(part)) if section else None
    if field is None:
        return section, expected
    return _section_in(field.annotation), field.description or expected


def _section_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for argument in get_args(annotation) if (found := _section_in(argument))), None)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))
