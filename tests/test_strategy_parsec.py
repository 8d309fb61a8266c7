"""PARSEC: importance weights, the gradient of a distribution over paths, and which half learns what."""

import itertools
import json
import math
import random
from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import settings as how_often
from hypothesis import strategies as st
from strategy_parts import DATA, MINI, run, settings, strategy_of

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.cost import arch_cost
from scarlet_zoo.errors import TrainingError
from scarlet_zoo.models.supernet import save_supernet
from scarlet_zoo.nas.one_shot import OneShot
from scarlet_zoo.nas.search.scoring import habits_of
from scarlet_zoo.nas.strategies.parsec import Parsec, importance
from scarlet_zoo.nas.strategies.path_distribution import PathDistribution
from scarlet_zoo.training.learner import Course, StepBatch

# Two layers of two choices each: four architectures.
FOUR = replace(MINI, layers=tuple(replace(layer, tokens=layer.tokens[:2]) for layer in MINI.layers[:2]))
numbers = st.floats(-3, 3)
alphas = st.lists(st.lists(numbers, min_size=2, max_size=2), min_size=2, max_size=2)


def every_arch(space):
    return [Arch.of(space, tokens) for tokens in itertools.product(*space.decisions)]


def ready(space=MINI, count=8, **options):
    strategy = strategy_of("parsec", space, **options)
    strategy.set_up(Course(settings(batch_size=count), DATA, 4, 4, None))
    return strategy


def batch_of(step=0, count=8):
    images = torch.arange(float(count)).view(count, 1, 1, 1).expand(count, 1, 28, 28)
    return StepBatch(step, (images,), torch.zeros(count, dtype=torch.int64))


class Told:
    """In place of a supernet: logits that say class 0 as an architecture's quality says; it keeps who ran on what."""

    def __init__(self, quality):
        self.quality, self.seen, self.weight = quality, [], torch.ones((), requires_grad=True)

    def __call__(self, images, arch):
        self.seen.append((arch, images[:, 0, 0, 0].tolist(), torch.is_grad_enabled()))
        told = torch.tensor([float(self.quality(arch))] + [0.0] * 9)
        return (told * self.weight).expand(len(images), 10)


@given(st.lists(st.floats(-1e4, 0), min_size=1, max_size=8), st.data(), st.floats(0.5, 1000))
def test_importance_weights_sum_to_one_and_draws_add_up(likelihoods, data, temperature):
    counts = data.draw(st.lists(st.integers(1, 5), min_size=len(likelihoods), max_size=len(likelihoods)))
    found = importance(torch.tensor(likelihoods).double(), torch.tensor(counts).double(), temperature)
    assert float(found.sum()) == pytest.approx(1)
    assert bool((found >= 0).all())
    each = [value for value, count in zip(likelihoods, counts, strict=True) for _ in range(count)]
    alone = importance(torch.tensor(each).double(), torch.ones(len(each)).double(), temperature)
    places = torch.tensor([place for place, count in enumerate(counts) for _ in range(count)])
    assert torch.allclose(torch.zeros(len(counts)).double().index_add(0, places, alone), found, atol=1e-12)


@given(alphas, st.floats(-5, 0))
@how_often(deadline=None, max_examples=20)
def test_equal_losses_have_no_gradient_on_average(alpha, likelihood):
    distribution, archs = PathDistribution(FOUR, alpha), every_arch(FOUR)
    mean = [torch.zeros(2).double() for _ in range(2)]
    for pair in itertools.product(archs, repeat=2):
        drawn = Counter(pair)
        omega = importance(torch.full((len(drawn),), likelihood).double(), torch.tensor([*drawn.values()]).double(), 1)
        chance = math.exp(sum(map(distribution.log_probability, pair)))
        for total, part in zip(mean, distribution.gradient(dict(zip(drawn, omega.tolist(), strict=True))), strict=True):
            total += chance * part
    assert all(bool((total.abs() < 1e-12).all()) for total in mean)


def test_the_estimate_is_that_of_all_architectures():
    alpha, archs = [[0.3, -0.4], [-0.2, 0.9]], every_arch(FOUR)
    likelihood = dict(zip(archs, (-1.0, -3.0, -0.5, -2.0), strict=True))
    distribution = PathDistribution(FOUR, alpha)
    # Exactly: the gradient of log sum_A P(A) p(y | A), by autograd.
    given_ = [torch.tensor(values, dtype=torch.float64, requires_grad=True) for values in alpha]
    logs = []
    for arch in archs:
        decided = zip(given_, FOUR.decisions, arch.decisions, strict=True)
        log_prior = sum(values.log_softmax(0)[tokens.index(token)] for values, tokens, token in decided)
        logs.append(log_prior + likelihood[arch])
    exact = torch.autograd.grad(torch.stack(logs).logsumexp(0), given_)
    drawn = Counter(distribution.draw(20_000, random.Random(0)))
    omega = importance(torch.tensor([likelihood[arch] for arch in drawn]).double(),
                       torch.tensor([*drawn.values()]).double(), 1)  # fmt: skip
    estimate = distribution.gradient(dict(zip(drawn, omega.tolist(), strict=True)))
    for found, wanted in zip(estimate, exact, strict=True):
        assert torch.allclose(found, wanted, atol=0.02)
        assert float(wanted.abs().max()) > 0.1
    posterior = {arch: math.exp(distribution.log_probability(arch) + likelihood[arch]) for arch in archs}
    whole = sum(posterior.values())
    enumerated = distribution.gradient({arch: value / whole for arch, value in posterior.items()})
    assert all(torch.allclose(found, wanted, atol=1e-12) for found, wanted in zip(enumerated, exact, strict=True))


def test_draws_have_the_probabilities_of_the_distribution():
    distribution = PathDistribution(FOUR, [[0.0, 1.0], [0.5, 0.0]])
    drawn = Counter(distribution.draw(20_000, random.Random(1)))
    for arch in every_arch(FOUR):
        assert drawn[arch] / 20_000 == pytest.approx(math.exp(distribution.log_probability(arch)), abs=0.015)


def test_with_one_best_architecture_the_entropy_only_falls():
    best = every_arch(FOUR)[2]
    strategy = ready(FOUR, paths=32, lr_alpha=1.0)
    model = Told(lambda arch: 8.0 if arch == best else 0.0)
    entropies = [strategy.distribution.entropy()]
    for step in range(40):
        list(strategy.terms(model, batch_of(step)))
        entropies.append(strategy.distribution.entropy())
    assert entropies[0] == pytest.approx(2 * math.log(2))
    assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(entropies))
    assert entropies[-1] < 0.1 * entropies[0]
    assert strategy.distribution.likeliest() == best


@pytest.mark.parametrize("factor", [0.25, 2.0, 7.5])
def test_the_number_of_paths_follows_the_entropy(factor):
    strategy = ready(adaptive=True, entropy_factor=factor)
    entropy = sum(math.log(len(tokens)) for tokens in MINI.decisions)
    assert strategy.count == max(2, round(factor * entropy))
    assert strategy.drawn(0, 0).total() == strategy.drawn(3, 1).total() == strategy.count
    strategy.distribution = PathDistribution(MINI, [[50.0] + [0.0] * (len(t) - 1) for t in MINI.decisions])
    assert strategy.count == 2
    assert ready(paths=5).drawn(0, 0).total() == 5


def test_the_first_half_is_the_weights_and_the_second_is_alphas():
    strategy, model = ready(paths=6), Told(lambda arch: 0.0)
    terms = list(strategy.terms(model, batch_of(count=9)))
    first, second = list(range(5)), list(range(5, 9))
    mine, theirs = list(strategy.drawn(0, 0)), list(ready(paths=6).drawn(0, 1))
    assert [(arch, pixels) for arch, pixels, _ in model.seen] == (
        [(arch, first) for arch in mine] * 2 + [(arch, second) for arch in theirs]
    )
    learned = [False] * len(mine) + [True] * len(mine) + [False] * len(theirs)
    assert [gradient for *_, gradient in model.seen] == learned == [term.loss is not None for term in terms]
    assert [term.arch for term in terms] == [arch for arch, *_ in model.seen]
    assert mine != theirs


def test_losses_have_the_importance_of_their_paths():
    strategy = ready(paths=12, temperature=2.0)
    model = Told(lambda arch: 0.1 * len(arch.skipped) + 0.05 * arch.tokens.count("e6k5"))
    drawn = strategy.drawn(0, 0)
    terms = [term for term in strategy.terms(model, batch_of()) if term.loss is not None]
    plain = [-4 * torch.nn.functional.cross_entropy(model(batch_of().images[:4], a), torch.zeros(4).long()).detach()
             for a in drawn]  # fmt: skip
    omega = importance(torch.stack(plain).double(), torch.tensor([*drawn.values()]).double(), 2.0)
    assert len({round(value, 4) for value in omega.tolist()}) > 3
    for term, share, arch in zip(terms, omega.tolist(), drawn, strict=True):
        loss = strategy.criterion(model(batch_of().images[:4], arch), torch.zeros(4).long())
        assert float(term.loss.detach()) == pytest.approx(share * float(loss.detach()), rel=1e-5)


def test_one_path_is_run_for_each_term_that_is_asked_for():
    strategy, model = ready(paths=6), Told(lambda arch: 0.0)
    for asked, _ in enumerate(strategy.terms(model, batch_of()), start=1):
        assert len(model.seen) == asked


def test_a_path_that_explains_nothing_is_not_run_again():
    strategy, best = ready(FOUR, paths=16), every_arch(FOUR)[1]
    terms = list(strategy.terms(Told(lambda arch: 0.0 if arch == best else -20.0), batch_of()))
    assert [term.arch for term in terms if term.loss is not None] == [best]


def test_all_processes_have_the_likelihood_of_all_pictures():
    strategy, model = ready(FOUR, paths=16), Told(lambda arch: 0.0)
    favourite = every_arch(FOUR)[3]

    def gather(own):
        # The other process finds that one path explains its pictures, and the others do not.
        (drawn,) = own.shape[1:]
        archs = [arch for arch, *_ in model.seen[-drawn:]]
        return torch.cat([own, torch.tensor([[0.0 if arch == favourite else 50.0 for arch in archs]])])

    strategy.course = replace(strategy.course, gather=gather)
    assert [term.arch for term in strategy.terms(model, batch_of()) if term.loss is not None] == [favourite]
    assert strategy.distribution.likeliest() == favourite


@pytest.mark.parametrize("beta", [0.0, 0.7])
def test_the_cost_takes_from_paths_what_they_exceed_the_target_by(beta):
    archs = every_arch(MINI)[::37]
    target = sorted(arch_cost(arch).macs for arch in archs)[len(archs) // 2]
    strategy = ready(beta=beta, target_macs=target)
    drawn = Counter({arch: 1 + number % 3 for number, arch in enumerate(archs)})
    shares = {arch: 1 / len(archs) for arch in archs}
    priced = strategy.priced(shares, drawn)
    excess = {arch: max(0.0, arch_cost(arch).macs / target - 1) for arch in archs}
    total = sum(excess[arch] for arch in drawn.elements())
    for arch in archs:
        assert priced[arch] == pytest.approx(shares[arch] - beta * drawn[arch] * excess[arch] / total)
    cheap = {arch: 1.0 for arch in archs if not excess[arch]}
    assert strategy.priced(cheap, Counter(cheap)) == cheap


def test_the_cost_makes_dear_architectures_unlikely():
    macs = [arch_cost(arch).macs for arch in every_arch(FOUR)]
    strategy = ready(FOUR, paths=16, lr_alpha=0.2, beta=1.0, target_macs=min(macs))
    for step in range(40):
        list(strategy.terms(Told(lambda arch: 0.0), batch_of(step)))
    assert arch_cost(strategy.distribution.likeliest()).macs == min(macs)
    assert strategy.distribution.log_probability(every_arch(FOUR)[macs.index(min(macs))]) > math.log(0.5)


def test_the_score_is_the_log_probability_from_the_file(tmp_path):
    strategy = strategy_of("parsec")
    rng = random.Random(0)
    alpha = [[rng.gauss(0, 1) for _ in tokens] for tokens in MINI.decisions]
    strategy.load_state_dict({"alpha": [torch.tensor(values, dtype=torch.float64) for values in alpha]})
    save_supernet(strategy.supernet, tmp_path / "s.safetensors", strategy.metadata())
    bench = OneShot(tmp_path / "s.safetensors", ("nowhere", None, None))
    score = Parsec.scorer(bench)
    scores = {arch: score(arch)["score"] for arch in every_arch(MINI)}
    assert sum(map(math.exp, scores.values())) == pytest.approx(1)
    best = Arch.of(
        MINI, (tokens[values.index(max(values))] for tokens, values in zip(MINI.decisions, alpha, strict=True))
    )
    assert max(scores, key=scores.__getitem__) == best
    assert bench.metadata["likeliest"] == str(best)
    assert json.loads(bench.metadata["alpha"]) == alpha
    assert habits_of("parsec", None) == ("score", "nsga2")


@pytest.mark.slow
def test_alpha_learns_in_a_training_and_is_in_its_file_and_checkpoint(tmp_path):
    strategy = strategy_of("parsec", temperature=20)
    _, rows = run(strategy, tmp_path, max_steps=3)
    alpha = strategy.state_dict()["alpha"]
    assert all(bool((values != 0).all()) for values in alpha)
    again = strategy_of("parsec", temperature=20)
    run(again, tmp_path, max_steps=3)  # finished: only read
    assert again.metadata() == strategy.metadata()
    assert json.loads(again.metadata()["alpha"]) == [values.tolist() for values in alpha]
    assert len(rows[0]["archs"]) >= 16


def test_a_supernet_without_a_distribution_is_refused(tmp_path):
    save_supernet(strategy_of("spos").supernet, tmp_path / "s.safetensors", {})
    with pytest.raises(
        TrainingError, match=r"no distribution over paths in the file, wanted a supernet of strategy parsec"
    ):
        Parsec.scorer(OneShot(tmp_path / "s.safetensors", ("d", None, None)))


@pytest.mark.parametrize("given_", [{"paths": 0}, {"temperature": 0}, {"beta": 1}, {"beta": -1, "target_macs": 5}])
def test_options_out_of_range_are_refused(given_):
    with pytest.raises(TrainingError, match="strategy parsec:"):
        strategy_of("parsec", **given_)


def test_one_picture_cannot_be_halved():
    with pytest.raises(TrainingError, match="got 1 images for each step and process, wanted 2 or more"):
        next(ready().terms(Told(lambda arch: 0.0), batch_of(count=1)))
