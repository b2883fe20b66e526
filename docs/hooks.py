"""Pages of the site that are made from something else: the README, the notebooks, the commands, the API.

MkDocs calls `on_files` and `on_page_markdown`. Nothing here is written to the repository, so nothing can
drift from its source.
"""

import json
import posixpath
import re
from pathlib import Path

import typer
from mkdocs.structure.files import File

import bayestds
from bayestds.cli.app import app

ROOT = Path(__file__).parents[1]

PAGES = {
    "index.md": "README.md",
    "models.md": "models/README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "license.md": "LICENSE",
    "cite.md": "CITATION.cff",
}
"""Page of the site, and the file of the repository that it shows."""


def on_files(files, config):
    """Add the pages that have no file in docs/."""
    for page, source in {**PAGES, **_notebooks()}.items():
        text = (ROOT / source).read_text("utf-8")
        if source.endswith(".ipynb"):
            text = notebook_page(text)
        elif not source.endswith(".md"):
            text = f"# {source}\n\n```text\n{text}```\n"
        files.append(File.generated(config, page, content=text))
    files.append(File.generated(config, "commands.md", content=commands_page()))
    files.append(File.generated(config, "api.md", content=api_page()))
    return files


def on_page_markdown(markdown, page, config, files):
    """Point the links of files of the repository to the pages that show them."""
    here = page.file.src_uri
    source = {**PAGES, **_notebooks()}.get(here, f"docs/{here}")
    site = {origin: name for name, origin in {**PAGES, **_notebooks()}.items()}

    def moved(match: re.Match) -> str:
        target, mark, anchor = match[1].partition("#")
        if not target or ":" in target:
            return match[0]
        origin = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        name = site.get(origin, origin.removeprefix("docs/"))
        return f"]({posixpath.relpath(name, posixpath.dirname(here) or '.')}{mark}{anchor})"

    return re.sub(r"\]\(([^()\s]+)\)", moved, markdown)


def _notebooks() -> dict[str, str]:
    paths = sorted((ROOT / "notebooks").glob("*.ipynb"))
    return {f"notebooks/{path.stem}.md": f"notebooks/{path.name}" for path in paths}


def notebook_page(text: str) -> str:
    """Words and code of a notebook, as Markdown."""
    parts = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
    return "\n\n".join(parts) + "\n"


def commands_page() -> str:
    """Every command with its arguments and options, from the command line itself."""
    group = typer.main.get_command(app)
    parts = ["# Commands", group.help, "`bayestds COMMAND --help` says the same in a terminal."]
    for name, command in group.commands.items():
        parameters = [p for p in command.params if not getattr(p, "hidden", False)]
        arguments = [p for p in parameters if p.param_type_name == "argument"]
        options = [p for p in parameters if p.param_type_name == "option" and p.name != "help"]
        usage = " ".join(_metavar(p) for p in arguments)
        parts += [f"## {name}", command.help, f"```text\nbayestds {name} {usage} [OPTIONS]\n```"]
        rows = [(_metavar(p), p.help, "") for p in arguments]
        rows += [(", ".join(p.opts + p.secondary_opts), p.help, _default(p)) for p in options]
        lines = [f"| `{a}` | {_cell(b)} | {_cell(c)} |" for a, b, c in rows]
        parts.append("\n".join(["| | | default |", "| --- | --- | --- |", *lines]))
    return "\n\n".join(parts) + "\n"


def _metavar(parameter) -> str:
    text = parameter.metavar or parameter.name.upper()
    text = f"{text} ..." if parameter.nargs == -1 else text
    return text if parameter.required else f"[{text}]"


def _default(option) -> str:
    value = option.default
    if value is None or value is False or callable(value) or (isinstance(value, (list, tuple)) and not value):
        return ""
    return f"`{getattr(value, 'value', value)}`"


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|").replace("\n", " ")


def api_page() -> str:
    """The public functions and classes, with their docstrings."""
    parts = ["# Python interface", bayestds.__doc__.replace("``", "`")]
    parts += [f"::: bayestds.{home}.{name}" for name, home in bayestds._HOME.items()]
    return "\n\n".join(parts) + "\n"
