"""Checkpoints of long work: arrays beside the file they will become, tied to what they were made from."""

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from bayestds.io.atomic import atomic_path


def checkpoint_path(output: Path) -> Path:
    """Where the checkpoint of an output file lies."""
    return output.with_name(f"{output.name}.partial.npz")


def fingerprint(**inputs: Any) -> str:
    """Hash of everything that a result depends on; numbers, texts, lists and arrays."""
    plain = {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in inputs.items()}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def save_checkpoint(path: Path, made_from: str, arrays: dict[str, np.ndarray]) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: from :func:`checkpoint_path`.
        made_from: from :func:`fingerprint`.
        arrays: the state of the work.
    """
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, made_from=np.array(made_from), **arrays)  # type: ignore[arg-type]


def load_checkpoint(path: Path, made_from: str) -> dict[str, np.ndarray] | None:
    """The arrays of a checkpoint; None where there is none, or one of other work, or a damaged one."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return arrays if str(arrays.pop("made_from", "")) == made_from else None
