"""Small charts as SVG, whose colours and letters are those of the page around them, in light and dark."""

from collections.abc import Sequence
from zlib import crc32

import numpy as np
from markupsafe import Markup, escape

SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

LETTER = 7.0
"""Width of a letter, about."""

Number = float | int

Ticks = Sequence[tuple[Number, str]]
"""Positions on an axis and what is written there."""


def round_ticks(low: Number, high: Number, most: int = 6) -> tuple[list[tuple[float, str]], str]:
    """Ticks at round numbers, and the power of ten that their labels leave out ("" if none).

    Args:
        low, high: ends of the axis, low < high.
        most: ticks at most.
    """
    raw = (high - low) / most
    unit = 10.0 ** np.floor(np.log10(raw))
    step = unit * next(m for m in (1, 2, 5, 10) if m * unit >= raw * (1 - 1e-9))
    places = np.arange(np.ceil(low / step - 1e-6), np.floor(high / step + 1e-6) + 1)
    largest = max(abs(low), abs(high))
    power = int(np.floor(np.log10(largest)))
    power = power if power < -3 or power > 4 else 0
    digits = max(0, power - int(np.floor(np.log10(step) + 1e-9)))
    # Adding zero turns -0 into 0.
    labels = [f"{place * step / 10.0**power + 0.0:.{digits}f}" for place in places]
    factor = f"×10{str(power).translate(SUPERSCRIPT)}" if power else ""
    return [(p * step, t.replace("-", "−")) for p, t in zip(places, labels, strict=True)], factor


class Chart:
    """A chart with two axes, built up mark by mark.

    Args:
        x, y: ends of the axes.
        x_label, y_label: what they are, with units.
        size: width and height, in units of which a letter is 12 high.
        x_ticks, y_ticks: ticks; round numbers by default.
        left: room for the labels of the y axis.
    """

    def __init__(
        self,
        x: tuple[Number, Number],
        y: tuple[Number, Number],
        x_label: str = "",
        y_label: str = "",
        size: tuple[Number, Number] = (360, 230),
        x_ticks: Ticks | None = None,
        y_ticks: Ticks | None = None,
        left: Number = 52,
    ):
        self.x, self.y, self.size = _apart(*x), _apart(*y), size
        self.box = (left, 10.0, size[0] - 18, size[1] - (44 if x_label else 26))
        self._marks: list[str] = []
        self._axes = self._x_axis(x_label, x_ticks) + self._y_axis(y_label, y_ticks)

    def _place(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions in the picture, held to its surroundings so that no number is endless."""
        left, top, right, bottom = self.box
        across = left + (np.asarray(x, float) - self.x[0]) / (self.x[1] - self.x[0]) * (right - left)
        down = bottom - (np.asarray(y, float) - self.y[0]) / (self.y[1] - self.y[0]) * (bottom - top)
        return np.clip(across, -2000, 4000), np.clip(down, -2000, 20000)

    def line(self, x: np.ndarray, y: np.ndarray, css: str = "c1") -> None:
        """A line through points (n,); NaN interrupts it."""
        across, down = self._place(x, y)
        steps, pen = [], "M"
        for a, d in zip(across, down, strict=True):
            if np.isfinite(a) and np.isfinite(d):
                steps.append(f"{pen}{a:.1f} {d:.1f}")
                pen = "L"
            else:
                pen = "M"
        self._marks.append(f'<path class="line {css}" d="{"".join(steps)}"/>')

    def band(self, x: np.ndarray, low: np.ndarray, high: np.ndarray, css: str = "c1") -> None:
        """The area between two lines over x, (n,) each."""
        use = np.isfinite(low) & np.isfinite(high)
        across, top = self._place(x[use], high[use])
        bottom = self._place(x[use], low[use])[1]
        self._area([*zip(across, top, strict=True), *zip(across[::-1], bottom[::-1], strict=True)], css)

    def sideways(self, y: np.ndarray, left: np.ndarray, right: np.ndarray, css: str = "c1") -> None:
        """The area between two lines over y, (n,) each."""
        use = np.isfinite(left) & np.isfinite(right)
        across, down = self._place(right[use], y[use])
        back = self._place(left[use], y[use])[0]
        self._area([*zip(across, down, strict=True), *zip(back[::-1], down[::-1], strict=True)], css)

    def _area(self, points: list[tuple[float, float]], css: str) -> None:
        path = " ".join(f"{a:.1f},{d:.1f}" for a, d in points)
        self._marks.append(f'<polygon class="area {css}" points="{path}"/>')

    def bars(self, edges: np.ndarray, heights: np.ndarray, css: str = "c1") -> None:
        """Bars (n,) from the bottom of the axis, between edges (n + 1,)."""
        base = np.full(len(heights), self.y[0])
        self.boxes(edges[:-1], edges[1:], base, heights, css)

    def boxes(self, x0: np.ndarray, x1: np.ndarray, y0: np.ndarray, y1: np.ndarray, css: str) -> None:
        """Filled rectangles, (n,) each."""
        (left, bottom), (right, top) = self._place(x0, y0), self._place(x1, y1)
        for a, d, w, h in zip(left, top, right - left, bottom - top, strict=True):
            if np.isfinite([a, d, w, h]).all():
                self._marks.append(
                    f'<rect class="{css}" x="{a:.1f}" y="{d:.1f}" width="{max(w, 0):.1f}" '
                    f'height="{max(h, 0):.1f}"/>'
                )

    def segments(self, x0: np.ndarray, y0: np.ndarray, x1: np.ndarray, y1: np.ndarray, css: str) -> None:
        """Straight lines from (x0, y0) to (x1, y1), (n,) each."""
        (a, b), (c, d) = self._place(x0, y0), self._place(x1, y1)
        ends = [ends for ends in zip(a, b, c, d, strict=True) if np.isfinite(ends).all()]
        path = "".join(f"M{p:.1f} {q:.1f}L{r:.1f} {s:.1f}" for p, q, r, s in ends)
        self._marks.append(f'<path class="line {css}" d="{path}"/>')

    def dots(self, x: np.ndarray, y: np.ndarray, css: str = "c1", radius: Number = 3.5) -> None:
        """Discs (n,); a class `hollow` leaves only their rims."""
        for a, d in zip(*self._place(x, y), strict=True):
            if np.isfinite([a, d]).all():
                self._marks.append(f'<circle class="dot {css}" cx="{a:.1f}" cy="{d:.1f}" r="{radius}"/>')

    def vertical(self, x: Number, css: str = "rule") -> None:
        """A line across the whole height."""
        self.segments(*_ones(x, self.y[0], x, self.y[1]), css)

    def horizontal(self, y: Number, css: str = "rule") -> None:
        """A line across the whole width."""
        self.segments(*_ones(self.x[0], y, self.x[1], y), css)

    def shade(self, low: Number, high: Number, upright: bool = True, css: str = "area grey") -> None:
        """The strip between two values of x, or of y."""
        ends = (low, high, *self.y) if upright else (*self.x, low, high)
        self.boxes(*_ones(*ends), css)

    def svg(self, name: str, description: str) -> Markup:
        """The picture.

        Args:
            name: what it shows, in some words.
            description: for those who cannot see it.
        """
        width, height = self.size
        left, top, right, bottom = self.box
        marks = "".join(self._marks)
        # Charts that share it are the same; a running number would need a place to count.
        clip = f"clip-{crc32((description + self._axes + marks).encode()):x}"
        head = (
            f'<svg class="chart" viewBox="0 0 {width:g} {height:g}" role="img" '
            f'aria-label="{escape(name)}: {escape(description)}">'
            f'<clipPath id="{clip}"><rect x="{left:g}" y="{top - 4:g}" width="{right - left:g}" '
            f'height="{bottom - top + 4:g}"/></clipPath>'
        )
        frame = f'<path class="frame" d="M{left:g} {top:g}V{bottom:g}H{right:g}"/>'
        return Markup(f'{head}{self._axes}<g clip-path="url(#{clip})">{marks}</g>{frame}</svg>')

    def _x_axis(self, label: str, ticks: Ticks | None) -> str:
        left, top, right, bottom = self.box
        given, factor = (ticks, "") if ticks is not None else round_ticks(*self.x)
        parts, end = [], -np.inf
        for place, text in given:
            across = self._place(np.array([place]), np.array([self.y[0]]))[0][0]
            parts.append(f'<path class="grid" d="M{across:.1f} {top:g}V{bottom:g}"/>')
            half = LETTER * len(text) / 2
            # A label that would touch the one before goes one line lower.
            crowded = across - half < end
            parts.append(_text(across, bottom + (29 if crowded else 16), text, "middle"))
            end = -np.inf if crowded else across + half + 3
        if label:
            parts.append(_text((left + right) / 2, bottom + 36, _with_factor(label, factor), "middle"))
        return "".join(parts)

    def _y_axis(self, label: str, ticks: Ticks | None) -> str:
        left, top, right, bottom = self.box
        given, factor = (ticks, "") if ticks is not None else round_ticks(*self.y, most=5)
        parts = []
        for place, text in given:
            down = self._place(np.array([self.x[0]]), np.array([place]))[1][0]
            parts.append(f'<path class="grid" d="M{left:g} {down:.1f}H{right:g}"/>')
            parts.append(_text(left - 6, down + 4, text, "end"))
        if label:
            middle = (top + bottom) / 2
            turned = f'transform="rotate(-90 13 {middle:g})"'
            parts.append(_text(13, middle, _with_factor(label, factor), "middle", turned))
        return "".join(parts)


def _ones(
    a: Number, b: Number, c: Number, d: Number
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    return np.array([a]), np.array([b]), np.array([c]), np.array([d])


def _apart(low: Number, high: Number) -> tuple[float, float]:
    """Ends of an axis that differ, whatever is to be shown on it."""
    if not (np.isfinite(low) and np.isfinite(high)):
        return 0.0, 1.0
    if high - low > 1e-9 * max(abs(low), abs(high), 1e-290):
        return float(low), float(high)
    room = max(0.05 * abs(low), 1e-12)
    return float(low - room), float(low + room)


def _with_factor(label: str, factor: str) -> str:
    return f"{label} {factor}" if factor else label


def _text(x: Number, y: Number, text: str, anchor: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{escape(text)}</text>'
