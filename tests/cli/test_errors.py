"""Errors whatever they are about: other commands, --json, the parser's own messages, and what they leave."""

import json

import pytest

from tests.cli.bad_input.table import CASES
from tests.cli.refusal import contents, refused, says
from tests.cli.tiny import MODEL, call

BY_NAME = {case.wrong: case for case in CASES}


@pytest.mark.parametrize(
    "wrong",
    ["volume missing", "folder for a volume", "text for a volume", "truncated HDF5", "infinite intensity"],
)
@pytest.mark.parametrize("words", [["info", "bad.nxs"], ["convert", "bad.nxs", "out.nc"]])
def test_volume_mistake_of_other_commands(folder, wrong, words):
    BY_NAME[wrong].prepare()
    says(refused(folder, *words), "bad.nxs")


@pytest.mark.parametrize("command", ["irreducible tiny.toml", "simulate tiny.toml", "fit tiny.toml"])
def test_json_does_not_change_an_error(folder, command):
    (folder / "tiny.toml").write_text(MODEL.replace("shells = 2", "shells = 0"))
    plain, as_json = (refused(folder, *command.split(), *flag) for flag in ([], ["--json"]))
    assert plain == as_json
    says(plain, "force_constants.shells")


# The parser's own messages.
USAGE_MISTAKES = [
    ("", "Usage"),
    ("fly", "No such command"),
    ("--nope", "No such option"),
    ("fit", "Missing argument 'MODEL'"),
    ("fit tiny.toml x.nxs --startt zero", "--start"),
    ("fit tiny.toml --shells 0", "--shells"),
    ("fit tiny.toml --shells two", "integer"),
    ("simulate tiny.toml --engine magic", "'magic'"),
    ("simulate tiny.toml --scale 0", "0 is not a positive number"),
    ("simulate tiny.toml --scale nan", "nan is not a positive number"),
    ("convert x.nxs", "Missing argument 'OUT'"),
    ("summary", "Missing argument 'RESULT'"),
]


@pytest.mark.parametrize(
    ("command", "words"), USAGE_MISTAKES, ids=[case[0] or "none" for case in USAGE_MISTAKES]
)
def test_usage_mistake(folder, command, words):
    before = contents(folder)
    outcome = call(*command.split())
    assert outcome.code == 2
    assert words in outcome.err + (outcome.out if not command else "")
    assert contents(folder) == before


def test_old_result_survives_a_failed_fit(folder):
    (folder / "r.nc").write_text("precious")
    refused(folder, "fit", "tiny.toml", "none.nxs", "-o", "r.nc")


def test_hostile_names_in_messages(folder):
    outcome = refused(folder, "info", "[/bold] [red].nxs")
    says(outcome, "[/bold] [red].nxs")


def test_error_is_no_json(folder):
    outcome = refused(folder, "info", "none.nxs", "--json")
    with pytest.raises(json.JSONDecodeError):
        json.loads(outcome.err)
