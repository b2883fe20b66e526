"""From a model file to crystal, force constants, supercell, data and priors."""

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr

from bayestds.choices import StatisticsName
from bayestds.cli.beam import (
    constant_factors,
    make_beamline,
    make_volume,
    refuse_instrument,
    scattering_factors,
)
from bayestds.cli.crystal import check_lattice, in_crystal_axes, model_crystal
from bayestds.cli.sizes import check_size
from bayestds.config import Model
from bayestds.crystal.structure import Crystal
from bayestds.crystal.supercell import Supercell, make_supercell
from bayestds.errors import InstabilityError, ModelError, VolumeError
from bayestds.force_constants.invariance import constrained
from bayestds.force_constants.irreducible import IrreducibleForceConstants, irreducible_force_constants
from bayestds.force_constants.linear_map import check_reach
from bayestds.force_constants.third_order import ThirdOrderForceConstants, third_order_force_constants
from bayestds.inference.likelihoods.base import Likelihood
from bayestds.inference.likelihoods.make import make_likelihood
from bayestds.inference.priors import learned_factor
from bayestds.inference.problem import Problem, Volume
from bayestds.io import read_volume
from bayestds.lattice_dynamics.harmonic import harmonic_crystal, stable
from bayestds.memory import too_much
from bayestds.scattering.averaging import Observations, average
from bayestds.scattering.grid import Mask
from bayestds.scattering.sampled import SampledEngine, make_sampled_engine
from bayestds.scattering.simulation import simulate_volume
from bayestds.scattering.slabs import SLAB_BYTES
from bayestds.scattering.supported import check_ensemble

NOISE_FREE_SIGMA = 1e-3
"""Relative noise assumed of each voxel of a volume that was simulated without noise."""

BYTES_PER_VOXEL = 130
"""Of simulating a volume and of averaging it; 4.6 GiB were taken by one of 321 x 321 x 321 voxels."""


@dataclass(frozen=True, eq=False)
class Study:
    """A model file brought to life; third order is None where it asks for none."""

    model: Model
    crystal: Crystal
    irreducible: IrreducibleForceConstants
    third_order: ThirdOrderForceConstants | None = None

    def _scales(self, shells: np.ndarray) -> np.ndarray:
        """Prior standard deviation of second-order constants of these shells, eV/Å²."""
        n_shells = int(shells.max())
        by_shell = np.array(self.model.priors.by_shell(n_shells))
        # Explicit scales end with the shells of the model; the last one serves for any beyond.
        by_shell = np.pad(by_shell, (0, max(0, n_shells - len(by_shell))), mode="edge")
        return by_shell[shells - 1]

    @property
    def prior_scales(self) -> np.ndarray:
        """Prior standard deviation (n_irreducible,) of each constant, eV/Å²; relative where it is learned."""
        return self._scales(self.irreducible.shells)

    def scales_for(self, irreducible: np.ndarray) -> np.ndarray:
        """The same as a fit would end with at these force constants (n_irreducible,)."""
        factor = learned_factor(irreducible, self.prior_scales) if self.model.priors.learned else 1.0
        return factor * self.prior_scales

    @property
    def cubic_scales(self) -> np.ndarray:
        """The same (n_cubic,) of third-order constants, eV/Å³, which decay with the shells likewise."""
        if self.third_order is None:
            return np.zeros(0)
        first = self._scales(np.array([1]))
        return self.model.priors.cubic_scale * self._scales(self.third_order.shells) / first

    @property
    def mask(self) -> Mask:
        """The part of reciprocal space that the model uses."""
        given = self.model.mask
        return Mask(
            given.q_min,
            given.q_max or np.inf,
            given.wedge,
            given.plane,
            given.bragg_radius,
            given.rings,
            given.outliers,
        )

    @property
    def axes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """h, k and l of the model's grid."""
        measurement = self.model.measurement
        if measurement is None or measurement.grid is None:
            raise ModelError(
                f"The model file {self.model.path} has no [measurement.grid].",
                "A volume can only be simulated on a grid.",
                "Add h, k and l, each as [first, last, points].",
            )
        grid = measurement.grid
        points = [axis.points for axis in (grid.h, grid.k, grid.l)]
        if reason := too_much(BYTES_PER_VOXEL * math.prod(points)):
            what = f"The [measurement.grid] of {self.model.path} has {' x '.join(map(str, points))} points."
            raise ModelError(what, reason, "Use fewer points.")
        h, k, l_ = (np.linspace(axis.first, axis.last, axis.points) for axis in (grid.h, grid.k, grid.l))
        return h, k, l_

    def supercell(self) -> Supercell:
        """The supercell of the model's measurement."""
        return make_supercell(self.crystal, np.array(self._measurement().supercell))

    def _simulated_supercell(self) -> Supercell:
        """The supercell that volumes are simulated in: the finer one of [simulation] where there is one."""
        finer = self.model.simulation.supercell
        return self.supercell() if finer is None else make_supercell(self.crystal, np.array(finer))

    def ifcs(self, name: str, complete: bool = True) -> np.ndarray:
        """A named IFC set as an array (n_irreducible,), eV/Å².

        Where the model asks for invariance, the set may be free of it: those of its constants come back
        that are still parameters.

        Args:
            name: of the set.
            complete: whether every constant must be in it; otherwise missing ones are 0.
        """
        if name not in self.model.ifcs:
            raise ModelError(
                f"There is no IFC set {name!r} in {self.model.path}.",
                f"It defines {', '.join(self.model.ifcs) or 'none'}.",
                "Name one of these, or add a table [ifcs.NAME].",
            )
        values = self.model.ifcs[name].values
        constants = self.irreducible
        names = constants.names if set(values) == set(constants.names) else constants.all_names
        unknown = [key for key in values if key not in names]
        missing = [key for key in names if key not in values]
        if complete and (unknown or missing):
            raise ModelError(
                f"The IFC set {name!r} in {self.model.path} does not fit the crystal.",
                f"Unknown: {', '.join(unknown) or 'none'}; missing: {', '.join(missing) or 'none'}.",
                f"{self.irreducible.n_shells} shells of this crystal have {', '.join(names)}.",
            )
        return np.array([values.get(key, 0.0) for key in constants.names])

    def _invariant_ifcs(self, name: str, complete: bool) -> np.ndarray:
        """The same, or what is nearest to all of the set's constants and obeys the invariance asked for."""
        values, constants, given = self.ifcs(name, complete), self.irreducible, self.model.ifcs[name].values
        if constants.invariance == "none" or set(given) == set(constants.names):
            return values
        every = np.array([given.get(key, 0.0) for key in constants.all_names])
        return np.linalg.lstsq(constants.expansion, every)[0]

    def stable_ifcs(self, name: str, complete: bool = True) -> np.ndarray:
        """The named set, as near to it as invariance allows, refused if the crystal is unstable with it."""
        values = self._invariant_ifcs(name, complete)
        if not stable(harmonic_crystal(self.irreducible, self.supercell(), 300.0), values):
            raise InstabilityError(
                f"The crystal is unstable with the IFC set {name!r} of {self.model.path}.",
                "A mode of the supercell has a force constant that is not positive.",
                "Check the signs (blocks of binding bonds are negative), or name another set.",
            )
        return values

    @property
    def model_temperature(self) -> float:
        """Temperature of the model's measurement, K."""
        return self._measurement().temperature

    @property
    def model_statistics(self) -> StatisticsName:
        """How atoms move in the model's measurement."""
        return self._measurement().statistics

    def sampled_engine(self, nufft: bool = False) -> SampledEngine:
        """Engine for configurations of the model's supercell on the model's grid."""
        refuse_instrument(
            self.model, self.crystal, "Intensities of configurations are those of the crystal alone."
        )
        return make_sampled_engine(
            self.supercell(), self.axes, constant_factors(self.model, self.crystal), nufft
        )

    def simulated(self, name: str, scale: float = 1.0, engine: str = "exact") -> xr.Dataset:
        """The volume that the model's measurement would give with a named IFC set, without noise.

        Args:
            name: of the IFC set.
            scale: overall factor of the intensity.
            engine: "exact" or "one-phonon".
        """
        beamline = make_beamline(self.model, self.crystal)
        strengths = self.model.simulation.background or (0.0,) * beamline.n_terms
        if engine == "one-phonon":
            refuse_instrument(
                self.model, self.crystal, "One-phonon intensities are those of the crystal alone."
            )
        try:
            volume = simulate_volume(
                self.irreducible,
                self.stable_ifcs(name),
                self._simulated_supercell(),
                self._measurement().temperature,
                self.axes,
                partial(scattering_factors, self.model, self.crystal),
                scale,
                engine == "one-phonon",
                self.model_statistics,
                beamline,
                strengths,
            )
        except VolumeError as error:
            summary = f"Model file {self.model.path}: {error.summary}"
            raise VolumeError(summary, error.reason, error.fix) from error
        return volume.assign_attrs(title=self.model.title, source=f"bayestds simulate, IFC set {name}")

    def own_volume(self) -> xr.Dataset:
        """The model's own measurement: its data file, or a simulation."""
        measurement = self._measurement()
        if measurement.file is not None:
            return self.read(self.model.resolve(measurement.file))
        if measurement.ifcs is None:
            raise ModelError(
                f"The model file {self.model.path} names no data.",
                "Its [measurement] has neither `file` nor `ifcs`.",
                "Give a volume on the command line, or one of the two keys.",
            )
        # The data know all shells of the model, however few or many are fitted, and every constant of them.
        return build_study(self.model, invariant=False).simulated(measurement.ifcs)

    def read(self, path: Path, group: str | None = None) -> xr.Dataset:
        """The volume in a data file, in slabs as large as the model allows and in the axes of its crystal.

        Args:
            path: of the file.
            group: path of the volume in it, by default that of the model or the file's own default.
        """
        measurement = self.model.measurement
        slab_bytes = int(measurement.slab_memory * 2**20) if measurement else SLAB_BYTES
        group = measurement.path if group is None and measurement else group
        return in_crystal_axes(read_volume(path, slab_bytes, group), self.crystal, path)

    @property
    def inputs(self) -> list[Path]:
        """The files that the model consists of."""
        measurement = self.model.measurement
        files = (self.model.crystal.file, measurement.file if measurement else None)
        return [self.model.path, *(self.model.resolve(file) for file in files if file is not None)]

    def temperature(self, volume: xr.Dataset) -> float:
        """Temperature of the volume where it states one, else of the model, K."""
        return float(volume.attrs.get("temperature", self._measurement().temperature))

    def statistics(self, volume: xr.Dataset) -> StatisticsName:
        """How atoms moved in the volume where it says so (a simulated one does), else in the model."""
        return volume.attrs.get("statistics", self.model_statistics)

    def observations(self, volume: xr.Dataset, name: str) -> Observations:
        """Averages of the equivalent voxels of a volume called ``name``."""
        check_lattice(volume, self.crystal, name)
        beamline = make_beamline(self.model, self.crystal)
        try:
            zeros = self._measurement().zeros
            return average(volume, self.supercell(), self.mask, beamline.on_mesh, beamline.friedel, zeros)
        except VolumeError as error:
            raise VolumeError(f"{name}: {error.summary}", error.reason, error.fix) from error

    def problem(self, volume: xr.Dataset, name: str, observations: Observations | None = None) -> Problem:
        """The fit of this model to a volume called ``name``, whose averages may be known already."""
        observations = self.observations(volume, name) if observations is None else observations
        supercell, beamline = self.supercell(), make_beamline(self.model, self.crystal)
        if self.third_order is not None:
            check_reach(self.third_order.bonds, self.third_order.n_shells, supercell)
        n_constants = self.irreducible.n_irreducible + (self.third_order.n_cubic if self.third_order else 0)
        check_size(name, len(observations.intensity), n_constants, beamline.n_terms)
        try:
            measured = make_volume(
                self.model,
                self.irreducible,
                self.supercell(),
                observations.grid,
                observations.agreement.inverted,
                self._likelihood(volume, observations),
                self.temperature(volume),
                self.statistics(volume),
                self.configurations(volume),
            )
        except VolumeError as error:
            raise VolumeError(f"{name}: {error.summary}", error.reason, error.fix) from error
        try:
            self._check_combination(measured)
        except ModelError as error:
            summary = f"{name}, fitted with {self.model.path}: {error.summary}"
            raise ModelError(summary, error.reason, error.fix) from error
        return self.problem_of(measured)

    def problem_of(self, *volumes: Volume) -> Problem:
        """The fit of this model to volumes."""
        return Problem(
            self.irreducible,
            self.supercell(),
            volumes,
            self.prior_scales,
            self.third_order,
            self.cubic_scales,
            self.model.priors.learned,
            tolerance=self.model.fit.tolerance,
        )

    def _check_combination(self, volume: Volume) -> None:
        """Refuse what is asked for together and whose physics is not known."""
        fit, third_order = self.model.fit, self.third_order is not None
        if volume.configurations:
            ideal = volume.q_points.on_mesh and not volume.effects
            otherwise = bool(fit.noise_floor or fit.degrees_of_freedom)
            check_ensemble(volume.configurations, third_order, ideal, otherwise)

    def _likelihood(self, volume: xr.Dataset, observations: Observations) -> Likelihood:
        """The likelihood that the model asks for."""
        fit = self.model.fit
        try:
            return make_likelihood(observations, self._noise(volume), fit.noise_floor, fit.degrees_of_freedom)
        except ModelError as error:
            raise ModelError(
                f"[fit] of {self.model.path}: {error.summary}", error.reason, error.fix
            ) from error

    def configurations(self, volume: xr.Dataset) -> int:
        """Number of independent configurations that a volume has its noise from, 0 for other noise.

        The volume states it, or the model for a volume that does not. The model may ask for other noise;
        snapshots of a trajectory are correlated and not harmonic.
        """
        given = {"sigma", "counts"} & set(volume)
        other = self.model.fit.noise is not None or given or "snapshots" in volume.attrs
        stated = volume.attrs.get("configurations", self._measurement().configurations)
        return 0 if other else stated or 0

    def _noise(self, volume: xr.Dataset) -> float | None:
        noise = self.model.fit.noise
        if noise is None:
            return NOISE_FREE_SIGMA if volume.attrs.get("noise") == "none" else None
        return None if noise == "learned" else noise

    def _measurement(self):
        if self.model.measurement is None:
            raise ModelError(
                f"The model file {self.model.path} has no [measurement].",
                "The supercell and the temperature are needed.",
                "Add a table [measurement] with supercell and temperature.",
            )
        return self.model.measurement


def build_study(
    model: Model, shells: int | None = None, invariant: bool = True, cubic: int | None = None
) -> Study:
    """Crystal and force constants of a model.

    Args:
        model: the model.
        shells: another number of shells.
        invariant: whether the constants are to obey the invariance that the model asks for.
        cubic: another number of shells with third-order constants.
    """
    crystal = model_crystal(model)
    settings = model.force_constants
    constants = irreducible_force_constants(crystal, shells or settings.shells, settings.shell_tolerance)
    wanted = settings.cubic_shells if cubic is None else cubic
    third = third_order_force_constants(crystal, wanted, settings.shell_tolerance) if wanted else None
    return Study(
        model, crystal, constrained(constants, settings.invariance) if invariant else constants, third
    )
