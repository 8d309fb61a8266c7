"""Every strategy trains on mixed and balanced images, with finite losses that differ from the plain ones."""

import math

import pytest
from strategy_parts import run, strategy_of

from scarlet_zoo.errors import TrainingError
from scarlet_zoo.nas.strategies.registry import STRATEGIES


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, kind in STRATEGIES.items() if kind.views == 1])
def test_a_strategy_takes_shares_of_classes_and_class_weights(name, tmp_path):
    plain = run(strategy_of(name), tmp_path / "plain", max_steps=1)[1]
    mixed = run(strategy_of(name), tmp_path / "mixed", max_steps=1, mixup=0.4, cutmix=1.0, balance="loss")[1]
    assert [row["archs"] for row in plain] == [row["archs"] for row in mixed]
    assert all(math.isfinite(row["loss"]) for row in mixed)
    assert [row["loss"] for row in plain] != [row["loss"] for row in mixed]


@pytest.mark.parametrize("name", [name for name, kind in STRATEGIES.items() if kind.views > 1])
def test_a_strategy_that_compares_views_refuses_mixing_and_takes_balance(name, tmp_path):
    with pytest.raises(TrainingError, match="wanted neither: the strategy compares 4 views"):
        run(strategy_of(name, queue=16), tmp_path / "mixed", max_steps=1, mixup=0.4)
    run(strategy_of(name, queue=16), tmp_path / "balanced", max_steps=1, balance="sampling")
