"""The commands and their options.

Each imports what it runs when it runs, so that --help and the completion of words in a shell are quick.
"""

import io
import sys
from pathlib import Path
from typing import Annotated

import typer

from bayestds.cli.options import (
    AsJson,
    Cubic,
    Engine,
    Method,
    ModelName,
    Program,
    ResultFile,
    Sampler,
    Shells,
    Unconverged,
    Version,
    VolumeFile,
    all_positive,
    models,
    normals,
    positive,
)

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.callback()
def bayestds(version: Version = False) -> None:
    """Interatomic force constants, with their uncertainty, from X-ray thermal diffuse scattering."""
    import jax

    from bayestds.cli.compiled import keep_compiled_programs

    jax.config.update("jax_enable_x64", True)
    keep_compiled_programs()
    for stream in (sys.stdout, sys.stderr):
        # Where Å does not exist (a C locale, a Windows pipe), a question mark is better than no table.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


@app.command()
def irreducible(model: ModelName, shells: Shells = None, json: AsJson = False) -> None:
    """List the irreducible force constants of a crystal, their orbits and the sum rule."""
    from bayestds.cli.describe import irreducible as run

    run(model, shells, json)


@app.command()
def simulate(
    model: ModelName,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Volume to write.")] = None,
    ifcs: Annotated[str | None, typer.Option(help="Named IFC set, instead of the measurement's.")] = None,
    engine: Annotated[
        Engine,
        typer.Option(help="Exact to all phonon orders, mean of random configurations, or one-phonon only."),
    ] = Engine.exact,
    configurations: Annotated[
        int, typer.Option(min=1, help="Random configurations of the sampled engine.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the sampled engine, and of counts.")] = 0,
    sampler: Annotated[
        Sampler, typer.Option(help="Cholesky factor of each wave vector, or of the dense Hessian.")
    ] = Sampler.block,
    nufft: Annotated[
        bool, typer.Option("--nufft", help="Structure factors by nonuniform FFT (large supercells).")
    ] = False,
    trajectory: Annotated[
        Path | None,
        typer.Option(help="Mean over the frames of this file: anything ASE reads, or .npz.", metavar="FILE"),
    ] = None,
    scale: Annotated[float, typer.Option(help="Overall factor of the intensity.", callback=positive)] = 1.0,
    counts: Annotated[
        float | None,
        typer.Option(help="Poisson counts, so many a voxel in the mean.", callback=positive),
    ] = None,
    json: AsJson = False,
) -> None:
    """Simulate the diffuse scattering volume of a model; an interrupted average goes on where it was."""
    if counts is not None and (trajectory is not None or engine == Engine.sampled):
        raise typer.BadParameter("--counts is for intensities without noise: choose another --engine.")
    if trajectory is not None:
        from bayestds.cli.trajectory import simulate_trajectory

        if ifcs is not None or engine != Engine.exact:
            raise typer.BadParameter("--trajectory takes the place of --ifcs and --engine: leave them out.")
        simulate_trajectory(model, trajectory, output, nufft, scale, json)
        return
    from bayestds.cli.simulation import Sampling
    from bayestds.cli.simulation import simulate as run

    sampling = Sampling(configurations, seed, sampler == Sampler.dense, nufft)
    run(model, output, ifcs, engine.value, sampling, scale, counts, json)


@app.command()
def info(
    volume: VolumeFile,
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]",
            help="Model whose crystal says which voxels are equivalent.",
            autocompletion=models,
        ),
    ] = None,
    json: AsJson = False,
) -> None:
    """Show what a data file holds; with a model, also how well equivalent voxels agree."""
    from bayestds.cli.volumes import info as run

    run(volume, model, json)


@app.command()
def convert(
    volume: VolumeFile,
    output: Annotated[Path, typer.Argument(metavar="OUT", help="File to write; its suffix says the format.")],
    format: Annotated[
        str | None,
        typer.Option("--format", help="nexus, mdhisto, discus, yell or netcdf, whatever the suffix."),
    ] = None,
    reindex: Annotated[
        str | None,
        typer.Option(help='Matrix of new h, k, l from the old: "0 1 0 / 0 0 1 / 1 0 0" makes k the first.'),
    ] = None,
    json: AsJson = False,
) -> None:
    """Write a volume in another format: .nxs, .md.nxs (Mantid), .discus.h5, .h5 (Yell 1.0) or .nc."""
    from bayestds.cli.volumes import convert as run

    run(volume, output, format, reindex, json)


@app.command()
def fit(
    model: ModelName,
    volumes: Annotated[
        list[Path] | None,
        typer.Argument(metavar="VOLUME ...", help="Data; the model's own measurement by default."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Result to write (netCDF).")] = None,
    start: Annotated[str | None, typer.Option(help="Named IFC set to start from; `zero` for none.")] = None,
    shells: Shells = None,
    cubic: Cubic = None,
    json: AsJson = False,
) -> None:
    """Fit the irreducible force constants to a volume, or to several at once: point fit with errors.

    Several volumes share their force constants, or with `trend = true` in the model constants that are
    linear in the temperature.
    """
    if volumes and len(volumes) > 1:
        from bayestds.cli.joint import fit_several

        fit_several(model, volumes, output, start, shells, cubic, json)
        return
    from bayestds.cli.fitting import fit as run

    run(model, volumes[0] if volumes else None, output, start, shells, cubic, json)


@app.command()
def sample(
    model: ModelName,
    volumes: Annotated[
        list[Path] | None,
        typer.Argument(metavar="VOLUME", help="Data; the model's own measurement by default."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Result to write (netCDF).")] = None,
    chains: Annotated[int, typer.Option(min=1, help="Chains, which run side by side.")] = 4,
    draws: Annotated[int, typer.Option(min=4, help="Draws of each chain.")] = 1000,
    warmup: Annotated[int, typer.Option(min=0, help="Steps before them, which adapt the step size.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    method: Annotated[
        Method, typer.Option(help="No-U-turn sampler, Laplace approximation, or a normal fitted by SVI.")
    ] = Method.nuts,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint of a run that was cut off, if any.")
    ] = False,
    start: Annotated[str | None, typer.Option(help="Named IFC set to start from; `zero` for none.")] = None,
    shells: Shells = None,
    cubic: Cubic = None,
    unconverged: Unconverged = False,
    json: AsJson = False,
) -> None:
    """Sample the posterior of the irreducible force constants, beginning with a point fit."""
    if volumes and len(volumes) > 1:
        raise typer.BadParameter(
            "several volumes are only fitted: use `bayestds fit`, or sample_joint_posterior in Python."
        )
    from bayestds.cli.sampling import Choices, Sampling
    from bayestds.cli.sampling import sample as run

    choices = Choices(Sampling(chains, draws, warmup, seed), method.value, resume, unconverged=unconverged)
    run(model, volumes[0] if volumes else None, output, start, shells, cubic, choices, json)


@app.command()
def summary(result: ResultFile, json: AsJson = False) -> None:
    """Summarise a result: value, standard error and interval of each constant, verdict on each shell."""
    from bayestds.cli.summary import summary as run

    run(result, json)


@app.command()
def phonons(
    result: ResultFile,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Picture to write (PNG).")] = None,
    path: Annotated[
        str | None,
        typer.Option(help="Special points to go through: 'G X W'. The lattice's standard path by default."),
    ] = None,
    draws: Annotated[int, typer.Option(min=20, help="Draws of the force constants for the intervals.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws about a point fit.")] = 0,
    unconverged: Unconverged = False,
    json: AsJson = False,
) -> None:
    """Show the phonons of a result with their error bars: dispersion, density of states, special points."""
    from bayestds.cli.phonons import phonons as run

    run(result, output, path, draws, seed, unconverged, json)


@app.command()
def report(
    result: ResultFile,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Page to write (HTML).")] = None,
    draws: Annotated[
        int, typer.Option(min=2, help="Draws of the force constants, for the bands of the phonons.")
    ] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws of a point fit.")] = 0,
    json: AsJson = False,
) -> None:
    """Write a result as one self-contained page (HTML): verdict, figures, tables, how to repeat it."""
    from bayestds.cli.report import report as run

    run(result, output, draws, seed, json)


@app.command()
def compare(
    results: Annotated[list[Path], typer.Argument(metavar="RESULT ...", help="Posteriors of the same data.")],
    json: AsJson = False,
) -> None:
    """Compare posteriors of the same data, such as fits with 3, 4 and 5 shells, by what they predict."""
    from bayestds.cli.comparison import compare as run

    if len(results) < 2:
        raise typer.BadParameter("give at least two results.")
    run(results, json)


@app.command()
def plan(
    model: ModelName,
    ifcs: Annotated[
        str | None, typer.Option(help="Named IFC set that the crystal is thought to have.")
    ] = None,
    shells: Shells = None,
    counts: Annotated[
        float, typer.Option(help="Mean counts of a voxel of the whole grid as planned.", callback=positive)
    ] = 100.0,
    wedge: Annotated[
        list[float] | None,
        typer.Option(help="Elevation above the plane, degrees.", max=90, callback=all_positive),
    ] = None,
    plane: Annotated[
        list[str] | None,
        typer.Option(help="Normal of a plane through the origin: '1 1 0'.", callback=normals),
    ] = None,
    q_max: Annotated[
        list[float] | None, typer.Option(help="Largest |Q|, 1/Å.", callback=all_positive)
    ] = None,
    q_min: Annotated[
        list[float] | None, typer.Option(help="Smallest |Q|, 1/Å.", callback=all_positive)
    ] = None,
    temperature: Annotated[
        list[float] | None, typer.Option(help="Temperature, K.", callback=all_positive)
    ] = None,
    time: Annotated[
        list[float] | None, typer.Option(help="Exposure, times the planned one.", callback=all_positive)
    ] = None,
    json: AsJson = False,
) -> None:
    """Plan a measurement: what the model's own, and alternatives to it, would determine shell by shell.

    Each alternative changes one thing of the model's own measurement. An option that is given, once or
    several times, replaces the alternatives of its kind that are shown otherwise.
    """
    from bayestds.cli.planning import Choices
    from bayestds.cli.planning import plan as run

    planes = [(int(h), int(k), int(l_)) for h, k, l_ in map(str.split, plane or [])]
    run(model, ifcs, shells, counts, Choices(wedge, planes, q_max, q_min, temperature, time), json)


@app.command()
def export(
    result: ResultFile,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="New folder to write.")],
    to: Annotated[
        Program, typer.Option(help="Program that reads it: force constants, or the Hessian of a supercell.")
    ] = Program.phonopy,
    draws: Annotated[
        int, typer.Option(min=0, max=9999, help="Draws to write as well, each in a folder of its own.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws of a point fit.")] = 0,
    unconverged: Unconverged = False,
    json: AsJson = False,
) -> None:
    """Export the force constants of a result for phonopy or ASE, and draws for error bars on anything."""
    from bayestds.cli.exchange import export as run

    run(result, output, to.value, draws, seed, unconverged, json)


@app.command("import")
def import_(
    model: ModelName,
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="Folder of phonopy or TDEP.")],
    name: Annotated[
        str | None, typer.Option(help="Of the new IFC set; that of the folder by default.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Model file to write.")] = None,
    json: AsJson = False,
) -> None:
    """Import force constants of phonopy or TDEP into a copy of a model, as a named IFC set."""
    from bayestds.cli.exchange import import_constants as run

    run(model, source, name, output, json)


@app.command()
def validate(
    result: ResultFile,
    potentials: Annotated[
        list[str],
        typer.Argument(
            metavar="POTENTIAL ...",
            help="emt, module:function, an EAM file, a folder of phonopy or TDEP, or MODEL:SET.",
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FIGURE", help="Picture of the residuals (PNG).")
    ] = None,
    unconverged: Unconverged = False,
    json: AsJson = False,
) -> None:
    """Judge potentials by a result: which shells of neighbours they get wrong, and what volume they predict.

    A potential is a calculator of ASE (emt; module:function, which returns one), a file that ASE's EAM
    reads, force constants of phonopy or TDEP, or an IFC set of a model (ni_fcc_u3:meam).
    """
    from bayestds.cli.validate import validate as run

    run(result, potentials, output, unconverged, json)


@app.command()
def campaign(
    file: Annotated[Path, typer.Argument(metavar="CAMPAIGN", help="TOML file that lists volumes.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Folder, instead of the file's.")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="A Dask scheduler, instead of this computer.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes on this computer; by default as many as fit.")
    ] = None,
    status: Annotated[bool, typer.Option("--status", help="Only tell which runs are finished.")] = False,
    json: AsJson = False,
) -> None:
    """Fit or sample many volumes, such as a temperature ramp; the same command goes on where it was."""
    from bayestds.cli.campaign import campaign as run

    raise typer.Exit(run(file, output, scheduler, workers, status, json))
