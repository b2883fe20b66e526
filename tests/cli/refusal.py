"""Commands that must be refused without a trace, and messages that must help."""

from pathlib import Path

from tests.cli.tiny import Outcome, call

NOISE = ("Traceback", "Warning", "warning", 'File "', "<class", "pydantic")


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every path below a folder, and the bytes of the files."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def refused(folder: Path, *words: str) -> Outcome:
    """Run a command that must be refused without a trace."""
    before = contents(folder)
    outcome = call(*words)
    assert outcome.code == 2, outcome.out
    assert outcome.out == ""
    assert contents(folder) == before
    for noise in NOISE:
        assert noise not in outcome.err
    return outcome


def says(outcome: Outcome, *words: str) -> None:
    """Check that there is one message of a summary, a reason and a way out, with these words."""
    lines = outcome.err.strip().splitlines()
    assert lines[0].startswith("Error: ")
    assert sum(line.startswith("Error: ") for line in lines) == 1
    assert len(lines) >= 3, outcome.err
    assert all(len(line) < 1000 for line in lines)
    for word in words:
        assert word in outcome.err, outcome.err
