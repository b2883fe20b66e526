"""The table of bad input: one message that names what is wrong, exit code 2, no trace; and its page."""

import re
import shlex

import pytest

from tests.cli.bad_input.table import CASES, PAGE, on_the_page, page, row
from tests.cli.refusal import refused, says

HOW = "Write the page again: python benchmarks/bad_input_page.py"


@pytest.mark.parametrize("case", CASES, ids=[case.wrong for case in CASES])
def test_bad_input(folder, case):
    case.prepare()
    outcome = refused(folder, *shlex.split(case.command))
    says(outcome, *case.words)
    assert row(case, on_the_page(outcome.err, folder)) in PAGE.read_text("utf-8").splitlines(), HOW


def test_the_page_has_the_table_and_nothing_else():
    names = [case.wrong for case in CASES]
    assert len(set(names)) == len(names) >= 60
    empty = page(dict.fromkeys(names, ""))
    assert re.sub(r"(?m)^(\| [^|]* \|) .* \|$", r"\1  |", PAGE.read_text("utf-8")) == re.sub(
        r"(?m)^(\| [^|]* \|) .* \|$", r"\1  |", empty
    ), HOW
