"""The parameters of a volume as one tree, and as the one vector that fits and samplers move in."""

from typing import NamedTuple

from jax import Array
from jaxtyping import Float


class Parameters(NamedTuple):
    """Everything that the expected intensity of a volume depends on; as a vector, one after the other.

    Attributes:
        second: (n_irreducible,) irreducible force constants φ, eV/Å².
        third: (n_cubic,) third-order force constants γ, eV/Å³.
        background: (n_terms,) strengths of the background.
    """

    second: Float[Array, "*draws n_irreducible"]
    third: Float[Array, "*draws n_cubic"]
    background: Float[Array, "*draws n_terms"]


class Sizes(NamedTuple):
    """How many parameters there are of each kind; see :class:`Parameters`."""

    second: int
    third: int
    background: int

    @property
    def n_constants(self) -> int:
        """Number of force constants of all orders, the first in the vector."""
        return self.second + self.third

    def split(self, vector: Float[Array, "*draws n_parameters"]) -> Parameters:
        """The parameters in a vector, or in a batch of vectors."""
        first, last = self.second, self.n_constants
        return Parameters(vector[..., :first], vector[..., first:last], vector[..., last:])
