"""The exceptions that a user can meet. Every message names what is wrong, why, and what to do."""


class BayesTDSError(Exception):
    """Base class of every error that bayestds raises on purpose; the command line exits with 2.

    Args:
        summary: what is wrong, naming the file or the value.
        reason: what was expected, or why this cannot work.
        fix: what the user can do about it.
    """

    def __init__(self, summary: str, reason: str = "", fix: str = ""):
        self.summary, self.reason, self.fix = summary, reason, fix
        super().__init__("\n".join(part for part in (summary, reason, fix) if part))


class ModelError(BayesTDSError):
    """A model file is missing, unreadable or inconsistent."""


class CrystalError(BayesTDSError):
    """A crystal structure, its symmetry or its supercell cannot be used."""


class VolumeError(BayesTDSError):
    """A scattering volume cannot be read, written, or does not match the crystal."""


class InstabilityError(BayesTDSError):
    """Force constants for which the crystal is unstable where stable ones are needed."""


class PrecisionError(BayesTDSError):
    """JAX runs in 32-bit precision; the covariance needs 64 bits."""


class OutputError(BayesTDSError):
    """A file cannot be written where it was asked for."""


class ResultError(BayesTDSError):
    """A result file cannot be read or does not hold what was asked for."""


class MissingPackageError(BayesTDSError):
    """An optional package is asked for and not installed."""


class ForceConstantsError(BayesTDSError):
    """Force constants of another program, or of a potential, cannot be had or are of another crystal."""


class CampaignError(BayesTDSError):
    """Runs of a campaign failed, or no worker process is available for them."""
