"""Accuracy is said with the number of its images and an interval."""

import pytest

from scarlet_zoo.errors import ScarletError
from scarlet_zoo.inference.right_answers import Accuracy


def test_seven_of_twelve_is_not_58_33_percent():
    seven = Accuracy(7, 12)
    assert str(seven) == "58.33 % (7 of 12 images, 95 % interval 32.0 to 80.7)"
    low, high = seven.interval
    # Wilson's score interval, by its formula.
    z, n, p = 1.959963984540054, 12, 7 / 12
    centre, half = p + z * z / (2 * n), z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    assert low == pytest.approx(100 * (centre - half) / (1 + z * z / n))
    assert high == pytest.approx(100 * (centre + half) / (1 + z * z / n))
    assert seven.to_dict() == {"right": 7, "images": 12, "percent": 700 / 12, "interval": [low, high]}


@pytest.mark.parametrize(("right", "images"), [(0, 0), (3, 2), (-1, 2)])
def test_an_accuracy_of_nothing_is_refused(right, images):
    with pytest.raises(ScarletError, match="wanted at least one image"):
        Accuracy(right, images)
