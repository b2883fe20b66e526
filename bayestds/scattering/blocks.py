"""Q points in blocks of equal wave vector k, and the blocks in groups that are evaluated in turn."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Blocks:
    """Where each Q point is.

    Attributes:
        points: (n_groups, n_blocks, block_size) int, the point in each place, -1 where padded.
        place: (n_q,) int, the place of each point in the flattened blocks.
        k_points: (n_k,) int, grid index of the distinct k, ascending.
        k_of_block: (n_groups, n_blocks) int, which of these each block has.
    """

    points: np.ndarray
    place: np.ndarray
    k_points: np.ndarray
    k_of_block: np.ndarray


def make_blocks(k_index: np.ndarray, bytes_per_point: int, memory: float | int) -> Blocks:
    """Blocks of points, in groups that take not more memory than is given.

    Args:
        k_index: (n_q,) grid index of k of each point.
        bytes_per_point: what the evaluation takes for each.
        memory: bytes.
    """
    unique, inverse, counts = np.unique(k_index, return_inverse=True, return_counts=True)
    # A power of two near half the median group keeps the padding small.
    block_size = 2 ** int(np.clip(np.ceil(np.log2(max(1, np.median(counts) / 2))), 0, 7))
    blocks_of_k = -(-counts // block_size)
    k_of_block = np.repeat(np.arange(len(unique)), blocks_of_k)
    most_groups = len(k_of_block)
    n_groups = int(np.clip(np.ceil(len(k_of_block) * block_size * bytes_per_point / memory), 1, most_groups))
    k_of_block = np.pad(k_of_block, (0, -len(k_of_block) % n_groups), mode="edge")

    start = np.cumsum(blocks_of_k * block_size) - blocks_of_k * block_size
    order = np.argsort(inverse, kind="stable")
    rank = np.arange(len(k_index)) - np.repeat(np.cumsum(counts) - counts, counts)
    place = np.empty(len(k_index), dtype=int)
    place[order] = start[inverse[order]] + rank
    points = np.full(len(k_of_block) * block_size, -1)
    points[place] = np.arange(len(k_index))
    return Blocks(points.reshape(n_groups, -1, block_size), place, unique, k_of_block.reshape(n_groups, -1))
