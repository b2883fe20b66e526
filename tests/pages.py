"""Results with everything that the report page can show, and the page taken apart."""

import json
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import xarray as xr

from bayestds.diagnostics.dataset import POSTERIOR
from tests.brute_force import random_stable
from tests.crystals import default_supercell, make_irreducible
from tests.results import point_fit_result, posterior_result

HOSTILE = (
    "</script><script>alert(1)</script> <img src=x onerror=alert(2)> \"quoted\" 'so' & $\\frac{ ]]> \u2028 镍"
)
"""What a title or a name may be."""

VOID = {"meta", "link", "input", "img", "br"}


def full_posterior(name: str = "fcc", n_shells: int = 2, chains: int = 4, draws: int = 60) -> xr.DataTree:
    """A posterior with chains, energies and predictions, all made up."""
    rng = np.random.default_rng(3)
    centre = random_stable(make_irreducible(name, n_shells), default_supercell(name), 0)
    values = centre * (1 + 0.01 * rng.normal(size=(chains, draws, len(centre))))
    tree = posterior_result(name, values, n_shells)
    dims = ("chain", "draw")
    stats = {
        "energy": (dims, rng.normal(size=(chains, draws))),
        "diverging": (dims, np.zeros((chains, draws), bool)),
    }
    tree["sample_stats"] = xr.DataTree(xr.Dataset(stats))
    observed = tree["observed_data"].dataset
    fitted = observed["fitted"].values
    replicated = fitted + rng.normal(size=(chains, 5, len(fitted)))
    tree["posterior_predictive"] = xr.DataTree(
        xr.Dataset({"log_intensity": (("chain", "draw", "point"), replicated)})
    )
    tree.attrs |= {"method": "nuts", "seed": 5, "warmup": 30, "prior": "normal"}
    return tree


def joint_result(name: str = "fcc", n_shells: int = 2) -> xr.DataTree:
    """A joint fit of two volumes, made up."""
    single = point_fit_result(name, n_shells=n_shells)
    attrs = {"temperature_K": 100.0, "noise": "given", "n_points": 11, "residual_rms": 0.02}
    attrs |= {"own_residual_rms": 0.01, "chi_square": 4.0, "degrees_of_freedom": 5, "p_value": 0.5}
    groups = {"point_fit": single["point_fit"].dataset, "constant_data": single["constant_data"].dataset}
    for i in (1, 2):
        for group in ("observed_data", "constant_data"):
            groups[f"volume_{i}/{group}"] = single[group].dataset
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = {key: value for key, value in single.attrs.items() if key != "residual_rms"}
    for i, p in ((1, 0.5), (2, 1e-6)):
        tree[f"volume_{i}"].attrs = attrs | {"name": f"volume {i}.nxs", "p_value": p}
    return tree


def with_volume(tree: xr.DataTree, shape: tuple[int, int, int], seed: int = 0) -> xr.DataTree:
    """The same result with a smooth volume of this shape, a corner of which was not measured."""
    axes = [np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape]
    h, k, l_ = np.meshgrid(*axes, indexing="ij")
    n, rng = h.size, np.random.default_rng(seed)
    observed = np.sin(3 * h + k).ravel() + l_.ravel()
    residual = 0.05 * rng.normal(size=n)
    place = np.arange(n).reshape(shape)
    place[:1, :2] = -1
    data = {
        "log_intensity": observed,
        "fitted": observed - residual,
        "expected": observed - residual,
        "residual": residual,
        "weight": np.full(n, 400.0),
        "multiplicity": np.ones(n, int),
    }
    dataset = xr.Dataset(
        {
            **{key: ("point", values) for key, values in data.items()},
            "q_points": (("point", "index"), np.stack([h, k, l_], axis=-1).reshape(-1, 3)),
            "point_of_voxel": (("h", "k", "l"), place),
        },
        coords=dict(zip("hkl", axes, strict=True)),
    )
    found = tree.copy()
    found["observed_data"] = xr.DataTree(dataset)
    if found.attrs["kind"] == POSTERIOR and "posterior_predictive" in found.children:
        replicated = data["fitted"] + 0.05 * rng.normal(size=(4, 5, n))
        found["posterior_predictive"] = xr.DataTree(
            xr.Dataset({"log_intensity": (("chain", "draw", "point"), replicated)})
        )
    return found


class Page(HTMLParser):
    """A page taken apart.

    Attributes:
        tags: every start tag with its attributes, in order.
        text: by the element it is directly in, in order: (tag, text).
        open: elements that were not closed.
        stray: end tags of elements that were not open.
    """

    def __init__(self, html: str):
        super().__init__()
        self.html = html
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.stray: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()
        else:
            self.stray.append(tag)

    def handle_data(self, data: str) -> None:
        self.text.append((self.open[-1] if self.open else "", data))

    def all(self, tag: str) -> list[dict[str, str]]:
        """Attributes of every element of this kind."""
        return [attrs for name, attrs in self.tags if name == tag]

    def texts(self, tag: str) -> list[str]:
        """Text of every element of this kind, piece by piece."""
        return [text.strip() for name, text in self.text if name == tag and text.strip()]

    @property
    def words(self) -> str:
        """All that a reader reads, in one line."""
        shown = (text for tag, text in self.text if tag not in ("script", "style"))
        return re.sub(r"\s+", " ", " ".join(shown))

    @property
    def data(self) -> dict[str, Any]:
        """What the script reads."""
        found = re.search(r'<script type="application/json" id="data">(.*?)</script>', self.html, re.DOTALL)
        assert found
        return json.loads(found[1], parse_constant=_no_constant)


def _no_constant(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")
