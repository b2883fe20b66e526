"""The tables of a model file."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bayestds.choices import Family, Invariance, Radiation, StatisticsName, ZerosAre
from bayestds.config.values import (
    Background,
    GridAxis,
    IFCName,
    Integer,
    Lattice,
    Miller,
    Noise,
    NotNegative,
    Number,
    Positive,
    Range,
    Share,
    SpaceGroup,
    Species,
    Supercell,
    Symbol,
    Wedge,
    listed,
)
from bayestds.crystal.species import isotope_by_mass, read_species


class Section(BaseModel):
    """A table of the file; the description of a field is what an error message says was expected."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Site(Section):
    """One atom of the cell, or of the asymmetric unit."""

    species: Symbol = Field(description='a chemical symbol such as "Ni", "D" or "58Ni"')
    position: tuple[Number, Number, Number] = Field(description="three fractional coordinates")
    mass: Positive | None = Field(default=None, description="a positive mass in amu")

    @property
    def known_species(self) -> str:
        """What the crystal calls it: without charge, and hydrogen with the mass of an isotope as that."""
        name, _ = read_species(self.species)
        return name if self.mass is None else isotope_by_mass(name, self.mass)


class Crystal(Section):
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
            raise ValueError(f"give either `file` or {listed(inline)}, not both")
        if self.file is None and not (self.lattice and self.sites):
            raise ValueError("give either `file`, or `lattice` and at least one of `sites`")
        return self


class ForceConstants(Section):
    """How far the force constants reach, and what they obey beyond symmetry and the acoustic sum rule."""

    shells: Annotated[Integer, Field(gt=0)] = Field(description="a positive number of neighbour shells")
    shell_tolerance: Positive = Field(default=1e-3, description="a positive difference of distances in Å")
    invariance: Invariance = Field(default="none", description="none, rotation, huang or both")
    cubic_shells: Annotated[Integer, Field(ge=0)] = Field(
        default=0, description="a number of neighbour shells with third-order force constants, 0 for none"
    )


class IFCSet(Section):
    """Named values of the irreducible force constants."""

    source: str = Field(description="a text that says where the values come from")
    values: dict[IFCName, Number] = Field(
        min_length=1,
        description="finite numbers in eV/Å², named by shell and index: {b0 = -1.5, b1 = 0.1} "
        "(self terms such as a0 follow from the sum rule)",
    )


class Grid(Section):
    """The points of a volume."""

    h: GridAxis
    k: GridAxis
    l: GridAxis  # noqa: E741


class Measurement(Section):
    """What `fit` and `simulate` use when no volume is given, and the state of the measured crystal."""

    supercell: Supercell = Field(description="three positive integers or a 3x3 integer matrix")
    temperature: Positive = Field(description="a positive temperature in K")
    statistics: StatisticsName = Field(default="quantum", description="quantum, or classical (MD)")
    commensurate: bool = Field(
        default=True, strict=True, description="false for voxels that are no wave vectors of the supercell"
    )
    ifcs: str | None = Field(default=None, description="the name of the IFC set to simulate")
    file: str | None = Field(default=None, description="a data file, relative to the model file")
    grid: Grid | None = Field(default=None, description="a table with h, k and l")
    configurations: Annotated[Integer, Field(gt=0)] | None = Field(
        default=None,
        description="a positive number of independent configurations that the volume is a mean over",
    )
    path: str | None = Field(default=None, description="the path of a volume inside a NeXus file")
    zeros: ZerosAre | None = Field(
        default=None, description="measured or unmeasured: what voxels of exactly zero are"
    )
    slab_memory: Positive = Field(default=256.0, description="a positive number of MiB")

    @model_validator(mode="after")
    def _one_origin(self) -> "Measurement":
        if self.ifcs is not None and self.file is not None:
            raise ValueError("give either `ifcs` (simulated) or `file` (measured), not both")
        if self.file is None and self.grid is None:
            raise ValueError("give a `grid`, or a data `file` that brings its own")
        return self


class Scattering(Section):
    """How atoms scatter: as points (1 for a species that is not named), X-rays or neutrons."""

    radiation: Radiation = Field(default="point", description="point, xray or neutron")
    factors: dict[Species, Number] = Field(default={}, description="numbers by species, {Ni = 1.0}")
    ions: dict[Species, str] = Field(default={}, description='ions by species, {Na = "Na1+"}')
    energy: Positive | None = Field(default=None, description="a positive photon energy in keV")

    @model_validator(mode="after")
    def _what_the_radiation_knows(self) -> "Scattering":
        if self.radiation != "point" and self.factors:
            raise ValueError(f'`factors` are those of point atoms: leave them out with "{self.radiation}"')
        if self.radiation != "xray" and (self.ions or self.energy is not None):
            raise ValueError('`ions` and `energy` are for X-rays: give radiation = "xray"')
        return self


class Instrument(Section):
    """What the measured intensity has beyond the crystal's; each effect is off unless it is asked for."""

    polarisation: bool = Field(default=False, strict=True, description="true if not corrected for (X-rays)")
    wavelength: Positive | None = Field(default=None, description="a positive wavelength in Å")
    background: Background = Field(default=0, description="a number of terms: 0, 1 (constant), 4 or more")
    compton: bool = Field(default=False, strict=True, description="true for Compton scattering (X-rays)")
    background_scale: Positive = Field(
        default=1.0, description="a positive number: the prior of background, over forward scattering"
    )
    resolution: NotNegative = Field(default=0.0, description="a standard deviation of Q in Å^-1")
    mosaic: Annotated[NotNegative, Field(lt=90)] = Field(
        default=0.0, description="a standard deviation in degrees, below 90"
    )
    voxel_size: bool = Field(default=False, strict=True, description="true to average over each voxel")


class Simulation(Section):
    """What `simulate` adds to the ideal volume, beside the effects of the instrument."""

    supercell: Supercell | None = Field(
        default=None, description="three positive integers or a 3x3 integer matrix, finer than that of a fit"
    )
    background: tuple[Number, ...] = Field(
        default=(), description="strengths: of Compton scattering if there is any, then of the background"
    )
    unmeasured: Share = Field(default=0.0, description="a share of the turn about c*, below 1")
    gaps: tuple[Range, ...] = Field(default=(), description="[first, last] ranges of l in r.l.u.")
    counts: Positive | None = Field(default=None, description="positive mean counts of a voxel")
    hot_pixels: Share = Field(default=0.0, description="a share of the voxels, below 1")

    @model_validator(mode="after")
    def _counted(self) -> "Simulation":
        if self.hot_pixels and self.counts is None:
            raise ValueError("hot pixels need `counts`")
        return self


class Mask(Section):
    """The part of reciprocal space that is used."""

    q_min: NotNegative = Field(default=0.0, description="the smallest |Q| in Å^-1, not negative")
    q_max: Positive | None = Field(default=None, description="the largest |Q| in Å^-1, above q_min")
    wedge: Wedge | None = Field(default=None, description="degrees above the plane, over 0 and at most 90")
    plane: Miller | None = Field(default=None, description="h k l of the normal of a plane through Γ")
    bragg_radius: NotNegative = Field(default=0.0, description="a radius around Bragg peaks in r.l.u.")
    rings: tuple[tuple[NotNegative, NotNegative], ...] = Field(
        default=(), description="pairs [first, last] of |Q| in Å^-1 to leave out, not negative"
    )
    outliers: Positive | None = Field(
        default=None, description="a positive number of standard deviations from equivalent voxels"
    )

    @model_validator(mode="after")
    def _something_left(self) -> "Mask":
        if self.q_max is not None and self.q_max <= self.q_min:
            raise ValueError(f"q_max = {self.q_max:g} must be larger than q_min = {self.q_min:g}")
        if self.plane == (0, 0, 0):
            raise ValueError("plane = [0, 0, 0] has no direction")
        for first, last in self.rings:
            if last <= first:
                raise ValueError(f"rings: [{first:g}, {last:g}] must run from a smaller |Q| to a larger one")
        return self


class Priors(Section):
    """Scales of the priors: `scales` by shell or `scale` times `decay` per shell (normal in a point fit).

    Without `scales` and `scale` the overall scale is learned from the data.
    """

    family: Family = Field(default="normal", description="normal, student_t or shrinkage")
    scales: tuple[Positive, ...] | None = Field(default=None, description="positive numbers by shell, eV/Å²")
    scale: Positive | None = Field(
        default=None, description="a positive number in eV/Å², for the first shell; learned if not given"
    )
    decay: Positive = Field(default=0.4, description="a positive factor from one shell to the next")
    cubic_scale: Positive = Field(
        default=30.0, description="a positive number in eV/Å³, for third-order constants of the first shell"
    )

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> "Priors":
        other = {"scale", "decay"} & self.model_fields_set
        if self.scales is not None and other:
            raise ValueError(f"give either `scales` or {listed(other)}, not both")
        return self

    @property
    def learned(self) -> bool:
        """Whether the overall scale is learned."""
        return self.scale is None and self.scales is None

    def by_shell(self, shells: int) -> tuple[float, ...]:
        """Prior standard deviation of each shell in eV/Å²; relative to the first where it is learned."""
        first = 1.0 if self.scale is None else self.scale
        return self.scales or tuple(first * self.decay**shell for shell in range(shells))


class Fit(Section):
    """Where a fit starts, what it is compared with, and how accurate it is."""

    start: str | None = Field(default=None, description="the name of an IFC set")
    reference: str | None = Field(default=None, description="the name of an IFC set to compare with")
    noise: Noise | None = Field(default=None, description='a relative standard deviation, or "learned"')
    noise_floor: bool = Field(default=False, strict=True, description="true to learn one on top of errors")
    degrees_of_freedom: Positive | None = Field(default=None, description="a positive number (Student-t)")
    trend: bool = Field(default=False, strict=True, description="true for constants linear in temperature")
    trend_scale: Positive = Field(default=0.05, description="a positive share of the prior, per 100 K")
    tolerance: Positive = Field(default=1e-4, description="a positive tolerance of log-intensity")
    memory: Positive = Field(default=4.0, description="MiB for the points that are evaluated at once")


class ModelFile(Section):
    """All tables of a model file."""

    title: str = Field(description="a text")
    crystal: Crystal
    force_constants: ForceConstants
    ifcs: dict[str, IFCSet] = {}
    measurement: Measurement | None = None
    scattering: Scattering = Scattering()
    instrument: Instrument = Instrument()
    simulation: Simulation = Simulation()
    mask: Mask = Mask()
    priors: Priors = Priors()
    fit: Fit = Fit()


class Model(ModelFile):
    """A checked model file; `path` and `text` are the file itself, kept for reproducibility."""

    path: Path
    text: str

    def resolve(self, file: str) -> Path:
        """The path of a file that the model names."""
        return self.path.parent / file
