"""The arguments and options of all commands: their names, their help, and the checks of their values."""

from pathlib import Path
from typing import Annotated

import typer

from bayestds import __version__
from bayestds.cli.choices import Engine, Method, Program, Sampler, all_positive, normals, positive


def models(beginning: str) -> list[str]:
    """What the shell offers for a MODEL: the model files of this folder, and the shipped models."""
    from bayestds.config import available_models

    files = sorted(str(path) for path in Path().glob("*.toml"))
    return [name for name in (*files, *available_models()) if name.startswith(beginning)]


def print_version(asked: bool) -> bool:
    """Print the version and end, if asked to."""
    if asked:
        print(f"bayestds {__version__}")
        raise typer.Exit
    return asked


Version = Annotated[
    bool,
    typer.Option("--version", help="Show the version and exit.", callback=print_version, is_eager=True),
]

# Arguments.
ModelName = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="A model file (TOML), or the name of a shipped model.", autocompletion=models
    ),
]
SymmetryModel = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL", help="Model whose crystal says which voxels are equivalent.", autocompletion=models
    ),
]
VolumeFile = Annotated[
    Path, typer.Argument(metavar="VOLUME", help="A scattering volume, in any of the supported formats.")
]
VolumeFiles = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="VOLUME", help="Measured volumes. Without any, the model's own [measurement] is used."
    ),
]
NewVolume = Annotated[Path, typer.Argument(metavar="OUT", help="File to write; its suffix names the format.")]
ResultFile = Annotated[
    Path, typer.Argument(metavar="RESULT", help="A file that `bayestds fit` or `bayestds sample` wrote.")
]
PosteriorFiles = Annotated[
    list[Path], typer.Argument(metavar="RESULT", help="Results of `bayestds sample` for the same data.")
]
Source = Annotated[
    Path, typer.Argument(metavar="SOURCE", help="A folder of phonopy or TDEP, or a file in it.")
]
Potentials = Annotated[
    list[str], typer.Argument(metavar="POTENTIAL", help="What is compared with the result, as listed above.")
]
CampaignFile = Annotated[Path, typer.Argument(metavar="CAMPAIGN", help="TOML file that lists volumes.")]

# What is written.
VolumeOutput = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Volume to write; its suffix names the format."),
]
ResultOutput = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Result to write (netCDF).")
]
PictureOutput = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Picture to write (PNG).")
]
PageOutput = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FILE", help="Page to write (HTML); beside the result by default."
    ),
]
ModelOutput = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Model file to write (TOML).")
]
NewFolder = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="New folder to write.")]
ResultsFolder = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="DIR", help="Folder of the results, instead of the file's."),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout; messages go to stderr.")
]

# Force constants.
Shells = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Number of neighbour shells, instead of the model's.")
]
Cubic = Annotated[
    int | None,
    typer.Option(
        min=0,
        metavar="N",
        help="Number of neighbour shells that have third-order constants as well, instead of the model's.",
    ),
]
SimulatedSet = Annotated[
    str | None,
    typer.Option(
        "--ifcs",
        metavar="SET",
        help="Set of force constants in the model file; [measurement] names the default.",
    ),
]
AssumedSet = Annotated[
    str | None,
    typer.Option(
        "--ifcs",
        metavar="SET",
        help="Set of force constants in the model file that the crystal is assumed to have.",
    ),
]
Start = Annotated[
    str | None,
    typer.Option(
        metavar="SET",
        help="Set of force constants in the model file to start from, or `zero`; [fit] names the default.",
    ),
]
SetName = Annotated[
    str | None, typer.Option(metavar="SET", help="Name of the new set; that of the folder by default.")
]
Group = Annotated[
    str | None,
    typer.Option("--path", help="Path of the volume inside a NeXus file, instead of the file's default."),
]
Unconverged = Annotated[
    bool, typer.Option("--unconverged", help="Go on even if the point fit did not converge.")
]

# Simulation.
EngineName = Annotated[
    Engine,
    typer.Option(
        help="exact: all phonon orders; sampled: a mean over random configurations of a supercell; "
        "one-phonon: the first order only."
    ),
]
Configurations = Annotated[
    int, typer.Option(min=1, metavar="N", help="Number of configurations of the sampled engine.")
]
SamplerName = Annotated[
    Sampler,
    typer.Option(
        help="How the sampled engine draws displacements. block: one wave vector at a time; dense: from the "
        "whole Hessian of the supercell."
    ),
]
Nufft = Annotated[
    bool, typer.Option("--nufft", help="Use a nonuniform FFT for structure factors, for large supercells.")
]
Trajectory = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Average over the snapshots in this file instead: any format that ASE reads, or .npz.",
    ),
]
Scale = Annotated[float, typer.Option(metavar="X", help="Factor on the intensity.", callback=positive)]
Counts = Annotated[
    float | None,
    typer.Option(metavar="X", help="Draw Poisson counts, with this mean per voxel.", callback=positive),
]

# Posteriors and draws.
Seed = Annotated[int, typer.Option(min=0, metavar="N", help="Seed of the random numbers.")]
Chains = Annotated[int, typer.Option(min=1, metavar="N", help="Number of Markov chains.")]
KeptDraws = Annotated[
    int, typer.Option("--draws", min=4, metavar="N", help="Draws that are kept of each chain.")
]
Warmup = Annotated[
    int, typer.Option(min=0, metavar="N", help="Steps before them, in which the step size is adapted.")
]
TargetAccept = Annotated[
    float,
    typer.Option(
        min=0.05,
        max=0.99,
        metavar="P",
        help="Acceptance that the step size is adapted to (harmonic mean of the chains): the higher, the "
        "smaller the steps, and the fewer trajectories diverge.",
    ),
]
MethodName = Annotated[
    Method,
    typer.Option(
        help="nuts: Markov chains (no-U-turn sampler); laplace: the normal approximation at the maximum; "
        "normal: a normal distribution fitted by variational inference."
    ),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Continue an interrupted run from its checkpoint, if there is one.")
]
IntervalDraws = Annotated[
    int,
    typer.Option("--draws", min=20, metavar="N", help="Draws of the force constants, for the intervals."),
]
BandDraws = Annotated[
    int,
    typer.Option("--draws", min=2, metavar="N", help="Draws of the force constants, for bands of phonons."),
]
WrittenDraws = Annotated[
    int,
    typer.Option(
        "--draws",
        min=0,
        max=9999,
        metavar="N",
        help="Draws to write besides the mean, each in a folder of its own.",
    ),
]

# Volumes, phonons, exchange.
FormatName = Annotated[
    str | None,
    typer.Option("--format", help="Format, whatever the suffix: nexus, mdhisto, discus, yell or netcdf."),
]
Reindex = Annotated[
    str | None,
    typer.Option(
        metavar="MATRIX",
        help="Rows that make the new h, k and l from the old ones. With '0 1 0 / 0 0 1 / 1 0 0' the new h is "
        "the old k.",
    ),
]
SpecialPoints = Annotated[
    str | None,
    typer.Option(
        "--path",
        metavar="POINTS",
        help="Special points that the dispersion runs through, such as 'G X W'; the standard path of the "
        "lattice by default.",
    ),
]
ProgramName = Annotated[
    Program, typer.Option("--to", help="phonopy: its force constants; ase: the Hessian of a supercell.")
]

# Plans.
PlannedCounts = Annotated[
    float,
    typer.Option(
        "--counts",
        metavar="X",
        help="Mean counts per voxel of the whole grid at the planned exposure.",
        callback=positive,
    ),
]
Wedges = Annotated[
    list[float] | None,
    typer.Option(
        "--wedge",
        metavar="DEGREES",
        help="Only Q up to this angle above and below the plane of the mask, by default that normal to l*.",
        max=90,
        callback=all_positive,
    ),
]
Planes = Annotated[
    list[str] | None,
    typer.Option(
        "--plane",
        metavar="HKL",
        help="Only the plane through the origin with this normal, such as '1 1 0'.",
        callback=normals,
    ),
]
LargestQ = Annotated[
    list[float] | None,
    typer.Option("--q-max", metavar="X", help="Only |Q| up to this, 1/Å.", callback=all_positive),
]
SmallestQ = Annotated[
    list[float] | None,
    typer.Option("--q-min", metavar="X", help="Only |Q| from this on, 1/Å.", callback=all_positive),
]
Temperatures = Annotated[
    list[float] | None,
    typer.Option("--temperature", metavar="X", help="Another temperature, K.", callback=all_positive),
]
Exposures = Annotated[
    list[float] | None,
    typer.Option(
        "--time",
        metavar="X",
        help="Another exposure time, as a multiple of the planned one.",
        callback=all_positive,
    ),
]

# Campaigns.
Scheduler = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Dask scheduler to use, instead of processes of this computer."),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Number of processes on this computer; by default as many as its cores and memory allow.",
    ),
]
Status = Annotated[bool, typer.Option("--status", help="Only show which runs are finished; start none.")]
