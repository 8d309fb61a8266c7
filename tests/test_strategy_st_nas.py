"""ST-NAS: noise of the size that the posterior asks for, weights drawn evenly, a score that is their average."""

import json
import random
import shutil
from statistics import fmean, variance
from typing import Any

import pytest
import torch
from conftest import FASHION
from strategy_parts import DATA, MINI_TOML, Moves, run, settings, strategy_of

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.errors import CheckpointError, TrainingError
from scarlet_zoo.models.supernet import load_supernet
from scarlet_zoo.nas.one_shot import OneShot
from scarlet_zoo.nas.strategies.registry import scorer_of
from scarlet_zoo.nas.strategies.spos import Spos
from scarlet_zoo.nas.strategies.st_nas import langevin_noise, noise_deviation
from scarlet_zoo.training.learner import Course
from scarlet_zoo.training.loop import train


def test_the_noise_has_the_deviation_of_the_formula():
    assert noise_deviation(0.01, 1.0, 50_000) == pytest.approx(6.325e-4, rel=1e-3)
    moved = []
    for seed in (1, 1, 2):
        # What plain descent makes of it where there is no other gradient.
        parameter = torch.nn.Parameter(torch.zeros(100_000))
        langevin_noise([parameter], noise_deviation(0.01, 1.0, 50_000) / 0.01, seed)
        torch.optim.SGD([parameter], 0.01).step()
        moved.append(parameter.detach())
    assert float(moved[0].std()) == pytest.approx(6.325e-4, rel=0.02)
    assert torch.equal(moved[0], moved[1])
    assert not torch.equal(moved[0], moved[2])


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_the_chain_has_the_mean_and_the_variance_of_a_gaussian_posterior(momentum):
    # Mean loss (theta - 3)^2 / 2 over N pictures: the posterior is normal with mean 3 and variance 1 / N.
    pictures, rate, chains = 100, 0.02, 4000
    theta = torch.nn.Parameter(torch.full((chains,), 3.0))
    descent = torch.optim.SGD([theta], rate, momentum, nesterov=momentum > 0)
    seen = []
    for step in range(400):
        theta.grad = theta.detach() - 3
        langevin_noise([theta], noise_deviation(rate, 1.0, pictures, momentum) / rate, step)
        descent.step()
        if step >= 200 and step % 20 == 0:
            seen.append(theta.detach().clone())
    drawn = torch.cat(seen)
    assert float(drawn.mean()) == pytest.approx(3, abs=2e-3)
    # A step that is not small widens it: without momentum by 1 / (1 - eta / 2).
    assert float(drawn.var()) * pictures == pytest.approx(1, rel=0.12)


class Descent(Spos):
    """Uniform sampling with another strategy's learning rates."""

    like: Any

    def learning_rate(self, step):
        return self.like.learning_rate(step)

    def set_up(self, course):
        super().set_up(course)
        self.like.set_up(course)


@pytest.mark.slow
def test_without_temperature_it_is_plain_descent(tmp_path):
    cold = strategy_of("st-nas", temperature=0, share=0.6)
    done = train(cold, DATA, settings(), tmp_path / "cold")
    torch.manual_seed(0)
    plain = Descent(cold.space, "plain", None, 0)
    plain.like, plain.identity = cold, dict
    same = train(plain, DATA, settings(), tmp_path / "plain")
    assert all(torch.equal(done.state[key], same.state[key]) for key in same.state)
    warm = train(strategy_of("st-nas", share=1.0), DATA, settings(), tmp_path / "warm")
    assert not torch.equal(warm.state["classifier.weight"], same.state["classifier.weight"])


def test_clipping_leaves_the_noise_as_large_as_the_posterior_asks(tmp_path):
    strategy = strategy_of("st-nas", share=1.0, everywhere=True)
    before = {key: value.clone() for key, value in strategy.supernet.state_dict().items()}
    how = settings(max_steps=1, momentum=0.0, weight_decay=0.0, clip_norm=1e-9)
    after = train(strategy, DATA, how, tmp_path / "out").state
    moved = torch.cat([(after[key] - before[key]).flatten() for key in before if key.endswith("conv_pw.weight")])
    rate = how.lr * strategy.options.rate
    wanted = noise_deviation(rate, strategy.options.temperature, len(DATA.part("train")))
    assert float(moved.std()) == pytest.approx(wanted, rel=0.05)


@pytest.mark.parametrize("everywhere", [False, True])
def test_noise_is_on_the_path_or_everywhere(everywhere, tmp_path):
    strategy = strategy_of("st-nas", share=1.0, everywhere=everywhere)
    moves = Moves(strategy.supernet)
    _, rows = run(strategy, tmp_path, max_steps=1)
    arch = Arch.parse(rows[0]["archs"][0], strategy.space)
    on_path = tuple(f"layers.{i}.{token}." for i, token in enumerate(arch.tokens))
    off = [name for name in moves.names() if name.startswith("layers.") and not name.startswith(on_path)]
    assert bool(off) == everywhere
    assert set(moves.names()) <= set(rows[0]["changed"])


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A whole run of a short schedule, by the command line, whose samples stay where they were written."""
    from scarlet_zoo.cli import main

    folder = tmp_path_factory.mktemp("st")
    (folder / "small.toml").write_text(MINI_TOML)
    code = main.run([
        "supernet", "train", "--space", str(folder / "small.toml"), "--data", "fashion-mnist",
        "--data-dir", str(FASHION),
        "--validation", "59920", "--batch-size", "8", "--epochs", "2", "--strategy", "st-nas", "--option", "samples=3",
        "--out", str(folder / "run"), "--json",
    ])  # fmt: skip
    assert code == 0
    return folder / "run"


@pytest.mark.slow
def test_as_many_weights_are_kept_as_asked_for_and_the_score_is_their_average(run_folder):
    bench = OneShot(run_folder / "supernet.safetensors", ("fashion-mnist", FASHION, 59_920), 40, 100)
    files = [run_folder / name for name in bench.metadata["posterior"].split()]
    assert len(files) == 3
    weights = [load_supernet(file)[0] for file in files]
    assert not torch.equal(*(net.get_parameter("classifier.weight") for net in weights[:2]))
    arch = Arch.sample(bench.supernet.space, random.Random(1))
    single = [bench.accuracy(arch, one) for one in weights]
    told = scorer_of(bench)(arch)
    assert told["accuracy"] == pytest.approx(fmean(single))
    assert told["accuracy_variance"] == pytest.approx(variance(single))


@pytest.mark.slow
def test_branches_are_sampled_and_a_search_tells_the_variance(run_folder, tmp_path, scarlet):
    archs = [json.loads(line)["archs"][0] for line in (run_folder / "steps.jsonl").read_text().splitlines()]
    assert any("/" in arch for arch in archs)
    code, told, err = scarlet(
        "search", "--supernet", run_folder / "supernet.safetensors", "--data-dir", FASHION, "--out", tmp_path / "found",
        "--evaluations", 4, "--population", 2, "--validation-images", 40, "--bn-images", 20, "--json",
    )  # fmt: skip
    assert code == 0
    assert err.startswith("note: judged on 40 validation images: differences below about 1")
    assert err.count("\n") == 1
    assert all(row["values"]["accuracy_variance"] >= 0 for row in json.loads(told)["front"])


def test_learning_rates_go_down_to_the_rate_of_the_draws_and_stay(tmp_path):
    strategy = strategy_of("st-nas", share=0.5, rate=0.2)
    strategy.set_up(Course(settings(lr=0.1), DATA, 20, 20, tmp_path))
    rates = [strategy.learning_rate(step) for step in range(20)]
    assert rates[10:] == [pytest.approx(0.02)] * 10
    assert min(rates[1:10]) >= 0.02
    assert max(rates) == pytest.approx(0.1)


@pytest.mark.slow
def test_a_lost_sample_and_bad_options_are_told(run_folder, tmp_path):
    shutil.copy(run_folder / "supernet.safetensors", tmp_path)
    bench = OneShot(tmp_path / "supernet.safetensors", ("fashion-mnist", FASHION, 59_920), 40, 100)
    with pytest.raises(CheckpointError, match=r"posterior-0\.safetensors: no such file"):
        scorer_of(bench)
    with pytest.raises(TrainingError, match="share"):
        strategy_of("st-nas", share=2)
