"""The numbers of a verdict: tau-b against its definition, regret, intervals that cover, the ceiling."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from scarlet_zoo.errors import ScarletError
from scarlet_zoo.utils.agreement import ceiling, kendall_tau, partial_tau, resampled, top_regret

LISTS = st.integers(2, 12).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(0, 5), min_size=n, max_size=n) for _ in range(2)])
)


def tau_by_counting(one, other):
    """Concordant minus discordant pairs, over the geometric mean of the pairs that each list tells apart."""
    signs = [(np.sign(one[i] - one[j]), np.sign(other[i] - other[j])) for i, j in combinations(range(len(one)), 2)]
    apart = [sum(abs(pair[k]) for pair in signs) for k in (0, 1)]
    return sum(a * b for a, b in signs) / np.sqrt(apart[0] * apart[1]) if all(apart) else 0.0


@given(LISTS)
def test_tau_is_what_counting_pairs_gives(lists):
    assert kendall_tau(*lists) == pytest.approx(tau_by_counting(*lists), abs=1e-12)
    told = kendalltau(*lists, variant="b").statistic
    assert kendall_tau(*lists) == pytest.approx(0.0 if np.isnan(told) else told, abs=1e-12)


@given(LISTS)
def test_tau_is_symmetric_and_turns_with_its_arguments(lists):
    one, other = (np.array(values) for values in lists)
    assert kendall_tau(one, other) == pytest.approx(kendall_tau(other, one), abs=1e-12)
    assert kendall_tau(-one, other) == pytest.approx(-kendall_tau(one, other), abs=1e-12)
    assert kendall_tau(np.exp(one), other) == pytest.approx(kendall_tau(one, other), abs=1e-12)


@given(st.integers(3, 9).flatmap(lambda n: st.tuples(*[st.permutations(range(n))] * 3)))
def test_partial_tau_is_the_phi_of_how_pairs_agree_with_the_third(orders):
    # Kendall's own derivation: pairs by whether each of the two orders them as the third does.
    scores, truth, beside = (np.array(order) for order in orders)
    pairs = list(combinations(range(len(beside)), 2))
    agree = np.array([[np.sign(a[i] - a[j]) == np.sign(beside[i] - beside[j]) for a in (scores, truth)]
                      for i, j in pairs])  # fmt: skip
    if np.ptp(agree.astype(int), axis=0).all():
        wanted = np.corrcoef(agree.T)[0, 1]
        assert partial_tau(scores, truth, beside) == pytest.approx(wanted, abs=1e-9)
    else:
        assert partial_tau(scores, truth, beside) == 0


@given(LISTS, st.integers(1, 12))
def test_regret_is_never_negative_and_nothing_is_lost_by_the_truth_itself(lists, count):
    scores, truth = lists
    assert top_regret(scores, truth, count) >= 0
    assert top_regret(truth, truth, count) == 0
    assert top_regret(scores, truth, len(truth)) == 0
    assert top_regret(scores, truth, count) >= top_regret(scores, truth, count + 1)


def test_regret_is_that_of_the_best_among_the_first():
    assert top_regret([9, 8, 1, 0], [50.0, 60.0, 90.0, 10.0], count=2) == 30.0
    # Two share the second place: the worse one is assumed.
    assert top_regret([9, 8, 8, 0], [50.0, 60.0, 90.0, 10.0], count=2) == 30.0


@pytest.mark.parametrize("lists", [([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([1.0, float("nan")], [1.0, 2.0])])
def test_what_cannot_be_ranked_is_refused(lists):
    with pytest.raises(ScarletError, match="ranking: got"):
        kendall_tau(*lists)


def tau_estimate(scores, truth, resamples):
    (sample,) = resampled(kendall_tau, [scores], truth, resamples)
    return sample.estimate()


def noisy(rng, seeds, archs, noise):
    worth = rng.normal(size=archs)
    return worth + noise * rng.normal(size=(seeds, archs))


def test_a_recipe_is_the_mean_of_its_seeds_with_an_interval_around_it():
    rng = np.random.default_rng(0)
    truth = noisy(rng, 3, 60, 0.1)
    scores = np.stack([truth.mean(axis=0) + noise * rng.normal(size=60) for noise in (0.2, 0.5, 1.0)])
    found = tau_estimate(scores, truth, resamples=300)
    assert found.value == pytest.approx(np.mean([kendall_tau(row, truth.mean(axis=0)) for row in scores]))
    assert found.low < found.value < found.high
    assert found == tau_estimate(scores, truth, resamples=300), "the same seed draws the same"
    one = tau_estimate(scores[:1], truth.mean(axis=0), resamples=300)
    assert one.high - one.low < found.high - found.low, "seeds that differ widen the interval"


@pytest.mark.slow
@settings(max_examples=5, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1))
def test_the_interval_of_a_ranker_without_worth_holds_zero_nearly_always(seed):
    rng = np.random.default_rng(seed)
    held = 0
    for _ in range(20):
        found = tau_estimate(rng.normal(size=(1, 60)), rng.normal(size=60), resamples=100)
        held += found.low <= 0 <= found.high
    assert held >= 14


@pytest.mark.slow
def test_the_ceiling_falls_with_the_noise_of_a_training():
    rng = np.random.default_rng(0)
    sure, unsure = (ceiling(noisy(rng, 3, 80, noise), resamples=100) for noise in (0.05, 1.0))
    assert sure["one_another"].value > 0.9 > unsure["one_another"].value > 0
    assert unsure["mean_of_the_others"].value > unsure["one_another"].value, "a mean has less noise"
    worth = rng.normal(size=4000)
    truth = worth + 0.7 * rng.normal(size=(3, 4000))
    told = ceiling(truth, resamples=2)["perfect_ranker"]
    assert told.value == pytest.approx(kendall_tau(worth, truth.mean(axis=0)), abs=0.02)
    with pytest.raises(ScarletError, match="one seed"):
        ceiling(noisy(rng, 1, 10, 0.1))


def test_two_recipes_are_compared_on_the_same_architectures():
    rng = np.random.default_rng(1)
    truth = noisy(rng, 3, 60, 0.1)
    good = truth.mean(axis=0) + 0.6 * rng.normal(size=60)
    nearly = good + 0.1 * rng.normal(size=60)
    one, other = resampled(kendall_tau, [good, nearly], truth, 300)
    gap = (one - other).estimate()
    assert gap.value == pytest.approx(one.value - other.value)
    assert gap.high - gap.low < 0.6 * (one.estimate().high - one.estimate().low), "what they share does not count"
    assert one.value == pytest.approx(kendall_tau(good, truth.mean(axis=0)))
    (mean,) = resampled(kendall_tau, [np.stack([good, -good])], truth, 10)
    assert mean.value == pytest.approx(0), "of a recipe's rankers the mean counts"


def test_what_a_ranker_knows_beyond_a_third_list_is_told_from_what_it_took_from_there():
    rng = np.random.default_rng(2)
    size, quality = rng.normal(size=(2, 80))
    truth = size + quality + 0.1 * rng.normal(size=(3, 80))
    echo, knowing = size + 0.3 * rng.normal(size=80), 0.5 * size + quality
    sized, known = (sample.estimate() for sample in resampled(partial_tau, [echo, knowing], truth, 200, beside=[size]))
    assert sized.low < 0.1 < 0.4 < known.low
    assert kendall_tau(echo, truth.mean(axis=0)) > 0.3
