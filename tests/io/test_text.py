import numpy as np
import pytest

from bayestds.io import read_volume

H, K, L = np.linspace(-1, 1, 7), np.linspace(0, 0.5, 3), np.array([2.0, 3.0])


def rows(sigma=True, digits=4, order=None, seed=3):
    """Every voxel of a grid as a row, in a random order, and its intensities as an array."""
    rng = np.random.default_rng(seed)
    intensity = rng.uniform(1, 9, (7, 3, 2)).round(digits)
    grid = np.stack(np.meshgrid(H, K, L, indexing="ij"), axis=-1).round(digits)
    columns = [grid.reshape(-1, 3), intensity.reshape(-1, 1)]
    columns += [intensity.reshape(-1, 1) / 10] if sigma else []
    return rng.permutation(np.hstack(columns)), intensity


@pytest.mark.parametrize("header", ["", "h k l I sigma\n", "# made by a program\n# h k l\n", "HKL\n\n"])
@pytest.mark.parametrize("separator", [" ", "\t", ",", ", ", "; ", "   "])
@pytest.mark.parametrize("sigma", [True, False])
def test_lists_of_any_look(tmp_path, header, separator, sigma):
    table, intensity = rows(sigma)
    lines = [separator.join(f"{value:.4f}" for value in row) for row in table]
    path = tmp_path / "volume.txt"
    path.write_text(header + "\n".join(lines) + "\n")
    volume = read_volume(path)
    assert volume.encoding["format"] == "text"
    np.testing.assert_allclose(volume["intensity"], intensity, atol=1e-12)
    assert ("sigma" in volume) == sigma
    for axis, values in zip("hkl", (H, K, L), strict=True):
        np.testing.assert_allclose(volume[axis], values, atol=1e-4)


def test_few_digits_do_not_bend_the_grid(tmp_path):
    table, _ = rows(digits=2)
    path = tmp_path / "volume.dat"
    np.savetxt(path, table, fmt="%.2f")
    np.testing.assert_allclose(read_volume(path)["h"], H, atol=1e-12)


def test_voxels_that_are_not_listed_were_not_measured(tmp_path):
    table, _ = rows()
    path = tmp_path / "volume.dat"
    np.savetxt(path, table[5:])
    volume = read_volume(path)
    assert int(np.isnan(volume["intensity"]).sum()) == 5
    for h, k, l, value, _ in table[5:]:  # noqa: E741
        found = volume["intensity"].sel(h=h, k=k, l=l, method="nearest")
        assert float(found) == pytest.approx(value)


def test_missing_planes_leave_gaps(tmp_path):
    table, _ = rows()
    path = tmp_path / "volume.dat"
    np.savetxt(path, table[np.abs(table[:, 0]) > 0.1])
    volume = read_volume(path)
    assert volume.sizes["h"] == 7
    assert np.isnan(volume["intensity"].sel(h=0.0, method="nearest")).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: np.vstack([table, table[:2]]), "2 voxels are listed twice"),
        (lambda table: np.vstack([table, table[0] + [0.05, 0, 0, 0, 0]]), "uniformly"),
        (lambda table: np.hstack([table, table]), "neither an HDF5 file nor a list"),
        (lambda table: table[:, :3], "neither an HDF5 file nor a list"),
    ],
)
def test_other_lists_are_refused(tmp_path, refused, change, words):
    path = tmp_path / "volume.txt"
    np.savetxt(path, change(rows()[0]))
    refused(path, words)


def test_a_bad_line_is_refused(tmp_path, refused):
    path = tmp_path / "volume.txt"
    path.write_text("0 0 1 5\n0 0 2 6\nthe end\n")
    refused(path, "cannot be read")


def test_a_picture_is_no_list(tmp_path, refused):
    path = tmp_path / "volume.png"
    path.write_bytes(b"\x89PNG\r\n\x00\x01 1 2 3 4\n")
    refused(path, "neither an HDF5 file nor a list")
