"""Progress where stderr is no terminal: lines that are worth reading, and few of them."""

import re

from bayestds.cli.output import SECONDS_BETWEEN_LINES, ProgressLines, progress_bar


class Clock:
    """A clock that is set by hand."""

    def __init__(self):
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_one_line_for_each_tenth_with_the_time_that_is_left():
    clock = Clock()
    lines = ProgressLines("nickel", clock)
    written = []
    for draw in range(1, 1001):
        clock.now += 1.0
        if line := lines.line(f"draw {draw} of 1000", draw / 1000):
            written.append((draw, line))
    assert 10 <= len(written) <= 25
    assert all(line.startswith("nickel: draw ") for _, line in written)
    for draw, line in written[3:]:
        number, unit = re.search(r"\(\d+%, about (\d+) (s|min) left\)", line).groups()
        seconds = float(number) * (60 if unit == "min" else 1)
        assert abs(seconds - (1000 - draw)) <= 31  # whole minutes


def test_new_steps_are_said_and_quick_ones_are_not():
    clock = Clock()
    lines = ProgressLines("nickel", clock)
    assert lines.line("reading data") is None
    clock.now += SECONDS_BETWEEN_LINES
    assert lines.line("averaging equivalent voxels") == "nickel: averaging equivalent voxels"
    clock.now += 1.0
    assert lines.line("all points, round 1: residual rms 0.2") is None
    clock.now += SECONDS_BETWEEN_LINES
    assert "round 2" in lines.line("all points, round 2: residual rms 0.1")
    clock.now += SECONDS_BETWEEN_LINES
    assert lines.line("all points, round 3: residual rms 0.05") is None
    clock.now += 60.0
    assert "round 4" in lines.line("all points, round 4: residual rms 0.05")


def test_a_file_gets_no_bar_even_if_colours_are_forced(capsys, monkeypatch):
    monkeypatch.setattr("bayestds.cli.output.words._force_terminal", True)
    with progress_bar("nickel") as tell:
        for draw in range(1000):
            tell(f"draw {draw} of 1000", draw / 1000)
    assert capsys.readouterr().err == ""
