"""The code in README and docs runs: page by page, in order, in a folder of its own.

Console lines of `bayestds` run in this process; of `make` and `python benchmarks/...` (hours) it is checked
that the target and the script exist, of `pip install` that the extras do. A TOML block with a title is
saved under that name. Text after a console block must be among what the commands said, unless the page runs
on stand-ins. A block right after `<!-- test: not run, REASON -->` is only parsed.
"""

import ast
import re
import shlex
import shutil
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import typer
from ase.build import bulk
from ase.io import write

from bayestds.cli.app import app
from tests.cli.tiny import MODEL, call

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "CONTRIBUTING.md", "models/README.md"]
PAGES += sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))
FENCE = re.compile(
    r"^(?P<marker><!-- test: not run, .+ -->\n+)?"
    r'^(?P<indent> *)```(?P<language>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<body>.*?)^ *```$',
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """A fenced block of code."""

    language: str
    title: str | None
    lines: list[str]
    runs: bool


def blocks(page: str) -> list[Block]:
    text = (ROOT / page).read_text("utf-8")
    found = [
        Block(m["language"], m["title"], m["body"].splitlines(), m["marker"] is None)
        for m in FENCE.finditer(text)
    ]
    assert 2 * len(found) == len(re.findall(r"^ *```", text, re.MULTILINE)), "a fence is not understood"
    return found


def commands(block: Block) -> Iterator[list[str]]:
    for line in block.lines:
        if words := shlex.split(line.removeprefix("$ "), comments=True):
            yield words


# ---- what cannot be run, checked ----


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def extras() -> set[str]:
    return set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])


def is_understood(words: list[str]) -> bool:
    """Whether a line of a console is one of those that a page may have."""
    match words:
        case ["bayestds", name, *rest]:
            command = typer.main.get_command(app).commands[name]
            with command.make_context(name, list(rest)):
                return True
        case ["make", target]:
            return target in make_targets()
        case ["python", script, *_] if script.startswith(("benchmarks/", "models/")):
            return (ROOT / script).is_file()
        case ["pip", "install", package]:
            return set(re.findall(r"[a-z]+\d*", package.partition("[")[2])) <= extras()
    return False


@pytest.mark.parametrize("page", PAGES)
def test_blocks_are_well_formed(page):
    for block in blocks(page):
        source = "\n".join(block.lines)
        assert block.language in ("console", "python", "toml", "text"), "say what the block is"
        if block.language == "python":
            ast.parse(source)
        if block.language == "toml":
            tomllib.loads(source)
        if block.language == "console":
            for words in commands(block):
                assert is_understood(words), shlex.join(words)


def test_every_page_is_on_the_site():
    """Pages that the site makes itself are those of docs/hooks.py."""
    site = (ROOT / "mkdocs.yml").read_text("utf-8")
    shown = set(re.findall(r": (\S+\.md)$", site[site.index("nav:") :], re.MULTILINE))
    made = {name for name in shown if not (ROOT / "docs" / name).is_file()}
    assert {path.name for path in (ROOT / "docs").glob("*.md")} == shown - made
    notebooks = {f"notebooks/{path.stem}.md" for path in (ROOT / "notebooks").glob("*.ipynb")}
    hooks = (ROOT / "docs" / "hooks.py").read_text("utf-8")
    assert notebooks == {name for name in made if "/" in name}
    assert all(f'"{name}"' in hooks for name in made - notebooks)


# ---- what the reader of a page has, small ----


def small_models(*names: str) -> Callable[[], None]:
    """The name of a shipped model finds a file in the current folder first."""

    def prepare() -> None:
        for name in names:
            path = Path(f"{name}.toml")
            path.parent.mkdir(exist_ok=True)
            path.write_text(MODEL)

    return prepare


def measured_volume() -> None:
    """A crystal as CIF and a volume of it with counts."""
    Path("small.toml").write_text(MODEL)
    run("simulate", "small.toml", "--counts", "300", "-o", "volume.nxs")
    write("crystal.cif", bulk("Ni", "fcc", a=3.52, cubic=True))
    for name in ("old.nxs", "100K.nxs", "300K.nxs"):
        shutil.copy("volume.nxs", name)


def reader_of_the_readme() -> None:
    small_models("ni_fcc_paper", "ni_fcc_u3", "cu_fcc", "MODEL")()
    measured_volume()
    atoms = bulk("Ni", "fcc", a=3.52, cubic=True) * (3, 3, 3)
    rng = np.random.default_rng(0)
    frames = [atoms.copy() for _ in range(4)]
    for frame in frames:
        frame.positions += rng.normal(0, 0.05, frame.positions.shape)
    write("md.extxyz", frames)
    for shells, name in zip((1, 2, 2), ("3.nc", "4.nc", "5.nc"), strict=True):
        sampled = ["--chains", "2", "--draws", "100", "--shells", str(shells)]
        run("sample", "small.toml", "volume.nxs", *sampled, "-o", name)
    for name in ("cu_posterior.nc", "RESULT"):
        shutil.copy("5.nc", name)


def result_to_exchange() -> None:
    """Files with the names that the page gives in capitals."""
    small_models("MODEL")()
    run("fit", "MODEL", "-o", "result.nc")
    shutil.copy("result.nc", "RESULT")
    run("export", "RESULT", "-o", "SOURCE")


STAND_INS: dict[str, Callable[[], None]] = {
    "README.md": reader_of_the_readme,
    "docs/exchange.md": result_to_exchange,
    "docs/formats.md": measured_volume,
    "docs/howto_volume.md": measured_volume,
    "docs/planning.md": small_models("ni_fcc_paper"),
    "docs/reproduction.md": small_models("ni_fcc_paper"),
    "docs/virtual_experiment.md": small_models("benchmarks/virtual_ni"),
}
QUICK = {"docs/formats.md", "docs/howto_crystal.md", "CONTRIBUTING.md"}
RUNNING = [
    pytest.param(page, marks=[] if page in QUICK else [pytest.mark.slow])
    for page in PAGES
    if any(block.runs and block.language in ("console", "python") for block in blocks(page))
]


def run(*words: str) -> str:
    outcome = call(*words)
    assert outcome.code == 0, f"bayestds {shlex.join(words)}\n{outcome.out}{outcome.err}"
    return outcome.out + outcome.err


def squeezed(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("page", RUNNING)
@pytest.mark.filterwarnings(
    # A few draws of a small posterior, on purpose.
    "ignore:Estimated shape parameter:UserWarning"
)
def test_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    STAND_INS.get(page, lambda: None)()
    namespace: dict = {}
    said = ""
    for block in blocks(page):
        source = "\n".join(block.lines)
        if block.title is not None:
            Path(block.title).write_text(source, "utf-8")
        if not block.runs:
            said = ""
        elif block.language == "console":
            bayestds = [words[1:] for words in commands(block) if words[0] == "bayestds"]
            said = "".join(run(*words) for words in bayestds)
        elif block.language == "python":
            exec(compile(source, page, "exec"), namespace)
        elif block.language == "text" and said and page not in STAND_INS:
            missing = [line for line in block.lines if squeezed(line) not in squeezed(said)]
            assert not missing, f"{missing} in\n{said}"
