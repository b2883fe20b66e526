"""All wrong inputs, and the page that lists what bayestds says of them."""

import re
from collections.abc import Mapping
from pathlib import Path

from tests.cli.bad_input.case import Case
from tests.cli.bad_input.crystals import CRYSTALS
from tests.cli.bad_input.exchange import EXCHANGE
from tests.cli.bad_input.formats import FORMATS
from tests.cli.bad_input.models import MODELS
from tests.cli.bad_input.others import ARGUMENTS, CAMPAIGNS, RESULTS, TRAJECTORIES
from tests.cli.bad_input.volumes import VOLUMES

SECTIONS = {
    "Model files": MODELS,
    "Structure files": CRYSTALS,
    "Volumes": VOLUMES,
    "Volumes: what the reader of one format sees": FORMATS,
    "Trajectories": TRAJECTORIES,
    "Results": RESULTS,
    "Force constants of other programs": EXCHANGE,
    "Campaigns": CAMPAIGNS,
    "Arguments and options": ARGUMENTS,
}
CASES = [case for cases in SECTIONS.values() for case in cases]

PAGE = Path(__file__).parents[3] / "docs" / "bad_input.md"
LONGEST = 180
"""Characters of a line on the page."""

INTRODUCTION = """\
# Bad input

What bayestds says of each of {number} wrong inputs: what is wrong, and why; a last line, left out here, says
what to do. Every one of them ends with exit code 2, without a traceback, and leaves no file behind. All are
provoked through the command line by `tests/cli/test_bad_input.py`, which also compares this page with what is
really said; `python benchmarks/bad_input_page.py` writes it.

Long lines are cut off (…), and so is what other programs say. Whatever does not fit into the memory is
refused before any of it is taken. Mistakes of the command line itself, such as an unknown option, are
answered by the parser, with exit code 2 as well.
"""


def row(case: Case, said: str) -> str:
    """A line of the table."""
    return f"| {case.wrong} | {said} |"


def on_the_page(message: str, folder: Path) -> str:
    """A message without its last line, the way out, free of what differs between computers."""
    lines = message.replace(str(folder.resolve()), "/data").strip().removeprefix("Error: ").splitlines()[:-1]
    return "<br>".join(_cell(line) for line in lines)


def _cell(line: str) -> str:
    line = re.sub(r"this computer has [\d,.]+ GiB", "this computer has 16.0 GiB", line)
    line = re.sub(r"^((HDF5|ASE|Phonopy|The reader) says|\w+Error): .*", r"\1: …", line)
    if len(line) > LONGEST:
        line = line[:LONGEST].rsplit(" ", 1)[0].rstrip(",;:") + " …"
    return line.replace("|", "\\|").replace("<", "&lt;")


def page(said: Mapping[str, str]) -> str:
    """The page.

    Args:
        said: by what is wrong.
    """
    parts = [INTRODUCTION.format(number=len(CASES))]
    for title, cases in SECTIONS.items():
        rows = [row(case, said[case.wrong]) for case in cases]
        parts.append(
            "\n".join([f"## {title}\n", "| what is wrong | what bayestds says |", "|---|---|", *rows, ""])
        )
    return "\n".join(parts)
