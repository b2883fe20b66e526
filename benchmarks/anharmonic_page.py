"""docs/anharmonic.md from the results of copper_cubic.py: every number on the page is from there.

Usage: python benchmarks/anharmonic_page.py [--results FOLDER] [-o docs/anharmonic.md]
"""

import json
from pathlib import Path
from typing import Any

from pages import table, wrapped, write_page

from bayestds.diagnostics.cubic import anharmonic_words
from bayestds.diagnostics.summary import THIRD_ORDER

FITS = {
    "copper_harmonic.nc": "harmonic",
    "copper_cubic.nc": "first shell",
    "copper_two_shells.nc": "two shells",
}
"""What the fits have of third order."""

TEXT = """\
# Anharmonic volumes

Volumes of real crystals, and of molecular dynamics, differ from any harmonic model: one- and two-phonon
scattering interfere, and what that adds changes its sign under inversion about each Bragg point. It is
proportional to third-order force constants, to leading order in them, and so it determines them.

## How to fit them

```toml
[force_constants]
shells = 5
cubic_shells = 1              # neighbour shells with third-order constants; 0, the default, is harmonic
[priors]
cubic_scale = 30              # eV/Å³, normal about 0, first shell; decays as the second-order ones do
```

or, whatever the model file says,

<!-- test: not run, it takes minutes -->

```console
bayestds fit cu_fcc tests/data/cu_md_300K.nxs --cubic 1
bayestds sample cu_fcc tests/data/cu_md_300K.nxs --cubic 1 -o copper_cubic.nc
bayestds compare copper_harmonic.nc copper_cubic.nc
```

The harmonic fit comes first, and from it all constants together. The table of third-order constants
names the elements of the symmetric tensor G of a bond, b_xxx, b_xxy, ... for the first shell, in eV/Å³
([theory](theory.md)); `summary` and `report` show them with intervals and verdicts by shell, a posterior
has them as the variable `cubic`, and every error of the second-order constants allows for them.
`bayestds phonons` gives the mode Grüneisen parameters that follow, and their mean.

It works for classical statistics (molecular dynamics) and quantum ones (a real crystal), at wave vectors of
the supercell and between them, with any effects of the instrument; several volumes share the constants. Means
over independent harmonic configurations are refused.

## What the errors mean then

{errors}

The constants are those of pairs of atoms. Energies of three different atoms are left out, and what these
scatter is taken up by the constants of pairs as far as they can.

## Copper, from molecular dynamics

`tests/data/cu_md_300K.nxs` is the mean scattering of a molecular-dynamics run with the potential Cu U3 at
300 K. Every number below is in `benchmarks/results/copper.json`, made by
`python benchmarks/copper_cubic.py FOLDER`.

{said}

{residual}

Third derivatives of the energy along bonds, beside those of the potential itself (finite differences at
rest). The longitudinal one of the first shell is {off:.0%} from the potential's. The errors are those of
the fit alone, and small: what separates the two is the temperature and what the model leaves out, not
the noise.

{bonds}

Second-order constants, eV/Å², with standard errors and, in brackets, the clustered ones. {moved}

{second_order}
"""

POSTERIOR = """\
## Its posterior

{posterior}

{chains}
"""


def residual(found: dict[str, Any]) -> str:
    """Table of the residuals of the fits."""
    rows = [
        [FITS[name], *(f"{one[key]:.4f}" for key in ("rms", "odd_rms", "even_rms")),
         *(f"{one[key]:.2f}" for key in ("neighbour_correlation", "zone_correlation"))]
        for name, one in found["residual"].items()
    ]  # fmt: skip
    head = ["third order", "residual rms of ln I", "odd", "even", "correlation of neighbours", "within zones"]
    return table(head, rows)


def bonds(found: dict[str, Any]) -> str:
    """Table of the third derivatives along bonds."""
    rows = []
    for bond, kinds in found["bonds"].items():
        for kind, one in kinds.items():
            row = [f"({bond})", kind.replace("_", " "), f"{one['potential']:.3f}"]
            for name in list(found["residual"])[1:]:
                row.append(f"{one[name]['value']:.3f} ± {one[name]['sd']:.3f}" if name in one else "")
            rows.append(row)
    return table(
        ["bond (a/2)", "derivative, eV/Å³", "potential", *list(map(FITS.get, found["residual"]))[1:]], rows
    )


def second_order(found: dict[str, Any]) -> str:
    """Table of the second-order constants of all fits."""
    second = found["second_order"]
    rows = []
    for name in second["constants"]["copper_harmonic.nc"]:
        row = [name, f"{second['potential'][name]:.4f}"]
        for fit in second["constants"]:
            one = second["constants"][fit][name]
            row.append(f"{one['value']:.4f} ± {one['sd']:.4f} ({one['clustered_sd']:.4f})")
        rows.append(row)
    return table(["IFC", "potential, at rest", *map(FITS.get, second["constants"])], rows)


def moved(second: dict[str, Any]) -> str:
    """How far the second-order constants are from those of the potential."""
    distance = second["rms_from_potential"]
    words = ", ".join(f"{distance[fit]:.4f} ({kind})" for fit, kind in FITS.items() if fit in distance)
    closer = second["closer"]
    number = len(second["constants"]["copper_harmonic.nc"])
    return (
        f"Their rms distance from those of the potential at rest is {words} eV/Å²; with third order of the "
        f"first shell {len(closer)} of {number} come closer ({', '.join(closer) or 'none'}). Those at rest "
        "are not the truth here: what a fit finds are effective constants at 300 K."
    )


def posterior(found: dict[str, Any]) -> str:
    """Harmonic against third order, left-out stars of k."""
    compared = found["compare"]
    behind = compared["results"]["copper_harmonic.nc"]
    unreliable = [
        f"{FITS[name]}: {one['unreliable_stars']}" for name, one in compared["results"].items()
        if one["unreliable_stars"]
    ]  # fmt: skip
    doubt = f" (stars whose k-hat exceeds 0.7: {'; '.join(unreliable)})" if unreliable else ""
    refitted = found["left_out"]
    again = (
        f"Fitted anew without each star, the harmonic model predicts "
        f"{refitted['stars that the harmonic fit predicts worse']} of {refitted['stars']} stars worse, all "
        f"together by {refitted['behind']:.0f} ± {refitted['behind_se']:.0f} nats."
    )
    noise = {name: found["posterior"][name]["learned_noise"]["value"] for name in compared["results"]}
    before, after = noise.values()
    return (
        f"Leaving out each of {compared['n_stars']} stars of k in turn, the harmonic posterior predicts "
        f"worse by {behind['behind']:.0f} ± {behind['behind_se']:.0f} nats{doubt}. {again} The relative "
        f"noise of a voxel, which both learn, falls from {before:.3f} to {after:.3f}: most of what a "
        "harmonic model must take for noise is not."
    )


def chains(found: dict[str, Any]) -> str:
    """Table of the quality of the chains, and the draws of third-order constants."""
    rows = []
    for name, one in found["posterior"].items():
        draws = ", ".join(f"{key} {c['mean']:.3f} ± {c['sd']:.3f}" for key, c in one["cubic"].items())
        row = [FITS[name], f"{one['largest_r_hat']:.3f}", f"{one['smallest_ess']:.0f}"]
        rows.append([*row, str(one["divergences"]), draws or "none"])
    return table(["third order", "largest R-hat", "smallest ESS", "divergences", "draws, eV/Å³"], rows)


def page(results: Path) -> str:
    """The page."""
    found = json.loads((results / "copper.json").read_text("utf-8"))
    first = found["bonds"]["1 1 0"]["longitudinal"]
    text = TEXT.format(
        errors=THIRD_ORDER,
        said=" ".join(anharmonic_words(found["anharmonicity"]["copper_cubic.nc"])),
        residual=residual(found),
        off=abs(first["copper_cubic.nc"]["value"] / first["potential"] - 1),
        bonds=bonds(found),
        moved=moved(found["second_order"]),
        second_order=second_order(found),
    )
    if "compare" in found:
        text += "\n" + POSTERIOR.format(posterior=posterior(found), chains=chains(found))
    return "\n\n".join(wrapped(part) for part in text.strip().split("\n\n")) + "\n"


if __name__ == "__main__":
    write_page(page, "anharmonic.md", __doc__)
