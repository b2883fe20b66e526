"""Monomials in x, y, z: their order, and which is the product of which."""

from functools import cache
from itertools import product

import numpy as np
from jaxtyping import Float

PRODUCTS = np.array([[0, 0], [0, 1], [0, 2], [1, 1], [1, 2], [2, 2]])
"""Components of the six monomials of second degree, in the order of :func:`exponents`."""


@cache
def exponents(degree: int) -> tuple[tuple[int, int, int], ...]:
    """Exponents of x, y, z in the monomials of a degree: xx, xy, xz, yy, yz, zz and so on."""
    return tuple((a, b, degree - a - b) for a in range(degree, -1, -1) for b in range(degree - a, -1, -1))


@cache
def products_table(first: int, second: int) -> Float[np.ndarray, "n_first n_second n_product"]:
    """1 where monomial i of the first degree times monomial j of the second is monomial m."""
    index = {powers: m for m, powers in enumerate(exponents(first + second))}
    table = np.zeros((len(exponents(first)), len(exponents(second)), len(index)))
    for (i, left), (j, right) in product(enumerate(exponents(first)), enumerate(exponents(second))):
        a, b, c = (x + y for x, y in zip(left, right, strict=True))
        table[i, j, index[a, b, c]] = 1
    return table
