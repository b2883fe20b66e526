import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayestds.errors import VolumeError
from bayestds.scattering.volume import check_volume, make_volume

H, K, L = np.linspace(-1, 1, 5), np.array([0.0, 0.5]), np.array([2.0])
SHAPE = (5, 2, 1)
GOOD = np.ones(SHAPE)


def test_a_minimal_volume():
    volume = make_volume(H, K, L, GOOD.astype(np.float32))
    assert volume["intensity"].dims == ("h", "k", "l")
    assert volume["intensity"].dtype == np.float32
    assert volume["l"].attrs == {"units": "r.l.u."}
    assert volume.attrs == {"intensity_units": "arbitrary"}


def test_attributes_become_plain_python():
    volume = make_volume(
        H,
        K,
        L,
        GOOD,
        lattice=np.array([3, 3, 3, 90, 90, 120]),
        temperature=300,
        configurations=np.int64(15),
        title=None,
    )
    assert volume.attrs == {
        "intensity_units": "arbitrary",
        "lattice": (3, 3, 3, 90, 90, 120),
        "temperature": 300,
        "configurations": 15,
    }


def test_the_input_is_copied():
    intensity = GOOD.copy()
    volume = make_volume(H, K, L, intensity)
    intensity[:] = 7
    assert (volume["intensity"] == 1).all()


def test_negative_intensities_are_data():
    assert make_volume(H, K, L, -GOOD)["intensity"].min() == -1


def test_companions_may_be_anything_where_nothing_is_used():
    intensity, sigma, mask = GOOD.copy(), GOOD.copy(), np.zeros(SHAPE, int)
    intensity[0, 0, 0], sigma[0, 0, 0] = np.nan, -1
    mask[1, 1, 0], sigma[1, 1, 0] = 1, np.nan
    volume = make_volume(H, K, L, intensity, sigma=sigma, counts=sigma, mask=mask)
    assert volume["mask"].dtype == bool


@given(start=st.floats(-20, 20), step=st.floats(1e-3, 1), n=st.integers(1, 400))
def test_uniform_axes_are_accepted_in_single_precision(start, step, n):
    axis = (start + step * np.arange(n)).astype(np.float32)
    if n > 1 and step < 0.01:
        axis = start + step * np.arange(n)
    make_volume(axis, K, L, np.ones((n, 2, 1)))


BAD_INTENSITY = GOOD.copy()
BAD_INTENSITY[3, 1, 0] = -np.inf
BAD_SIGMA = GOOD.copy()
BAD_SIGMA[2, 0, 0] = -0.5


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"h": H[:-1]}, "shape (5, 2, 1), the axes h, k, l ask for (4, 2, 1)"),
        ({"h": H[::-1]}, "axis h does not increase from 1 to 0.5"),
        ({"h": np.array([0.0, 1, 2, 3, 4.1])}, "after 3 the step is 1.1"),
        ({"h": np.array([0.0, 1, np.nan, 3, 4])}, "not finite"),
        ({"k": np.array([]), "intensity": np.ones((5, 0, 1))}, "empty"),
        ({"k": K[:, None]}, "axis k has 2 dimensions"),
        ({"k": np.array(["a", "b"])}, "type <U1"),
        ({"intensity": BAD_INTENSITY}, "1 intensities are infinite, the first at index (3, 1, 0)"),
        ({"intensity": GOOD * np.nan}, "every intensity is NaN"),
        ({"intensity": GOOD + 0j}, "type complex128"),
        ({"sigma": BAD_SIGMA}, "sigma is -0.5 at index (2, 0, 0), and bad at 1 voxels"),
        ({"sigma": GOOD * np.nan}, "sigma is nan"),
        ({"sigma": GOOD[0]}, "sigma has shape (2, 1)"),
        ({"counts": -GOOD}, "counts is -1"),
        ({"transmission": 0 * GOOD}, "transmission is 0 at index (0, 0, 0), and bad at 10 voxels"),
        ({"transmission": GOOD * np.nan}, "transmission must be finite and positive"),
        ({"transmission": GOOD[0]}, "transmission has shape (2, 1)"),
        ({"mask": 2 * GOOD}, "the mask holds something else"),
        ({"mask": GOOD[0]}, "mask has shape"),
        ({"lattice": (3.0, 3.0, 3.0)}, "Six numbers"),
        ({"lattice": (3.0, 3.0, 3.0, 90.0, 90.0, np.nan)}, "between 0 and 180"),
        ({"lattice": (3.0, 3.0, 0.0, 90.0, 90.0, 90.0)}, "Lengths must be positive"),
        ({"lattice": (3.0, 3.0, 3.0, 90.0, 90.0, 180.0)}, "between 0 and 180"),
        ({"lattice": (3.0, 3.0, 3.0, 120.0, 120.0, 120.0)}, "volume is not positive"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"temperature": np.inf}, "temperature is inf"),
        ({"configurations": 0}, "configurations is 0"),
        ({"configurations": 1.5}, "configurations is 1.5"),
        ({"note": {"a": 1}}, "attribute 'note'"),
        ({"note": True}, "attribute 'note'"),
    ],
)
def test_invalid_volumes_are_refused(changes, words):
    arguments = {"h": H, "k": K, "l": L, "intensity": GOOD} | changes
    with pytest.raises(VolumeError) as caught:
        make_volume(**arguments, name="scan 7")
    assert words in str(caught.value)
    assert caught.value.summary.startswith("scan 7: ")
    assert caught.value.fix


def test_a_dataset_of_other_origin_is_checked():
    volume = make_volume(H, K, L, GOOD)
    check_volume(volume.assign_attrs(lattice=[3.0, 3.0, 3.0, 90.0, 90.0, 90.0]))
    with pytest.raises(VolumeError, match="no variable 'intensity'"):
        check_volume(volume.rename(intensity="I"))
    with pytest.raises(VolumeError, match="dimensions"):
        check_volume(volume.transpose("l", "k", "h"))
    check_volume(volume.astype("float32"))
    with pytest.raises(VolumeError, match="float16"):
        check_volume(volume.astype("float16"))
    with pytest.raises(VolumeError, match="axis l has no values"):
        check_volume(volume.drop_vars("l"))
