"""Damaged model files: they load, or one of our own errors says why not. `-m slow` tries many more."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayestds.cli.assemble import build_study
from bayestds.config import load_model, model_folder
from bayestds.errors import BayesTDSError

TEXT = (
    (model_folder() / "nacl_rocksalt.toml").read_text()
    + """
[scattering]
radiation = "xray"
ions = {Na = "Na1+", Cl = "Cl1-"}
[instrument]
polarisation = true
wavelength = 0.5
background = 4
compton = true
[simulation]
background = [1.0, 0.1, 0.1, 0.1, 0.1]
gaps = [[0.1, 0.2]]
counts = 10
[mask]
rings = [[1.0, 1.1]]
outliers = 6
"""
)
LINES = [line for line in TEXT.splitlines() if line and not line.startswith("#")]

values = st.recursive(
    st.one_of(
        st.integers(-(10**20), 10**20),
        st.floats(width=64),
        st.booleans(),
        st.text(max_size=5),
        st.sampled_from(["Na", "Na1+", "quantum", "learned", "springs", "..", "\x00"]),
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def toml(value: object) -> str:
    """A value as TOML writes it; not all texts come out right, which is another kind of damage."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}" = {toml(one)}' for key, one in value.items()) + "}"
    return repr(value)


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """Lines left out, repeated, moved, cut, or with another value."""
    lines = list(LINES)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        kind = draw(st.sampled_from(["drop", "repeat", "move", "cut", "value", "value", "value"]))
        line = lines[at]
        if kind == "drop" or (kind == "value" and "=" not in line):
            del lines[at]
        elif kind == "repeat":
            lines.insert(draw(st.integers(0, len(lines))), line)
        elif kind == "move":
            lines.insert(draw(st.integers(0, len(lines) - 1)), lines.pop(at))
        elif kind == "cut":
            lines[at] = line[: draw(st.integers(0, len(line)))]
        else:
            lines[at] = line.split("=")[0] + "= " + toml(draw(values))
        if not lines:
            break
    return "\n".join(lines)


def check(folder: Path, text: str) -> None:
    path = folder / "model.toml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    with suppress(BayesTDSError):
        model = load_model(path)
        # A large number of shells is no mistake, but takes its time.
        if model.force_constants.shells <= 5:
            build_study(model)


@given(text=damaged())
@settings(max_examples=60, deadline=None)
def test_damaged_models(tmp_path_factory, text):
    check(tmp_path_factory.mktemp("model"), text)


@pytest.mark.slow
@given(text=damaged())
@settings(max_examples=2000, deadline=None)
def test_many_damaged_models(tmp_path_factory, text):
    check(tmp_path_factory.mktemp("model"), text)


@given(content=st.binary(max_size=200))
@settings(max_examples=60, deadline=None)
def test_any_bytes(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("model") / "model.toml"
    path.write_bytes(content)
    with suppress(BayesTDSError):
        load_model(path)
