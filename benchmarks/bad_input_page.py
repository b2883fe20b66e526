"""docs/bad_input.md from the table of the tests: every message on the page is provoked here.

Usage: python benchmarks/bad_input_page.py
"""

import shlex
import sys
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[1]))

from bayestds.io.atomic import atomic_path
from tests.cli.bad_input.table import CASES, PAGE, on_the_page, page
from tests.cli.tiny import MODEL, call


def main() -> None:
    """Provoke every case in a folder of its own, and write the page."""
    said = {}
    for case in CASES:
        with TemporaryDirectory() as name, chdir(name):
            folder = Path(name)
            (folder / "tiny.toml").write_text(MODEL)
            case.prepare()
            outcome = call(*shlex.split(case.command))
            if outcome.code != 2:
                raise SystemExit(f"{case.wrong}: exit code {outcome.code}\n{outcome.err}")
            said[case.wrong] = on_the_page(outcome.err, folder)
    with atomic_path(PAGE) as temporary:
        temporary.write_text(page(said), "utf-8")


if __name__ == "__main__":
    main()
