"""docs/potentials.md from the results of potentials.py: every number on the page is from there.

Usage: python benchmarks/potentials_page.py [--results FOLDER] [-o docs/potentials.md]
"""

import json
from pathlib import Path
from typing import Any

from pages import table, wrapped, write_page

from bayestds.diagnostics.validate import NOT_INCLUDED, RULE

SOURCES = {
    "Ni_u3.eam": "Foiles, Baskes, Daw, Phys. Rev. B 33 (1986) 7983",
    "Cu_u3.eam": "Foiles, Baskes, Daw, Phys. Rev. B 33 (1986) 7983",
    "Cu_u6.eam": "Adams et al., J. Mater. Res. 4 (1989) 102",
    "Ni_smf7.eam": "Foiles, Phys. Rev. B 32 (1985) 7685",
    "Cu_smf7.eam": "Foiles, Phys. Rev. B 32 (1985) 7685",
    "NiAlH_jea.eam.alloy": "Angelo, Moody, Baskes, Modelling Simul. Mater. Sci. Eng. 3 (1995) 289",
    "CuNi.eam.alloy": "Onat, Durukanoğlu, J. Phys.: Condens. Matter 26 (2014) 035404",
    "Cu_mishin1.eam.alloy": "Mishin et al., Phys. Rev. B 63 (2001) 224106",
    "Cu_zhou.eam.alloy": "Zhou et al., Acta Mater. 49 (2001) 4005",
    "emt": "effective-medium theory, as in ASE",
}
"""Where the potentials come from, as the headers of their files say."""


def judged(record: dict[str, Any]) -> str:
    """A table of potentials, the nearest first."""
    head = ["potential", "distance", "clustered", "residual rms", "pressure (GPa)", "beyond the shells"]
    shells = list(next(iter(record["potentials"].values()))["shells"])
    head += [f"shell {shell}" for shell in shells]
    rows = []
    for name in record["ranking"]:
        one = record["potentials"][name]
        pressure, beyond = one.get("pressure_GPa"), one.get("beyond_shells")
        row = [f"`{name}`", f"{one['mahalanobis']:.1f}", f"{one['mahalanobis_clustered']:.1f}"]
        row += [f"{one['residual_rms']:.4f}"]
        row += ["" if pressure is None else f"{pressure:+.2f}", "" if beyond is None else f"{beyond:.2%}"]
        for shell in one["shells"].values():
            text = f"{shell['z_max']:.1f}"
            row.append(f"**{text}**" if shell["wrong"] else text)
        rows.append(row)
    return table(head, rows)


TEXT = """\
# Judging potentials

`bayestds validate RESULT POTENTIAL ...` compares the force constants of interatomic potentials with those
that a diffuse-scattering volume determines. It says which neighbour shells a potential gets wrong, by how
many standard errors, and what volume it predicts. A potential is a calculator of ASE (`emt`, or
`module:function`), a file that ASE's EAM calculator reads, force constants of phonopy or TDEP, or an IFC
set of a model (`ni_fcc_u3:meam`). Every number below is in `benchmarks/results/potentials.json`, made by
`python benchmarks/potentials.py FOLDER` with the potentials of LAMMPS.

*Distance*: √(dᵀ C⁻¹ d) with the difference d of all force constants and their covariance C; *clustered*:
the same with the larger of the two standard errors. *Residual rms*: of ln I, of the volume predicted with
the potential's force constants. *Pressure*: of the potential at the lattice constants of the model. *Beyond
the shells*: norm of the force constants of farther pairs, over that of all. The columns by shell give the
largest deviation in standard errors, in bold where the shell is wrong. {rule}

## Nickel, from photon counts

A volume simulated with the five shells of U3 and {counts} counts a voxel in the mean, and fitted; the fit
leaves a residual rms of {nickel_rms:.4f}. The set it was made of is at a distance of {truth:.1f}, where
chance gives √{n} = {chance:.1f} or so. `Ni_u3.eam` is the same potential computed by ASE from its file,
with what it has beyond the fifth shell; its constants are within {apart:.4f} eV/Å² of the set, which LAMMPS
computed.

{nickel}

![Residuals of nickel](images/potentials_nickel.png)

## Copper, from molecular dynamics

The volume of `tests/data/cu_md_300K.nxs`, an average over a molecular-dynamics run with U3 at 300 K; the
fit leaves {copper_rms:.4f}, most of it the odd part that cubic anharmonicity brings, which no harmonic
model has. {note}

The nearest of the {number} is `{first}`.

{copper}

![Residuals of copper](images/potentials_copper.png)

## The potentials

{sources}

The IFC sets of the models state their sources themselves.
"""


def page(results: Path) -> str:
    """The page."""
    found = json.loads((results / "potentials.json").read_text("utf-8"))
    nickel, copper = found["nickel"], found["copper"]
    names = [name for name in SOURCES if name in nickel["potentials"] or name in copper["potentials"]]
    two = [nickel["potentials"][name]["ifcs"] for name in ("ni_fcc_u3:u3", "Ni_u3.eam")]
    apart = max(abs(two[0][name] - two[1][name]) for name in two[0])
    text = TEXT.format(
        rule=RULE,
        note=NOT_INCLUDED,
        counts=nickel["counts"],
        nickel_rms=nickel["fit_residual_rms"],
        truth=nickel["potentials"]["ni_fcc_u3:u3"]["mahalanobis"],
        n=nickel["n_irreducible"],
        chance=nickel["n_irreducible"] ** 0.5,
        nickel=judged(nickel),
        number=len(copper["ranking"]),
        first=copper["ranking"][0],
        apart=apart,
        copper_rms=copper["fit_residual_rms"],
        copper=judged(copper),
        sources=table(["name", "source"], [[f"`{name}`", SOURCES[name]] for name in names]),
    )
    return "\n\n".join(wrapped(part) for part in text.strip().split("\n\n")) + "\n"


if __name__ == "__main__":
    write_page(page, "potentials.md", __doc__)
