"""Writes docs/gallery.md and its pictures: phonons and scattering of every shipped model of a real crystal.

Usage: python benchmarks/gallery_page.py
"""

from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from pages import HERE, table, wrapped
from PIL import Image

from bayestds.cli.assemble import Study, build_study
from bayestds.cli.beam import scattering_factors
from bayestds.config import load_model
from bayestds.config.tables import Scattering
from bayestds.crystal.supercell import make_supercell
from bayestds.io.atomic import atomic_path
from bayestds.lattice_dynamics.elasticity import elastic_stiffness, independent_elements
from bayestds.lattice_dynamics.paths import band_path, special_points
from bayestds.lattice_dynamics.phonons import frequencies
from bayestds.scattering.simulation import simulate_volume

DOCS = HERE.parent / "docs"


@dataclass(frozen=True)
class Kind:
    """Crystals of one structure, and what is shown of them.

    Attributes:
        title: of the section.
        models: names of the model files.
        path: special points of the dispersion.
        points: special points of the table.
        supercell: of the slice, conventional cells.
        reach: the slice shows h and k from -reach to reach.
    """

    title: str
    models: tuple[str, ...]
    path: tuple[str, ...]
    points: tuple[str, ...]
    supercell: tuple[int, int, int]
    reach: float


CUBIC = (20, 20, 5)
KINDS = {
    "fcc": Kind(
        "Face-centred cubic",
        ("ag_fcc", "al_fcc", "au_fcc", "ce_fcc", "cu_fcc", "ni_fcc", "pd_fcc", "pt_fcc", "th_fcc"),
        ("Γ", "X", "W", "L", "Γ"),
        ("X", "L"),
        CUBIC,
        4,
    ),
    "bcc": Kind(
        "Body-centred cubic",
        ("cr_bcc", "fe_bcc", "k_bcc", "li_bcc", "na_bcc", "nb_bcc", "rb_bcc", "v_bcc", "w_bcc"),
        ("Γ", "H", "P", "Γ", "N"),
        ("H", "N"),
        CUBIC,
        4,
    ),
    "hcp": Kind(
        "Hexagonal close-packed",
        ("mg_hcp", "sc_hcp", "ti_hcp", "y_hcp", "zn_hcp", "zr_hcp"),
        ("Γ", "M", "K", "Γ", "A"),
        ("Γ", "A"),
        (20, 20, 4),
        5,
    ),
    "others": Kind(
        "Constants from density-functional theory",
        ("si_diamond", "nacl_rocksalt"),
        ("Γ", "X", "W", "L", "Γ"),
        ("Γ", "X"),
        CUBIC,
        4,
    ),
}
ABOUT = {
    "fcc": "Silver as corrected and thorium ten times the printed table; see the source in each file. Copper "
    "is the measurement here, `bvk_296K`; its reference in the file is a potential.",
    "bcc": "The streaks of the alkali metals along the diagonals are their soft transverse waves along 110.",
    "hcp": "The scattering is drawn with a* to the right; the axis of k is 60° from it.",
    "others": "These two are no measurements.",
}


@dataclass(frozen=True)
class Specimen:
    """One crystal of the gallery."""

    name: str
    kind: Kind

    @cached_property
    def study(self) -> Study:
        return build_study(load_model(self.name))

    @property
    def ifcs(self) -> str:
        """The set that is shown: the measured one."""
        fit = self.study.model.fit
        return str(fit.start if self.name == "cu_fcc" else fit.reference)

    @property
    def temperature(self) -> float:
        return 296.0 if self.name == "cu_fcc" else self.study.model_temperature

    def frequencies(self, q_points: np.ndarray) -> np.ndarray:
        return frequencies(self.study.irreducible, self.study.ifcs(self.ifcs), q_points)

    @property
    def label(self) -> str:
        formula = self.name.split("_")[0].capitalize().replace("cl", "Cl")
        return f"{formula}, {self.temperature:g} K"

    def slice(self) -> tuple[np.ndarray, np.ndarray]:
        """ln I (n, n) at l = 0 and the axis of h and k; X-rays, quantum statistics."""
        in_xrays = self.study.model.model_copy(update={"scattering": Scattering(radiation="xray")})
        steps = int(2 * self.kind.reach * self.kind.supercell[0]) + 1
        axis = np.linspace(-self.kind.reach, self.kind.reach, steps)
        volume = simulate_volume(
            self.study.irreducible,
            self.study.ifcs(self.ifcs),
            make_supercell(self.study.crystal, np.array(self.kind.supercell)),
            self.temperature,
            (axis, axis, np.zeros(1)),
            partial(scattering_factors, in_xrays, self.study.crystal),
            statistics="quantum",
        )
        with np.errstate(divide="ignore"):
            return np.log(volume["intensity"].values[:, :, 0]), axis


def sheet(specimens: list[Specimen], draw, height: float) -> Figure:
    """Small multiples, three in a row."""
    rows = -(-len(specimens) // 3)
    figure = Figure(figsize=(9.6, 0.2 + height * rows), dpi=80, layout="compressed")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, 3, squeeze=False).ravel()
    for axes, specimen in zip(panels, specimens, strict=False):
        draw(axes, specimen)
        axes.set_title(specimen.label, fontsize=11)
    for axes in panels[len(specimens) :]:
        axes.set_axis_off()
    return figure


def save(figure: Figure, path: Path) -> None:
    """As PNG with 128 colours, a third of the size."""
    figure.canvas.draw()
    picture = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")
    picture.quantize(128, dither=Image.Dither.NONE).save(path, format="PNG", optimize=True)


def draw_bands(axes: Axes, specimen: Specimen) -> None:
    path = band_path(specimen.study.crystal, list(specimen.kind.path))
    axes.plot(path.distance, specimen.frequencies(path.q_points), color="tab:blue", linewidth=1.2)
    axes.set_xticks(path.ticks, path.labels)
    axes.set_xlim(path.ticks[0], path.ticks[-1])
    axes.set_ylim(bottom=0)
    axes.grid(axis="x", color="0.8")
    axes.set_ylabel("ν (THz)")


def draw_slice(axes: Axes, specimen: Specimen) -> None:
    image, axis = specimen.slice()
    h, k = np.meshgrid(axis, axis, indexing="ij")
    hexagonal = np.isclose(specimen.study.crystal.cell_parameters[5], 120)
    # Reciprocal axes: 60° apart in a hexagonal crystal.
    x, y = (h + k / 2, k * 3**0.5 / 2) if hexagonal else (h, k)
    low, high = np.nanpercentile(image[np.isfinite(image)], [1, 99.5])
    axes.pcolormesh(x, y, image, vmin=low, vmax=high, cmap="viridis", shading="nearest", rasterized=True)
    edge = 3 if hexagonal else int(specimen.kind.reach)
    axes.set(aspect="equal", xlim=(-edge, edge), ylim=(-edge, edge))
    axes.set_xticks(range(-edge, edge + 1, 3 if hexagonal else 2))
    axes.set_yticks(range(-edge, edge + 1, 3 if hexagonal else 2))
    axes.set_xlabel("along a* (r.l.u.)" if hexagonal else "h (r.l.u.)")
    axes.set_ylabel("across a* (r.l.u.)" if hexagonal else "k (r.l.u.)")


def line(specimen: Specimen) -> list[str]:
    """A line of the table."""
    study, points = specimen.study, special_points(specimen.study.crystal)
    shown = []
    for name in specimen.kind.points:
        modes = specimen.frequencies(points[name][None])[0]
        shown.append(f"{name}\u00a0" + ", ".join(f"{x:.2f}" for x in np.unique(modes[modes > 1e-2].round(2))))
    stiffness = elastic_stiffness(study.irreducible, study.ifcs(specimen.ifcs))
    elastic = [f"{name}\u00a0{stiffness[at]:.3g}" for name, at in independent_elements(study.crystal).items()]
    source = study.model.ifcs[specimen.ifcs].source.split("; Landolt")[0].removeprefix("neutron scattering")
    return [
        f"`{specimen.name}`",
        f"{specimen.temperature:g}",
        str(study.irreducible.n_shells),
        str(study.irreducible.n_irreducible),
        "; ".join(shown),
        ", ".join(elastic),
        source.removeprefix(f" at {specimen.temperature:g} K").removeprefix(": "),
    ]


def page(images: Path) -> str:
    """The page; its pictures go into a folder."""
    head = ["model", "T (K)", "shells", "constants", "ν (THz)", "C (GPa)", "source"]
    parts = [
        "# Gallery of crystals",
        "Every crystal here is a model file that ships with the package: `bayestds fit al_fcc` simulates a "
        "measurement of aluminium and fits it, `bayestds simulate al_fcc -o al.nxs` writes the volume, and "
        "your own data take its place with `bayestds fit al_fcc volume.nxs`. The constants of the metals "
        "are Born-von Karman fits to measured phonons, as collected in Landolt-Börnstein III/13a. Pictures "
        "of scattering show ln I in the plane l = 0 for X-rays at the temperature of the measurement, to all "
        "phonon orders, with quantum statistics; each has its own scale of colours. Frequencies and "
        "elastic constants C of the tables follow from the force constants; not every fit was made to get "
        "the elastic ones right.",
        "Which tables were corrected or left out, and why, is in [the list of models](../models/README.md). "
        "This page is made by `python benchmarks/gallery_page.py`; browse with `notebooks/gallery.ipynb`.",
    ]
    for key, kind in KINDS.items():
        specimens = [Specimen(name, kind) for name in kind.models]
        parts += [f"## {kind.title}", ABOUT[key], table(head, [line(s) for s in specimens])]
        for what, draw, height in (("phonons", draw_bands, 2.3), ("scattering", draw_slice, 3.1)):
            file = f"gallery_{key}_{what}.png"
            with atomic_path(images / file) as temporary:
                save(sheet(specimens, draw, height), temporary)
            parts.append(f"![{what.capitalize()}: {', '.join(s.label for s in specimens)}](images/{file})")
    return "\n\n".join(map(wrapped, parts)) + "\n"


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    text = page(DOCS / "images")
    with atomic_path(DOCS / "gallery.md") as written:
        written.write_text(text, "utf-8")
