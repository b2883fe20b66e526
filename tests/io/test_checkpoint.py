"""Checkpoints bring back what was put into them, and nothing else."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayestds.errors import ResultError
from bayestds.io.checkpoint import checkpoint_path, fingerprint, load_checkpoint, save_checkpoint

STATE = {"key": jax.random.key(3), "values": jnp.array([1 / 3, np.pi, 1e-300]), "count": 7}


def test_state_comes_back_to_the_last_bit(tmp_path):
    path = checkpoint_path(tmp_path / "out.nc")
    save_checkpoint(path, "mark", STATE, {"loss": np.arange(3)})
    # Only the structure of what it is compared with matters, and which leaves are random keys.
    like = jax.eval_shape(lambda: {"key": jax.random.key(0), "values": jnp.zeros(9), "count": 0})
    for pattern in (STATE, like):
        state, record = load_checkpoint(path, "mark", pattern)
        assert np.array_equal(state["values"], STATE["values"])
        assert int(state["count"]) == 7
        assert np.array_equal(jax.random.normal(state["key"], 4), jax.random.normal(STATE["key"], 4))
        assert np.array_equal(record["loss"], np.arange(3))
    assert [file.name for file in tmp_path.iterdir()] == ["out.nc.checkpoint"]


def test_other_damaged_and_missing_checkpoints_are_refused(tmp_path):
    path = tmp_path / "x"
    save_checkpoint(path, "mark", STATE)
    with pytest.raises(ResultError, match="another computation"):
        load_checkpoint(path, "other", STATE)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ResultError, match="cannot be read"):
        load_checkpoint(path, "mark", STATE)
    with pytest.raises(ResultError, match="cannot be read"):
        load_checkpoint(Path(tmp_path / "nowhere"), "mark", STATE)


def test_fingerprints_tell_inputs_apart():
    first = fingerprint(jnp.arange(3.0), {"seed": 1})
    assert first == fingerprint(np.arange(3.0), {"seed": 1})
    assert first != fingerprint(np.arange(3.0), {"seed": 2})
    assert first != fingerprint(np.arange(3.0) + 1e-15, {"seed": 1})
    assert first != fingerprint(np.arange(3), {"seed": 1})
    assert first != fingerprint(np.arange(3.0).reshape(3, 1), {"seed": 1})
