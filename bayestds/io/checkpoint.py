"""Checkpoints: the state of a computation in one file, written whole, read back to the last bit."""

import hashlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bayestds.errors import ResultError
from bayestds.io.atomic import atomic_path


def fingerprint(*values: Any) -> str:
    """Digest of everything that decides how a computation goes on: pytrees of arrays, numbers and texts."""
    digest = hashlib.sha256()
    leaves, structure = jax.tree.flatten(values)
    digest.update(str(structure).encode())
    for leaf in leaves:
        array = np.asarray(leaf)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def checkpoint_path(output: Path) -> Path:
    """Where the checkpoint of the file that a computation will write lies."""
    return output.with_name(f"{output.name}.checkpoint")


def save_checkpoint(path: Path, mark: str, state: Any, record: dict[str, np.ndarray] | None = None) -> None:
    """Write a checkpoint; it replaces the one before it at once.

    Args:
        path: of the file.
        mark: fingerprint of the computation.
        state: a pytree of numbers, arrays and random keys; it comes back as arrays and keys.
        record: what the computation has produced so far.
    """
    leaves = {f"state_{i}": np.asarray(_data(leaf)) for i, leaf in enumerate(jax.tree.leaves(state))}
    records = {f"record_{name}": values for name, values in (record or {}).items()}
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, mark=np.array(mark), **leaves, **records)  # type: ignore[arg-type]


def load_checkpoint(path: Path, mark: str, like: Any) -> tuple[Any, dict[str, np.ndarray]]:
    """State and record of a checkpoint.

    Args:
        path: of the file.
        mark: fingerprint of the computation that is to go on.
        like: a pytree with the structure of the state.

    Raises:
        ResultError: the file is missing or damaged, or belongs to another computation.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            content = {name: stored[name] for name in stored.files}
        found = str(content.pop("mark"))
    except Exception as error:  # a damaged zip file can raise almost anything
        raise ResultError(
            f"The checkpoint {path} cannot be read.",
            f"{type(error).__name__}: {error}",
            "Delete it and start again without --resume.",
        ) from error
    if found != mark:
        raise ResultError(
            f"The checkpoint {path} belongs to another computation.",
            "The model, the data, the options, the program's version or the machine have changed since.",
            "Start again without --resume, or give everything as it was.",
        )
    leaves, structure = jax.tree.flatten(like)
    state = [_as(content[f"state_{i}"], leaf) for i, leaf in enumerate(leaves)]
    record = {name.removeprefix("record_"): content[name] for name in content if name.startswith("record_")}
    return jax.tree.unflatten(structure, state), record


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(getattr(leaf, "dtype", float), jax.dtypes.prng_key)


def _data(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _as(values: np.ndarray, leaf: Any) -> Any:
    return jax.random.wrap_key_data(jax.numpy.asarray(values)) if _is_key(leaf) else jax.numpy.asarray(values)
