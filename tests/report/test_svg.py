"""Small charts: marks lie where their numbers say, and ticks are round."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayestds.report.svg import Chart, round_ticks

SVG = "{http://www.w3.org/2000/svg}"


def drawn(chart: Chart) -> ET.Element:
    return ET.fromstring(
        str(chart.svg("a chart", "some words")).replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"')
    )


def test_marks_lie_where_their_numbers_say():
    chart = Chart((0, 10), (-1, 1), "x", "y", (200, 100))
    chart.dots(np.array([0.0, 10.0, 5.0]), np.array([-1.0, 1.0, 0.0]))
    left, top, right, bottom = chart.box
    places = [(float(c.get("cx")), float(c.get("cy"))) for c in drawn(chart).iter(f"{SVG}circle")]
    # Written to a tenth of a unit.
    expected = [(left, bottom), (right, top), ((left + right) / 2, (top + bottom) / 2)]
    np.testing.assert_allclose(places, expected, atol=0.051)


def test_lines_are_interrupted_where_there_is_nothing():
    chart = Chart((0, 4), (0, 1))
    chart.line(np.arange(5.0), np.array([0.0, 1.0, np.nan, 1.0, 0.0]), "mine")
    path = next(p.get("d") for p in drawn(chart).iter(f"{SVG}path") if p.get("class") == "line mine")
    assert re.sub(r"[\d. ]+", "", path) == "MLML"


def test_bars_stand_on_the_axis():
    chart = Chart((0, 3), (0, 2))
    chart.bars(np.arange(4.0), np.array([1.0, 2.0, np.nan]), "mine")
    bars = [r for r in drawn(chart).iter(f"{SVG}rect") if r.get("class") == "mine"]
    assert len(bars) == 2
    _, top, _, bottom = chart.box
    heights = [float(bar.get("height")) for bar in bars]
    np.testing.assert_allclose(heights, [(bottom - top) / 2, bottom - top], atol=0.051)
    assert all(
        float(bar.get("y")) + float(bar.get("height")) == pytest.approx(bottom, abs=0.11) for bar in bars
    )


def test_labels_are_text():
    chart = Chart((0, 1), (0, 1), "<b>&", "]]>", x_ticks=[(0.5, "<script>")])
    texts = [text.text for text in drawn(chart).iter(f"{SVG}text")]
    assert {"<b>&", "]]>", "<script>"} <= set(texts)
    picture = chart.svg('"quoted"', "<i>")
    assert ET.fromstring(str(picture)).get("aria-label") == '"quoted": <i>'


@pytest.mark.parametrize(
    ("x", "y"), [((1, 1), (0, 0)), ((np.nan, 1), (0, np.inf)), ((-1e-300, 1e-300), (5, 5))]
)
def test_axes_without_length_are_drawn(x, y):
    chart = Chart(x, y, "x", "y")
    chart.line(np.array([1.0, 1.0]), np.array([0.0, 0.0]))
    assert "nan" not in str(chart.svg("a", "b"))


@given(st.floats(-1e6, 1e6), st.floats(1e-9, 1e6), st.integers(-12, 6).map(lambda power: 10.0**power))
def test_ticks_are_round_and_say_where_they_are(low, length, scale):
    low, high = low * scale, (low + length) * scale
    if high - low < 1e-6 * max(abs(low), abs(high)):
        return
    ticks, factor = round_ticks(low, high)
    assert 1 <= len(ticks) <= 8
    power = int(factor[3:].translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))) if factor else 0
    step = ticks[1][0] - ticks[0][0] if len(ticks) > 1 else high - low
    for place, text in ticks:
        assert low - 1e-5 * step <= place <= high + 1e-5 * step
        assert float(text.replace("−", "-")) * 10.0**power == pytest.approx(place, abs=1e-3 * step)
    assert len({text for _, text in ticks}) == len(ticks)


def test_crowded_labels_do_not_touch():
    chart = Chart((0, 1), (0, 1), "q", x_ticks=[(0.5, "X"), (0.51, "U|K"), (0.9, "Γ")])
    heights = {
        t.text: float(t.get("y")) for t in drawn(chart).iter(f"{SVG}text") if t.text in ("X", "U|K", "Γ")
    }
    assert heights["U|K"] > heights["X"] == heights["Γ"]
