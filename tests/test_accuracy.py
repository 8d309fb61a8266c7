"""Accuracy is said with the number of its images and an interval."""

import pytest
from scipy.stats import binomtest

from scarlet_zoo.errors import ScarletError
from scarlet_zoo.inference.right_answers import Accuracy


def test_seven_of_twelve_is_not_58_33_percent():
    seven = Accuracy(7, 12)
    assert str(seven) == "58.33 % (7 of 12 images, 95 % interval 32.0 to 80.7)"
    low, high = seven.interval
    assert seven.to_dict() == {"right": 7, "images": 12, "percent": 700 / 12, "interval": [low, high]}


@pytest.mark.parametrize(("right", "images"), [(7, 12), (0, 1), (1, 1), (0, 50), (9_731, 10_000), (10_000, 10_000)])
def test_the_interval_is_wilsons_as_scipy_has_it(right, images):
    theirs = binomtest(right, images).proportion_ci(0.95, method="wilson")
    assert Accuracy(right, images).interval == pytest.approx((100 * theirs.low, 100 * theirs.high), rel=1e-12)


@pytest.mark.parametrize(("right", "images"), [(0, 0), (3, 2), (-1, 2)])
def test_an_accuracy_of_nothing_is_refused(right, images):
    with pytest.raises(ScarletError, match="wanted at least one image"):
        Accuracy(right, images)
