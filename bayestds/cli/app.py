"""The commands.

Each imports what it runs when it runs, so that --help and the completion of words in a shell are quick.
"""

import io
import sys

import typer

from bayestds.cli import options as o
from bayestds.cli.choices import Engine, Method, Program, Sampler

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.callback()
def bayestds(version: o.Version = False) -> None:
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
def irreducible(model: o.ModelName, shells: o.Shells = None, json: o.AsJson = False) -> None:
    """List the irreducible force constants of a crystal.

    They are listed by orbit of equivalent pairs, with the acoustic sum rule that gives the self terms.
    """
    from bayestds.cli.describe import irreducible as run

    run(model, shells, json)


@app.command()
def simulate(
    model: o.ModelName,
    output: o.VolumeOutput = None,
    ifcs: o.SimulatedSet = None,
    engine: o.EngineName = Engine.exact,
    configurations: o.Configurations = 1000,
    seed: o.Seed = 0,
    sampler: o.SamplerName = Sampler.block,
    nufft: o.Nufft = False,
    trajectory: o.Trajectory = None,
    scale: o.Scale = 1.0,
    counts: o.Counts = None,
    json: o.AsJson = False,
) -> None:
    """Simulate the diffuse scattering volume of a model.

    If an average over configurations is interrupted, the same command continues it.
    """
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
    volume: o.VolumeFile, model: o.SymmetryModel = None, path: o.Group = None, json: o.AsJson = False
) -> None:
    """Show what a data file contains.

    With a model, also how well voxels agree that are equivalent by the symmetry of its crystal.
    """
    from bayestds.cli.volumes import info as run

    run(volume, model, path, json)


@app.command()
def convert(
    volume: o.VolumeFile,
    output: o.NewVolume,
    format: o.FormatName = None,
    reindex: o.Reindex = None,
    path: o.Group = None,
    json: o.AsJson = False,
) -> None:
    """Write a volume in another format or on other axes.

    The suffixes are .nxs (NeXus), .md.nxs (Mantid), .discus.h5 (DISCUS), .h5 (Yell 1.0) and .nc (netCDF).
    """
    from bayestds.cli.volumes import convert as run

    run(volume, output, format, reindex, path, json)


@app.command()
def fit(
    model: o.ModelName,
    volumes: o.VolumeFiles = None,
    output: o.ResultOutput = None,
    start: o.Start = None,
    shells: o.Shells = None,
    cubic: o.Cubic = None,
    path: o.Group = None,
    json: o.AsJson = False,
) -> None:
    """Fit force constants to one volume or several.

    The result is a point estimate with standard errors. Several volumes share their force constants; where
    the model file has `trend = true`, these depend linearly on the temperature.
    """
    if volumes and len(volumes) > 1:
        from bayestds.cli.joint import fit_several

        fit_several(model, volumes, output, start, shells, cubic, path, json)
        return
    from bayestds.cli.fitting import fit as run

    run(model, volumes[0] if volumes else None, output, start, shells, cubic, path, json)


@app.command()
def sample(
    model: o.ModelName,
    volumes: o.VolumeFiles = None,
    output: o.ResultOutput = None,
    chains: o.Chains = 4,
    draws: o.KeptDraws = 1000,
    warmup: o.Warmup = 200,
    seed: o.Seed = 0,
    target_accept: o.TargetAccept = 0.55,
    method: o.MethodName = Method.nuts,
    resume: o.Resume = False,
    start: o.Start = None,
    shells: o.Shells = None,
    cubic: o.Cubic = None,
    unconverged: o.Unconverged = False,
    path: o.Group = None,
    json: o.AsJson = False,
) -> None:
    """Sample the posterior of the force constants.

    It begins with the point fit of `bayestds fit`, to one volume or several.
    """
    from bayestds.cli.sampling import Choices, Sampling
    from bayestds.cli.sampling import sample as run

    choices = Choices(
        Sampling(chains, draws, warmup, seed, target_accept),
        method.value,
        resume,
        unconverged=unconverged,
        group=path,
    )
    run(model, volumes or [], output, start, shells, cubic, choices, json)


@app.command()
def summary(result: o.ResultFile, json: o.AsJson = False) -> None:
    """Summarise a result by force constant and by shell.

    Each constant has a value, a standard error and an interval; each shell a verdict on whether the data
    determine it.
    """
    from bayestds.cli.summary import summary as run

    run(result, json)


@app.command()
def phonons(
    result: o.ResultFile,
    output: o.PictureOutput = None,
    path: o.SpecialPoints = None,
    draws: o.IntervalDraws = 200,
    seed: o.Seed = 0,
    unconverged: o.Unconverged = False,
    json: o.AsJson = False,
) -> None:
    """Compute the phonons of a result, with error bars.

    Dispersion, density of states, frequencies at special points, and elastic constants.
    """
    from bayestds.cli.phonons import phonons as run

    run(result, output, path, draws, seed, unconverged, json)


@app.command()
def report(
    result: o.ResultFile,
    output: o.PageOutput = None,
    draws: o.BandDraws = 200,
    seed: o.Seed = 0,
    json: o.AsJson = False,
) -> None:
    """Write a result as one self-contained page (HTML).

    It has a verdict in words, figures, tables, and what it takes to repeat the run.
    """
    from bayestds.cli.report import report as run

    run(result, output, draws, seed, json)


@app.command()
def compare(results: o.PosteriorFiles, json: o.AsJson = False) -> None:
    """Compare posteriors of the same data by what they predict.

    Such as those with 3, 4 and 5 shells, to see how many shells the data support.
    """
    from bayestds.cli.comparison import compare as run

    if len(results) < 2:
        raise typer.BadParameter("give at least two results.")
    run(results, json)


@app.command()
def plan(
    model: o.ModelName,
    ifcs: o.AssumedSet = None,
    shells: o.Shells = None,
    counts: o.PlannedCounts = 100.0,
    wedge: o.Wedges = None,
    plane: o.Planes = None,
    q_max: o.LargestQ = None,
    q_min: o.SmallestQ = None,
    temperature: o.Temperatures = None,
    time: o.Exposures = None,
    json: o.AsJson = False,
) -> None:
    """Predict what a measurement would determine, shell by shell.

    The model's own measurement is compared with alternatives, each of which changes one thing. The options
    from --wedge to --time describe alternatives: each may be given several times, and replaces those of its
    kind that are shown by default.
    """
    from bayestds.cli.planning import Choices
    from bayestds.cli.planning import plan as run

    planes = [(int(h), int(k), int(l_)) for h, k, l_ in map(str.split, plane or [])]
    run(model, ifcs, shells, counts, Choices(wedge, planes, q_max, q_min, temperature, time), json)


@app.command()
def export(
    result: o.ResultFile,
    output: o.NewFolder,
    to: o.ProgramName = Program.phonopy,
    draws: o.WrittenDraws = 0,
    seed: o.Seed = 0,
    unconverged: o.Unconverged = False,
    json: o.AsJson = False,
) -> None:
    """Export the force constants of a result to phonopy or ASE.

    With draws of them, whatever these programs compute gets error bars.
    """
    from bayestds.cli.exchange import export as run

    run(result, output, to.value, draws, seed, unconverged, json)


@app.command("import")
def import_(
    model: o.ModelName,
    source: o.Source,
    name: o.SetName = None,
    output: o.ModelOutput = None,
    json: o.AsJson = False,
) -> None:
    """Import the force constants of phonopy or TDEP.

    The output is a copy of the model file with a new set of force constants.
    """
    from bayestds.cli.exchange import import_constants as run

    run(model, source, name, output, json)


@app.command()
def validate(
    result: o.ResultFile,
    potentials: o.Potentials,
    output: o.PictureOutput = None,
    unconverged: o.Unconverged = False,
    json: o.AsJson = False,
) -> None:
    """Compare interatomic potentials with a result.

    It shows which shells of neighbours a potential gets wrong, and how well the volume that it predicts
    agrees with the data.

    A POTENTIAL is a calculator of ASE (emt, lj, morse, or module:function, which returns one), a file that
    ASE's EAM reads, a folder of phonopy or TDEP, or a set of force constants in a model (ni_fcc_u3:meam).
    """
    from bayestds.cli.validate import validate as run

    run(result, potentials, output, unconverged, json)


@app.command()
def campaign(
    file: o.CampaignFile,
    output: o.ResultsFolder = None,
    scheduler: o.Scheduler = None,
    workers: o.Workers = None,
    status: o.Status = False,
    json: o.AsJson = False,
) -> None:
    """Fit or sample many volumes, such as a temperature ramp.

    Finished runs are kept: the same command continues a campaign that was interrupted.
    """
    from bayestds.cli.campaign import campaign as run

    raise typer.Exit(run(file, output, scheduler, workers, status, json))
