"""What a model file says of radiation, atoms and instrument."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from bayestds.choices import StatisticsName
from bayestds.config import Model
from bayestds.crystal.structure import Crystal
from bayestds.crystal.supercell import Supercell
from bayestds.errors import CrystalError, ModelError
from bayestds.force_constants.irreducible import IrreducibleForceConstants
from bayestds.inference.likelihoods.base import Likelihood
from bayestds.inference.problem import Volume
from bayestds.scattering.atoms import neutron_lengths, xray_factors
from bayestds.scattering.beamline import Beamline
from bayestds.scattering.grid import IrreducibleGrid
from bayestds.scattering.q_points import FreePoints, MeshPoints
from bayestds.units import KILOVOLT_ANGSTROMS


def scattering_factors(model: Model, crystal: Crystal, q_points: np.ndarray) -> np.ndarray | None:
    """f_κ (n_q, n_atoms) at Q points (n_q, 3) in r.l.u., (n_atoms,) if constant, None where all are 1.

    Raises:
        ModelError: an atom is not known.
    """
    given = model.scattering
    if given.radiation == "point":
        return constant_factors(model, crystal)
    _check_species(model, crystal, "ions", given.ions)
    lengths = np.linalg.norm(crystal.scattering_vectors(q_points), axis=-1)
    try:
        if given.radiation == "neutron":
            return neutron_lengths(crystal.species)
        ions = [given.ions.get(species, species) for species in crystal.species]
        return xray_factors(ions, lengths, given.energy)
    except CrystalError as error:
        raise ModelError(f"{model.path}: {error.summary}", error.reason, error.fix) from error


def constant_factors(model: Model, crystal: Crystal) -> np.ndarray | None:
    """f_κ (n_atoms,) that do not depend on Q; None where all are 1.

    Raises:
        ModelError: they do depend on it.
    """
    given = model.scattering
    if given.radiation == "xray":
        raise ModelError(
            f"[scattering] of {model.path} asks for X-ray form factors.",
            "Intensities of configurations can only be made of atoms whose factors do not depend on Q.",
            "Use the exact engine, or point atoms.",
        )
    if given.radiation == "neutron":
        return neutron_lengths(crystal.species)
    _check_species(model, crystal, "factors", given.factors)
    factors = given.factors
    return np.array([factors.get(species, 1.0) for species in crystal.species]) if factors else None


def _check_species(model: Model, crystal: Crystal, key: str, table: Mapping[str, object]) -> None:
    unknown = sorted(set(table) - set(crystal.species))
    if unknown:
        raise ModelError(
            f"[scattering.{key}] of {model.path} names {', '.join(unknown)}.",
            f"The crystal consists of {', '.join(sorted(set(crystal.species)))}.",
            "Correct the species.",
        )


def make_beamline(model: Model, crystal: Crystal) -> Beamline:
    """Effects of the instrument, in units of the forward scattering of a primitive cell.

    Raises:
        ModelError: an atom is not known.
    """
    given, measurement = model.instrument, model.measurement
    factors = scattering_factors(model, crystal, np.zeros((1, 3)))
    factors = np.ones(crystal.n_atoms) if factors is None else factors
    forward_scattering = float((np.abs(factors) ** 2).sum())
    energy, ions = model.scattering.energy, model.scattering.ions
    atoms = tuple(ions.get(name, name) for name in crystal.species)
    from_energy = None if energy is None else KILOVOLT_ANGSTROMS / energy
    return Beamline(
        crystal,
        commensurate=measurement is None or measurement.commensurate,
        friedel=energy is None or crystal.is_centrosymmetric or len(set(atoms)) == 1,
        wavelength=(given.wavelength or from_energy) if given.polarisation else None,
        compton=atoms if given.compton else None,
        n_background=given.background,
        unit=forward_scattering,
        background_scale=given.background_scale,
        resolution=given.resolution,
        mosaic=np.radians(given.mosaic),
        voxel_size=given.voxel_size,
    )


def make_volume(
    model: Model,
    irreducible: IrreducibleForceConstants,
    supercell: Supercell,
    grid: IrreducibleGrid,
    inverted: bool,
    likelihood: Likelihood,
    temperature: float,
    statistics: StatisticsName,
    configurations: int = 0,
) -> Volume:
    """A volume as it is fitted, with the radiation and the instrument of a model.

    Args:
        model: which says what it was measured with.
        irreducible: which pairs of atoms have force constants.
        supercell: the periodic supercell.
        grid: the averaged voxels.
        inverted: whether the intensities at Q and -Q were averaged before.
        likelihood: of what was observed.
        temperature: K.
        statistics: of the displacements.
        configurations: that it is a mean over, 0 for other noise.

    Raises:
        VolumeError: effects of the instrument cannot be computed for these voxels.
    """
    beamline = make_beamline(model, irreducible.crystal)
    points = beamline.points(grid.q_points, grid.axes, inverted and not beamline.friedel)
    effects = beamline.effects(grid.q_points, points.shape[1])
    scattering_at = points.reshape(-1, 3)
    factors = scattering_factors(model, irreducible.crystal, scattering_at)
    memory = model.fit.memory * 2**20
    q_points = (
        MeshPoints(supercell, scattering_at, factors, memory)
        if beamline.on_mesh
        else FreePoints(irreducible, supercell, scattering_at, factors, memory)
    )
    return Volume(temperature, grid, q_points, likelihood, effects, statistics, configurations)


def refuse_instrument(model: Model, crystal: Crystal, reason: str) -> None:
    """Refuse a model with effects of an instrument, or with voxels anywhere.

    Raises:
        ModelError: it has some.
    """
    beamline = make_beamline(model, crystal)
    if replace(beamline, commensurate=True).ideal and not beamline.commensurate:
        raise ModelError(
            f"[measurement] of {model.path} has commensurate = false.",
            "Only `fit`, `sample` and the exact engine of `simulate` know voxels between the wave vectors of "
            "the supercell.",
            "Leave it out, with a grid and a supercell that fit each other.",
        )
    if not beamline.ideal:
        raise ModelError(
            f"The model {model.path} has effects of an instrument.",
            reason,
            "Leave [instrument] out, or use `simulate` with the exact engine and `fit`.",
        )
