"""The house rules that can be read off the source: floors, doors, sizes. See CONTRIBUTING.md."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "bayestds"

FLOORS = {
    **dict.fromkeys(["units", "errors", "precision", "memory", "monomials", "choices", "accumulation"], 0),
    "crystal": 1,
    "force_constants": 2,
    "lattice_dynamics": 3,
    "scattering": 4,
    "io": 5,
    "inference": 6,
    "diagnostics": 7,
    "report": 8,
    **dict.fromkeys(["config", "campaign", "cli", "__main__"], 9),
    "__init__": 9,  # of the package itself: it re-exports from any floor
}
"""Floor of each file or folder directly under the package."""

DOORS = {
    "gemmi": "bayestds.crystal",
    "spglib": "bayestds.crystal.symmetry",
    "seekpath": "bayestds.lattice_dynamics.paths",
    "sympy": "bayestds.force_constants.irreducible",
    "arviz": "bayestds.diagnostics.dataset",
    "arviz_base": "bayestds.diagnostics.dataset",
    "arviz_stats": "bayestds.diagnostics.dataset",
    "arviz_plots": "bayestds.diagnostics.dataset",
    "jinja2": "bayestds.report.html",
    "dask": "bayestds.campaign",
    "distributed": "bayestds.campaign",
    "bayestds.config": "bayestds.cli",
}
"""The one module, or the one package, that may import each of these."""

MAX_FILE_LINES = 399
MAX_FUNCTION_LINES = 60


class Source:
    """The parsed modules of one package, and what they import.

    Args:
        package: the package's folder; its name is the package's name.
    """

    def __init__(self, package: Path):
        self.name = package.name
        self.text = {self._module(package, path): path.read_text("utf-8") for path in package.rglob("*.py")}
        self.packages = {self._module(package, path) for path in package.rglob("__init__.py")}
        self.trees = {module: ast.parse(text) for module, text in self.text.items()}
        self.imports = {module: set(self._imports(module)) for module in self.trees}

    @staticmethod
    def _module(package: Path, path: Path) -> str:
        parts = path.relative_to(package.parent).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def _imports(self, module: str) -> Iterator[str]:
        """Every module imported anywhere in `module`, inside functions and by `import_module` too."""
        for node in ast.walk(self.trees[module]):
            match node:
                case ast.Import(names=names):
                    yield from (alias.name for alias in names)
                case ast.ImportFrom(names=names):
                    origin = self._origin(module, node)
                    for alias in names:  # `from package import module` imports the module
                        member = f"{origin}.{alias.name}"
                        outside = origin.split(".")[0] != self.name
                        yield member if outside or member in self.trees else origin
                case ast.Call(
                    func=ast.Name(id=called) | ast.Attribute(attr=called),
                    args=[ast.Constant(value=str(name)), *_],
                ) if called in ("import_module", "__import__"):
                    yield name

    def _origin(self, module: str, node: ast.ImportFrom) -> str:
        """The absolute name of what `node` imports from."""
        if not node.level:
            return node.module or ""
        base = module.split(".")
        up = node.level - (module in self.packages)
        base = base[: len(base) - up]
        return ".".join([*base, node.module] if node.module else base)

    def internal(self, module: str) -> set[str]:
        """The modules of this package that `module` imports."""
        return {name for name in self.imports[module] if name.split(".")[0] == self.name}

    def floor(self, module: str) -> int | None:
        """Floor of a module; None for a file or folder that the plan does not know."""
        parts = module.split(".")
        return FLOORS.get(parts[1] if len(parts) > 1 else "__init__")


def missing_floors(source: Source) -> list[str]:
    return sorted(module for module in source.trees if source.floor(module) is None)


def upward_imports(source: Source) -> list[str]:
    return sorted(
        f"{module} -> {imported}"
        for module in source.trees
        for imported in source.internal(module)
        if (source.floor(imported) or 0) > (source.floor(module) or 0)
    )


def import_cycle(source: Source) -> list[str]:
    """The modules of one import cycle, in order, or an empty list."""
    finished: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in finished or module not in source.trees:
            return []
        for imported in sorted(source.internal(module)):
            if cycle := visit(imported, [*path, module]):
                return cycle
        finished.add(module)
        return []

    return next((cycle for module in sorted(source.trees) if (cycle := visit(module, []))), [])


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def side_doors(source: Source) -> list[str]:
    return sorted(
        f"{module} -> {imported}"
        for module, names in source.imports.items()
        for imported in names
        for guarded, door in DOORS.items()
        if within(imported, guarded) and not (within(module, door) or within(module, guarded))
    )


def private_jax(source: Source) -> list[str]:
    imported = {m for m, names in source.imports.items() if any(within(name, "jax._src") for name in names)}
    used = {
        module
        for module, tree in source.trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("jax._src")
    }
    return sorted(imported | used)


def global_state(source: Source) -> list[str]:
    """Modules that call `config.update(`, other than the command line."""
    return sorted(
        f"{module}:{node.lineno}"
        for module, tree in source.trees.items()
        if not within(module, f"{source.name}.cli")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and re.search(r"(^|\.)config\.update$", ast.unparse(node.func))
    )


def long_files(source: Source) -> dict[str, int]:
    lengths = {module: len(text.splitlines()) for module, text in source.text.items()}
    return {module: length for module, length in lengths.items() if length > MAX_FILE_LINES}


def long_functions(source: Source) -> dict[str, int]:
    lengths = {
        f"{module}.{node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for module, tree in source.trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    return {name: length for name, length in lengths.items() if length > MAX_FUNCTION_LINES}


def loose_ends(source: Source) -> list[str]:
    return sorted(module for module, text in source.text.items() if re.search(r"\b(TODO|FIXME)\b", text))


CHECKS = [
    missing_floors,
    upward_imports,
    import_cycle,
    side_doors,
    private_jax,
    global_state,
    long_files,
    long_functions,
    loose_ends,
]


@pytest.fixture(scope="module")
def package() -> Source:
    return Source(PACKAGE)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_package_keeps_the_rule(package, check):
    assert not check(package)


def test_package_was_really_read(package):
    """The rules above hold for an empty folder too, so make sure that they were applied to something."""
    assert "bayestds.errors" in package.internal("bayestds.precision")
    assert package.floor("bayestds.io") == 5


# The checks themselves, on trees that break one rule each. A check that finds nothing proves nothing.

CLEAN = {
    "__init__.py": "from .crystal.shells import shells",
    "units.py": "import math",
    "config.py": "import tomllib",
    "cli/__init__.py": "from .fit import main",
    "cli/fit.py": "from .. import config\nimport jax\ndef main():\n    jax.config.update('x', 1)",
    "crystal/__init__.py": "from .symmetry import operations",
    "crystal/symmetry.py": "import spglib\nfrom bayestds import units",
    "crystal/shells.py": "from . import symmetry\nfrom ..units import A",
    "io/__init__.py": "",
    "io/yell.py": "import jax\nfrom bayestds.crystal import operations",
}


def write(tmp_path: Path, files: dict[str, str]) -> Source:
    for name, text in (CLEAN | files).items():
        path = tmp_path / "bayestds" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return Source(tmp_path / "bayestds")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_clean_tree_passes(tmp_path, check):
    assert not check(write(tmp_path, {}))


@pytest.mark.parametrize(
    "statement",
    [
        "import bayestds.io.yell",
        "import bayestds.io.yell as yell",
        "from bayestds.io import yell",
        "from bayestds.io.yell import read",
        "from ..io import yell",
        "from ..io.yell import read",
        "from .. import io",
        "def late():\n    from ..io import yell",
        "if TYPE_CHECKING:\n    from ..io import yell",
        "importlib.import_module('bayestds.io.yell')",
        "from bayestds import __version__",
    ],
)
def test_upward_import_is_found(tmp_path, statement):
    source = write(tmp_path, {"crystal/shells.py": statement})
    assert [line.split(" -> ")[0] for line in upward_imports(source)] == ["bayestds.crystal.shells"]


@pytest.mark.parametrize(
    ("files", "length"),
    [
        ({"crystal/symmetry.py": "from .shells import A"}, 2),
        ({"crystal/symmetry.py": "def late():\n    from bayestds.crystal import shells"}, 2),
        ({"crystal/symmetry.py": "from . import operations"}, 2),  # through the folder's __init__
        ({"units.py": "from .units import A"}, 1),
        ({"io/a.py": "from . import b", "io/b.py": "from . import c", "io/c.py": "from . import a"}, 3),
    ],
)
def test_cycle_is_found(tmp_path, files, length):
    cycle = import_cycle(write(tmp_path, files))
    assert cycle[0] == cycle[-1]
    assert len(set(cycle)) == length


@pytest.mark.parametrize(
    ("check", "files"),
    [
        (missing_floors, {"helpers.py": ""}),
        (missing_floors, {"attic/__init__.py": ""}),
        (side_doors, {"crystal/structure.py": "from spglib import get_symmetry"}),
        (side_doors, {"crystal/structure.py": "import sympy.polys.matrices"}),
        (side_doors, {"diagnostics/loo.py": "import arviz_stats as azs"}),
        (side_doors, {"campaign.py": "from .config import Model"}),
        (private_jax, {"units.py": "from jax._src import core"}),
        (private_jax, {"units.py": "from jax import _src"}),
        (private_jax, {"units.py": "import jax\njax._src.core"}),
        (global_state, {"units.py": "import jax\njax.config.update('jax_enable_x64', True)"}),
        (global_state, {"units.py": "from jax import config\nconfig.update('jax_enable_x64', True)"}),
        (long_files, {"units.py": "\n" * 400}),
        (long_functions, {"units.py": "def f():\n" + "    x = 1\n" * 60}),
        (loose_ends, {"units.py": "# TODO: later"}),
    ],
)
def test_broken_rule_is_found(tmp_path, check, files):
    assert check(write(tmp_path, files))


def test_limits_are_the_last_allowed_lengths(tmp_path):
    files = {"units.py": "\n" * 399, "config.py": "def f():\n" + "    x = 1\n" * 59}
    source = write(tmp_path, files)
    assert not long_files(source)
    assert not long_functions(source)
