"""Commands that give force constants to other programs, and take theirs."""

import json
import re
from pathlib import Path
from typing import Any

from bayestds.cli.assemble import build_study
from bayestds.cli.output import (
    check_output,
    number,
    plain,
    print_json,
    print_table,
    print_warnings,
    words,
)
from bayestds.config import load_model, parse_model
from bayestds.diagnostics.cautions import check_converged, standing
from bayestds.diagnostics.draws import force_constant_draws
from bayestds.diagnostics.result_file import read_result
from bayestds.errors import ModelError, ResultError
from bayestds.force_constants.exchange import AseWriter, PhonopyWriter
from bayestds.force_constants.foreign import ForeignConstants, Projection, project_foreign
from bayestds.force_constants.reading import read_foreign
from bayestds.io.atomic import atomic_folder, atomic_path, check_folder

WRITERS: dict[str, type[PhonopyWriter] | type[AseWriter]] = {"phonopy": PhonopyWriter, "ase": AseWriter}

SMALL = 0.01
"""Relative norm beyond the shells, or breaking the symmetry, from which it is called into attention."""


def export(
    result: Path, folder: Path, program: str, draws: int, seed: int, unconverged: bool, as_json: bool
) -> None:
    """Write the force constants of a result, and draws of them, as folders of another program."""
    check_folder(folder)
    tree = read_result(result)
    check_converged(tree, result, unconverged)
    found = force_constant_draws(tree, max(draws, 1), seed)
    if draws > len(found.draws):
        raise ResultError(
            f"{result} has {len(found.draws)} draws, not {draws}.",
            "A posterior is exported as it was drawn.",
            "Ask for fewer draws, or sample more with `bayestds sample`.",
        )
    writer = WRITERS[program](found.irreducible)
    names = [f"draw_{index:04d}" for index in range(draws)]
    index: dict[str, Any] = {
        "program": program,
        "result": str(result),
        "model": tree.attrs.get("model"),
        "temperature_K": found.temperature,
        "supercell_atoms": writer.supercell.n_cells * found.irreducible.crystal.n_atoms,
        "files": list(writer.files),
        "ifcs": dict(zip(found.irreducible.names, found.mean.tolist(), strict=True)),
        "draws": {
            name: dict(zip(found.irreducible.names, one.tolist(), strict=True))
            for name, one in zip(names, found.draws, strict=False)
        },
        "units": "eV/Å²",
        **plain(standing(tree)),
    }
    matrices = (1 + draws) * 8 * 9 * index["supercell_atoms"] ** 2
    with atomic_folder(folder, matrices) as temporary:
        writer.write(found.mean, temporary)
        for name, one in zip(names, found.draws, strict=False):
            (temporary / name).mkdir()
            writer.write(one, temporary / name)
        (temporary / "bayestds.json").write_text(
            json.dumps(index, indent=1, ensure_ascii=False) + "\n", "utf-8"
        )
    what = f" and {draws} draws, draw_0000 and so on" if draws else ""
    print_warnings(index["cautions"])
    words.print(f"Wrote {folder}: {', '.join(writer.files)} of the mean{what}.", markup=False)
    if as_json:
        print_json({"output": str(folder), **index})


def import_constants(
    model_name: str, source: Path, name: str | None, output: Path | None, as_json: bool
) -> None:
    """Write a model file with the force constants of another program as a named set."""
    model = load_model(model_name)
    study = build_study(model, invariant=False)
    name = name or re.sub(r"\W+", "_", source.resolve().stem).strip("_") or "imported"
    if name in model.ifcs or not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        taken = f"The model has one of this name: {', '.join(model.ifcs)}."
        raise ModelError(
            f"The IFC set cannot be called {name!r}.",
            taken if name in model.ifcs else "A name consists of letters, digits, _ and -.",
            "Give another with --name.",
        )
    target = output or Path(f"{model.path.stem}_{name}.toml")
    check_output(target, inputs=[source, *study.inputs] if model.measurement else [source, model.path])
    foreign = read_foreign(source)
    projection, match = project_foreign(study.irreducible, foreign)
    values = dict(zip(study.irreducible.names, projection.irreducible.tolist(), strict=True))
    text = with_set(model.text, name, origin(source, foreign, projection, study.irreducible.n_shells), values)
    parse_model(text, target)  # files that the model names are looked for beside the new one
    with atomic_path(target) as temporary:
        temporary.write_text(text, "utf-8")
    record = {
        "name": name,
        "source": str(source),
        "ifcs": values,
        "residual": {
            "within_shells": projection.within,
            "beyond_shells": projection.beyond,
            "largest_beyond": projection.farthest,
        },
        "lattice_mismatch": match.strain,
        "atoms_displaced": match.displaced,
        "charges_left_out": foreign.has_charges,
        "output": str(target),
    }
    if as_json:
        print_json(record)
    else:
        shells = study.irreducible.shells
        rows = [
            (key, str(s), number(value, 6)) for (key, value), s in zip(values.items(), shells, strict=True)
        ]
        print_table(f"{name} (eV/Å²)", ("IFC", "shell", "value"), rows)
        print(f"Left out by {study.irreducible.n_shells} shells: {projection_words(projection)}.")
    if max(projection.within, projection.beyond) > SMALL:
        words.print(
            f"Warning: what the shells and the symmetry of {model.path.stem} leave out of {source} is not "
            f"small: {projection_words(projection)}.",
            markup=False,
        )
    print_warnings(foreign.cautions)
    if match.strain > 1e-4:
        words.print(
            f"Warning: the lattice of {source} differs by {match.strain:.2%} from the model's; its force "
            "constants were taken as they are.",
            markup=False,
        )
    words.print(f"Wrote {target} with the IFC set {name}.", markup=False)


def projection_words(projection: Projection) -> str:
    """What a projection leaves out."""
    return (
        f"{projection.beyond:.2%} of the norm of all force constants lies beyond (at most "
        f"{projection.farthest:.2g} eV/Å²), {projection.within:.2%} breaks the symmetry"
    )


def origin(source: Path, foreign: ForeignConstants, projection: Projection, n_shells: int) -> str:
    """The `source` of an imported set."""
    charges = "; Born effective charges left out" if foreign.has_charges else ""
    words = projection_words(projection)
    return f"bayestds import of {source.name}, projected on {n_shells} shells: {words}{charges}"


def with_set(text: str, name: str, source: str, values: dict[str, float]) -> str:
    """The text of a model file with one more set of force constants."""
    # A JSON string is a TOML string.
    lines = ["", f"[ifcs.{name}]", f"source = {json.dumps(source, ensure_ascii=False)}"]
    lines += ["", f"[ifcs.{name}.values]  # eV/Å^2", *(f"{key} = {value!r}" for key, value in values.items())]
    return text.rstrip("\n") + "\n" + "\n".join(lines) + "\n"
