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
        (lambda table: np.hstack([table, table]), "it has 10 columns"),
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


HEADERS = {
    "l,k,h,I,sigma": [2, 1, 0, 3, 4],
    "# k h l I": [1, 0, 2, 3],
    "h,k,l,sigma,I": [0, 1, 2, 4, 3],
    "H,K,L,Intensity,weight": [0, 1, 2, 3, 4],
    ",h,k,l,I": [5, 0, 1, 2, 3],
    "h,k,l,I,sigma,n_pixels": [0, 1, 2, 3, 4, 5],
}


@pytest.mark.parametrize("header", HEADERS)
def test_a_header_says_which_column_is_which(tmp_path, header):
    table, intensity = rows()
    table = np.column_stack([table, np.arange(len(table))])[:, HEADERS[header]]
    path = tmp_path / "volume.csv"
    separator = "," if "," in header else " "
    path.write_text(header + "\n" + "\n".join(separator.join(f"{x:.4f}" for x in row) for row in table))
    volume = read_volume(path)
    np.testing.assert_allclose(volume["intensity"], intensity, atol=1e-4)
    assert ("sigma" in volume) == ("sigma" in header)
    if "sigma" in volume:
        np.testing.assert_allclose(volume["sigma"], intensity / 10, atol=1e-4)
    noted = any("left out" in note for note in volume.encoding["notes"])
    assert noted == ("weight" in header or "n_pixels" in header or header[0] == ",")


@pytest.mark.parametrize("header", ["# Qx(A-1) Qy(A-1) Qz(A-1) I", "qx qy qz I", "h k l phase"])
def test_headers_without_a_meaning_are_refused(tmp_path, refused, header):
    path = tmp_path / "volume.txt"
    path.write_text(f"{header}\n0 0 1 5\n0 0 2 6\n")
    refused(path, "columns")


def test_long_lists_of_many_columns_are_refused(tmp_path, refused):
    """The last line that is looked at may be cut off, and have fewer."""
    path = tmp_path / "volume.txt"
    np.savetxt(path, np.random.default_rng(0).uniform(size=(2000, 6)), fmt="%.6f")
    refused(path, "it has 6 columns")


def test_byte_order_marks_and_fortran(tmp_path):
    path = tmp_path / "volume.txt"
    path.write_bytes(b"\xef\xbb\xbf0 0 1 -0.5D+01\n0 0 2 6.0D+00\n")
    assert read_volume(path)["intensity"].values.ravel().tolist() == [-5.0, 6.0]
