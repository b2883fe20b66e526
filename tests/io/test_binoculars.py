import h5py
import numpy as np
import pytest

from bayestds.io import read_volume

COUNTS = np.arange(24.0).reshape(4, 3, 2)
CONTRIBUTIONS = np.array([[[(h + k + l) % 3 for l in range(2)] for k in range(3)] for h in range(4)])  # noqa: E741


def written(path, group="binoculars", order="HKL", offset=0.0, **changes):
    """A file of a Space of BINoculars: axes = [index, min, max, resolution, imin, imax]."""
    steps, first = {"H": 0.1, "K": 0.05, "L": 0.2}, {"H": -2, "K": 3, "L": 10}
    size = dict(zip("HKL", COUNTS.shape, strict=True))
    turn = ["HKL".index(letter) for letter in order]
    content = {"counts": COUNTS.transpose(turn), "contributions": CONTRIBUTIONS.transpose(turn)}
    with h5py.File(path, "w") as file:
        root = file.create_group(group) if group else file
        root.attrs["type"] = "Space"
        for letter in "HKL":
            low, high, step = first[letter], first[letter] + size[letter] - 1, steps[letter]
            index = order.index(letter)
            root[f"axes/{letter}"] = [index, low * step + offset, high * step + offset, step, low, high]
        for key, value in (content | changes).items():
            if value is not None:
                root[key] = value
    return path


@pytest.mark.parametrize("group", ["binoculars", None])
@pytest.mark.parametrize("order", ["HKL", "LKH", "KLH"])
def test_intensity_is_counts_over_contributions(tmp_path, group, order):
    volume = read_volume(written(tmp_path / "a.hdf5", group, order))
    assert volume.encoding["format"] == "binoculars"
    np.testing.assert_allclose(volume["h"], [-0.2, -0.1, 0.0, 0.1], atol=1e-15)
    np.testing.assert_allclose(volume["k"], [0.15, 0.2, 0.25])
    np.testing.assert_allclose(volume["l"], [2.0, 2.2])
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = np.where(CONTRIBUTIONS > 0, COUNTS / CONTRIBUTIONS, np.nan)
    np.testing.assert_array_equal(volume["intensity"], expected)
    assert "sigma" not in volume


def test_variances_are_those_of_the_counts(tmp_path):
    volume = read_volume(written(tmp_path / "a.hdf5", variances=COUNTS + 1))
    used = CONTRIBUTIONS > 0
    np.testing.assert_allclose(volume["sigma"].values[used], np.sqrt(COUNTS + 1)[used] / CONTRIBUTIONS[used])


def test_variances_of_zero_are_none(tmp_path):
    assert "sigma" not in read_volume(written(tmp_path / "a.hdf5", variances=0 * COUNTS))


def test_fast_rsm_begins_between_multiples_of_its_step(tmp_path):
    volume = read_volume(written(tmp_path / "a.hdf5", offset=0.03, contributions=np.sign(CONTRIBUTIONS)))
    np.testing.assert_allclose(volume["h"], [-0.17, -0.07, 0.03, 0.13])
    np.testing.assert_array_equal(volume["intensity"], np.where(CONTRIBUTIONS > 0, COUNTS, np.nan))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"contributions": CONTRIBUTIONS[:3]}, "contributions has the shape"),
        ({"counts": COUNTS[:, :, 0], "contributions": CONTRIBUTIONS[:, :, 0]}, "2 dimensions"),
        ({"counts": COUNTS[:3], "contributions": CONTRIBUTIONS[:3]}, "The counts have 3"),
    ],
)
def test_inconsistent_files_are_refused(tmp_path, refused, changes, words):
    refused(written(tmp_path / "a.hdf5", **changes), words)


def test_q_in_inverse_length_is_refused(tmp_path, refused):
    path = written(tmp_path / "a.hdf5")
    with h5py.File(path, "a") as file:
        for old, new in zip("HKL", ("Qx", "Qy", "Qz"), strict=True):
            file["binoculars/axes"].move(old, new)
    refused(path, "Qx, Qy, Qz", "hklprojection")
