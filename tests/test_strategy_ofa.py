"""Entangled supernets: a choice is a slice, a subnet is its path, and what the two recipes do in a step."""

import copy
import itertools
import json
import random
from dataclasses import replace

import pytest
import torch
from conftest import ROOT, TINY, fashion
from strategy_parts import DATA, MINI, run, settings, strategy_of
from supernet_parts import agreeing, images, lively

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.choices import mbconv_choices
from scarlet_zoo.errors import ScarletError, TrainingError
from scarlet_zoo.inference.accuracy import validate_part
from scarlet_zoo.inference.load import load
from scarlet_zoo.models.entangled import EntangledBlocks
from scarlet_zoo.models.supernet import Supernet, load_supernet, save_supernet
from scarlet_zoo.nas.search.derive import derive
from scarlet_zoo.nas.search.scoring import Scoring
from scarlet_zoo.nas.search.search import search
from scarlet_zoo.nas.search.settings import SearchSettings
from scarlet_zoo.nas.strategies.base import CROSS_ENTROPY
from scarlet_zoo.nas.strategies.sandwich import DISTILLATION
from scarlet_zoo.nas.train_supernet import train_supernet
from scarlet_zoo.training.fast_layers import fast_layers
from scarlet_zoo.training.learner import Course, StepBatch
from scarlet_zoo.training.run import DataPlan


def sliced(layer, token, expand, kernel, gate):
    """What a block of these sizes computes, written out by hand from the tensors of the whole."""
    whole, hidden = layer.whole, layer.whole.conv_pw.in_channels * expand
    edge = (whole.conv_dw.kernel_size[0] - kernel) // 2
    stop = whole.conv_dw.kernel_size[0] - edge

    def norm(x, bn, count):
        y = torch.nn.functional.batch_norm(x, bn.running_mean[:count], bn.running_var[:count], bn.weight[:count],
                                           bn.bias[:count], eps=bn.eps)  # fmt: skip
        return getattr(bn, "act", torch.nn.Identity())(y)

    def compute(x):
        y = norm(torch.conv2d(x, whole.conv_pw.weight[:hidden]), whole.bn1, hidden)
        y = torch.conv2d(y, whole.conv_dw.weight[:hidden, :, edge:stop, edge:stop], stride=whole.conv_dw.stride,
                         padding=kernel // 2, groups=hidden)  # fmt: skip
        y = norm(y, whole.bn2, hidden)
        if gate:
            down, up, inner = whole.se.conv_reduce, whole.se.conv_expand, hidden // 4
            s = torch.conv2d(y.mean((2, 3), keepdim=True), down.weight[:inner, :hidden], down.bias[:inner]).relu()
            y = y * torch.nn.functional.hardsigmoid(torch.conv2d(s, up.weight[:hidden, :inner], up.bias[:hidden]))
        y = norm(torch.conv2d(y, whole.conv_pwl.weight[:, :hidden]), whole.bn3, whole.bn3.num_features)
        return x + y if whole.has_skip else y

    assert token in layer.forms
    return compute


def test_every_choice_is_the_centre_of_the_kernel_and_the_first_channels_of_the_whole():
    supernet = lively(TINY, entangled=True)
    for layer, plan in zip(supernet.layers, TINY.layers, strict=True):
        x = images(TINY, 3)[:, :1].repeat(1, layer.whole.conv_pw.in_channels, 1, 1)[..., :9, :9]
        for token in (token for token in plan.tokens if token != "id"):
            choice = TINY.choice(token)
            by_hand = sliced(layer, token, choice.expand_ratio, choice.kernel_size, choice.squeeze_excite)
            with torch.inference_mode():
                assert torch.allclose(layer(x, token), by_hand(x), atol=1e-4), token
    named = {key for key, _ in supernet.named_parameters() if key.startswith("layers.0.")}
    assert all(key.startswith("layers.0.whole.") for key in named)


@pytest.mark.slow
@pytest.mark.parametrize("skip", ["identity", "plain"])
def test_a_subnet_its_fold_and_its_file_compute_the_path(skip, tmp_path):
    supernet = lively(TINY, skip, entangled=True)
    arch = next(a for a in (Arch.sample(TINY, random.Random(seed)) for seed in range(50)) if len(a.skipped) > 1)
    agreeing(supernet, arch, tmp_path)
    save_supernet(supernet, tmp_path / "s.safetensors", {})
    read, _ = load_supernet(tmp_path / "s.safetensors")
    assert read.entangled
    with torch.inference_mode():
        assert torch.equal(read(images(TINY), arch), supernet(images(TINY), arch))


def test_a_step_of_a_small_choice_trains_its_slice_only_and_in_it_the_larger_ones():
    supernet = lively(MINI, entangled=True).train()
    small, large = (Arch.parse(f"small:{token}-{token}-{token}-{token}", MINI) for token in ("e3k3", "e6k5"))
    x = images(MINI, 8)
    with torch.inference_mode():
        before = supernet.eval()(x, large)
    supernet.train()(x, small).square().mean().backward()
    whole = supernet.layers[1].whole
    hidden = whole.conv_pw.in_channels * 3
    gradient = whole.conv_dw.weight.grad
    assert gradient[:hidden, :, 1:4, 1:4].abs().min() > 0
    gradient[:hidden, :, 1:4, 1:4] = 0
    assert not gradient.any()
    assert not whole.bn2.running_mean[hidden:].eq(0).all()
    torch.optim.SGD(supernet.parameters(), 0.1).step()
    with torch.inference_mode():
        assert not torch.allclose(supernet.eval()(x, large), before)


def test_statistics_of_a_slice_are_those_of_the_whole():
    supernet = Supernet(MINI, "plain", entangled=True).train()
    supernet(images(MINI, 8), Arch.parse("small:e3k3-e3k3-id-id", MINI))
    norm = supernet.get_submodule("layers.0.whole.bn1")
    assert isinstance(norm, torch.nn.BatchNorm2d)
    half, means = norm.num_features // 2, norm.running_mean
    assert means is not None
    assert means[:half].ne(0).all()
    assert means[half:].eq(0).all()
    assert norm.num_batches_tracked == 1


def test_a_supernet_can_be_copied_after_it_has_run():
    supernet = lively(MINI, entangled=True).train()
    arch = Arch.sample(MINI, random.Random(0))
    supernet(images(MINI), arch).sum().backward()
    with torch.inference_mode():
        assert torch.equal(copy.deepcopy(supernet).eval()(images(MINI), arch), supernet.eval()(images(MINI), arch))


def test_fast_layers_compute_the_same_gradients():
    space = replace(MINI, choices=mbconv_choices(kernel_sizes=(3, 5)))
    space = replace(
        space, layers=tuple(replace(layer, tokens=("e3k3", "e3k5se", "e6k5", "e6k5se")) for layer in MINI.layers)
    )
    usual, fast = (lively(space, entangled=True).train().to(memory_format=torch.channels_last) for _ in range(2))
    x = images(space, 32).to(memory_format=torch.channels_last)
    for tokens in ("e3k3-e3k5se-e6k5-e6k5se", "e6k5se-e6k5-e3k5se-e3k3"):
        arch = Arch.parse(f"small:{tokens}", space)
        usual(x, arch).square().mean().backward()
        with fast_layers(fast) as count:
            assert count > 20
            fast(x, arch).square().mean().backward()
    for (name, one), other in zip(usual.named_parameters(), fast.parameters(), strict=True):
        assert (one.grad - other.grad).norm() < 1e-3 * one.grad.norm() + 1e-6, name
    for (name, one), other in zip(usual.named_buffers(), fast.buffers(), strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-5), name


def terms_of(name, tmp_path, step, targets, **options):
    strategy = strategy_of(name, **options)
    strategy.set_up(Course(settings(), DATA, 10, 10, tmp_path))
    strategy.model.train()
    return strategy, list(strategy.terms(strategy.model, StepBatch(step, (images(MINI, 8),), targets)))


@pytest.mark.parametrize("name", ["ofa", "bignas"])
def test_a_step_is_a_sandwich_whose_small_ones_learn_from_the_largest_alone(name, tmp_path):
    zeros, ones = torch.zeros(8, dtype=torch.long), torch.ones(8, dtype=torch.long)
    strategy, found = terms_of(name, tmp_path / "a", 3, zeros)
    _, others = terms_of(name, tmp_path / "b", 3, ones)
    assert strategy.supernet.entangled
    assert [term.name for term in found] == [CROSS_ENTROPY, *[DISTILLATION] * 3]
    assert (found[0].arch, found[-1].arch) == (strategy.largest, strategy.smallest)
    assert not torch.equal(found[0].loss, others[0].loss)
    assert all(torch.equal(one.loss, other.loss) for one, other in zip(found[1:], others[1:], strict=True))


def test_the_largest_can_be_trained_first_alone(tmp_path):
    targets = torch.zeros(8, dtype=torch.long)
    _, before = terms_of("ofa", tmp_path / "a", 4, targets, largest_first=0.5)
    _, after = terms_of("ofa", tmp_path / "b", 5, targets, largest_first=0.5)
    assert ([term.name for term in before], len(after)) == ([CROSS_ENTROPY], 4)


def test_bignas_begins_as_a_chain_of_shortcuts_and_ends_at_a_constant_rate(tmp_path):
    strategy, _ = terms_of("bignas", tmp_path, 0, torch.zeros(8, dtype=torch.long))
    blocks = [layer.whole for layer in strategy.supernet.layers if isinstance(layer, EntangledBlocks)]
    assert {bool(block.has_skip) for block in blocks} == {True, False}
    assert all(block.bn3.weight.eq(0).all() == block.has_skip for block in blocks)
    peak = strategy.course.settings.lr
    rates = [strategy.learning_rate(step) for step in range(10)]
    assert rates[0] == peak == max(rates)
    assert rates[8] == rates[9] == pytest.approx(0.05 * peak)
    falls = [after / before for before, after in itertools.pairwise(rates[1:8])]
    assert max(falls) == pytest.approx(min(falls))
    assert max(falls) < 1


def test_what_an_entangled_supernet_is_not_for(tmp_path):
    with pytest.raises(ScarletError, match="sets of paths"):
        strategy_of("ofa", MINI.with_path_sets())
    run(strategy_of("ofa"), tmp_path, max_steps=1)
    trained = train_supernet(MINI, data=DataPlan(name="fashion-mnist", images=200), out=tmp_path / "s", strategy="ofa",
                             settings=settings(max_steps=1))  # fmt: skip
    how = SearchSettings(objectives=("score",), evaluations=2, population=2)
    with pytest.raises(TrainingError, match="entangled supernet"):
        search(trained.path, out=tmp_path / "found", settings=how, scoring=Scoring(strategy="bn-nas"))


@pytest.mark.slow
def test_derived_weights_give_the_accuracy_of_the_search(tmp_path):
    trained = train_supernet(MINI, data=DataPlan(name="fashion-mnist", images=2000), out=tmp_path / "s", strategy="ofa",
                             settings=settings(max_steps=12, batch_size=32))  # fmt: skip
    how = SearchSettings(objectives=("loss", "macs"), evaluations=3, population=3)
    front = search(trained.path, out=tmp_path / "found", settings=how, scoring=Scoring(validation=500))
    (network,) = derive(front, out=tmp_path / "own", choose="0", supernet=trained.path)
    found = validate_part(load(str(network.path), "auto"), fashion(MINI), "validation", batch=500, limit=500)
    assert found.top1 == pytest.approx(front.candidates[0].values["accuracy"], abs=0.05)


def test_what_the_page_says_of_networks_without_a_training_is_the_evidence():
    rows = json.loads((ROOT / "benchmarks" / "results" / "entangled.json").read_text())["compared"]
    table = [f"| {row['latency']:.2f} | {row['accuracy']:.2f} % | {row['alone']:.2f} % | "
             f"{row['alone'] - row['accuracy']:.2f} |" for row in rows if row["skip"] == "plain"]  # fmt: skip
    text = (ROOT / "docs" / "strategies.md").read_text()
    assert "\n".join(table) in text.partition("<!-- entangled -->")[2].partition("<!-- end of entangled -->")[0]
    assert sorted(rows, key=lambda row: -row["accuracy"]) == sorted(rows, key=lambda row: -row["alone"])
