"""Campaign files: many volumes, and what is to be done with each."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from bayestds.choices import Method
from bayestds.config.files import checked, read_text
from bayestds.config.tables import Section
from bayestds.config.values import Integer, Positive

Name = Annotated[str, Field(pattern=r"^[\w][\w.+-]*$")]
Count = Annotated[Integer, Field(gt=0)]


class Options(Section):
    """How volumes are fitted or sampled; what a run does not say, the file says for all."""

    model: str | None = Field(default=None, description="a model file, or the name of a shipped model")
    command: Literal["fit", "sample"] = Field(default="fit", description="fit or sample")
    start: str | None = Field(default=None, description="the name of an IFC set")
    shells: Count | None = Field(default=None, description="a positive number of neighbour shells")
    method: Method = Field(default="nuts", description="nuts, laplace or normal")
    chains: Count = Field(default=4, description="a positive number of chains")
    draws: Annotated[Integer, Field(ge=4)] = Field(default=1000, description="4 draws of each chain or more")
    warmup: Annotated[Integer, Field(ge=0)] = Field(default=200, description="a number of steps, 0 or more")
    seed: Annotated[Integer, Field(ge=0)] = Field(default=0, description="an integer, 0 or more")


class Run(Options):
    """One volume with options of its own."""

    volume: str = Field(description="a data file, relative to the campaign file")
    name: Name | None = Field(default=None, description="letters, digits and any of _ . + -")
    temperature: Positive | None = Field(default=None, description="a positive temperature in K")


class Campaign(Options):
    """All tables of a campaign file."""

    title: str = Field(default="", description="a text")
    output: str | None = Field(default=None, description="a folder, relative to the campaign file")
    volumes: tuple[str, ...] = Field(default=(), description='a list of files or patterns: ["ramp/*.nxs"]')
    run: tuple[Run, ...] = Field(default=(), description="tables [[run]], each with a volume")

    @model_validator(mode="after")
    def _something_to_do(self) -> "Campaign":
        if not self.volumes and not self.run:
            raise ValueError("give `volumes`, or one [[run]] at least")
        if self.model is None and (self.volumes or any(run.model is None for run in self.run)):
            raise ValueError("give a `model`")
        return self

    def options(self, run: Run) -> Run:
        """A run with the options of the file wherever it has none of its own."""
        shared = {name: getattr(self, name) for name in Options.model_fields}
        return run.model_copy(update={k: v for k, v in shared.items() if k not in run.model_fields_set})


def load_campaign(path: Path) -> Campaign:
    """Read a campaign file.

    Raises:
        ModelError: the file is unreadable, or says something that cannot be meant.
    """
    return checked(read_text(path, "campaign file"), path, Campaign, "campaign file")
