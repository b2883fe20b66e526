"""The short public list: every name on it is there."""

import pytest

import bayestds


@pytest.mark.parametrize("name", bayestds.__all__)
def test_public_names_are_found(name):
    assert getattr(bayestds, name) is not None
    assert name in dir(bayestds)
