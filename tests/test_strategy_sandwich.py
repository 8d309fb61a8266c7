"""The sandwich rule: who runs when, who learns from what, and which candidates attention picks."""

import itertools
import random
from collections import Counter

import pytest
import torch
from scipy.stats import chisquare
from strategy_parts import DATA, MINI, run, settings, strategy_of

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.cost import CostTable, arch_cost
from scarlet_zoo.errors import TrainingError
from scarlet_zoo.nas.sampling import MacsSampler
from scarlet_zoo.nas.strategies import sandwich
from scarlet_zoo.nas.strategies.base import CROSS_ENTROPY
from scarlet_zoo.nas.strategies.sandwich import DISTILLATION, distillation
from scarlet_zoo.training.learner import Course, StepBatch


def every_arch(space):
    return [Arch.of(space, tokens) for tokens in itertools.product(*space.decisions)]


def ready(tmp_path, **options):
    strategy = strategy_of("sandwich", **options)
    strategy.set_up(Course(settings(), DATA, 4, 4, tmp_path))
    strategy.model.train()
    return strategy


def batch_of(step=0, count=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 1, 28, 28, generator=generator)
    return StepBatch(step, (images,), torch.randint(0, 10, (count,), generator=generator))


def gradients(strategy):
    return {key: value.grad for key, value in strategy.supernet.named_parameters() if value.grad is not None}


def test_costs_are_a_sum_over_decisions():
    table, every = CostTable(MINI), every_arch(MINI)
    macs = [arch_cost(arch).macs for arch in every]
    assert [table.macs(arch) for arch in every] == macs
    assert [table.params(arch) for arch in every] == [arch_cost(arch).params for arch in every]
    assert arch_cost(table.largest).macs == max(macs)
    assert arch_cost(table.smallest).macs == min(macs)
    assert table.smallest.skipped == (2, 3)


def test_branches_count_and_the_largest_has_them_all():
    space = MINI.with_branches()
    table = CostTable(space)
    for number in range(30):
        arch = Arch.sample(space, random.Random(number))
        assert table.params_and_macs(arch) == (arch_cost(arch).params, arch_cost(arch).macs)
    assert table.largest.branches == space.branches
    assert table.smallest.branches == ()


@pytest.mark.parametrize("attentive", ["none", "best", "worst"])
def test_the_largest_runs_first_and_the_smallest_last(attentive, tmp_path):
    strategy = strategy_of("sandwich", attentive=attentive, children=2)
    _, rows = run(strategy, tmp_path, max_steps=4)
    for row in rows:
        assert row["archs"][0] == str(strategy.largest) == "small:e6k5-e6k5-e6k5-e6k5"
        assert row["archs"][-1] == str(strategy.smallest) == "small:e3k3-e3k3-id-id"
        assert len(row["archs"]) == (4 if attentive == "none" else 2 + 2 * (3 + 1))
        assert set(row["loss_terms"]) == {CROSS_ENTROPY, DISTILLATION}
    assert len({tuple(row["archs"]) for row in rows}) == 4


def test_no_children_leave_both_ends(tmp_path):
    _, rows = run(strategy_of("sandwich", children=0), tmp_path, max_steps=1)
    assert len(rows[0]["archs"]) == 2


def test_the_teacher_has_no_gradient_and_its_own_parameters_none_from_the_others(tmp_path, monkeypatch):
    strategy, teachers = ready(tmp_path), []
    monkeypatch.setattr(sandwich, "distillation",
                        lambda logits, teacher: teachers.append(teacher) or distillation(logits, teacher))  # fmt: skip
    archs = []
    for term in strategy.terms(strategy.model, batch_of()):
        if term.arch != strategy.largest:
            assert term.name == DISTILLATION
            term.loss.backward()
            archs.append(term.arch)
    assert len(teachers) == 3
    assert not any(teacher.requires_grad for teacher in teachers)
    found = gradients(strategy)
    for layer, tokens in enumerate(zip(*(arch.tokens for arch in archs), strict=True)):
        learned = {key.split(".")[2] for key in found if key.startswith(f"layers.{layer}.")}
        assert learned == set(tokens) - {"id"}
    assert found["classifier.weight"].abs().sum() > 0


def test_gradients_of_a_step_are_the_sum_of_its_terms(tmp_path):
    together, alone = ready(tmp_path), {}
    for term in together.terms(together.model, batch_of()):
        term.loss.backward()
    for number in range(4):
        strategy = ready(tmp_path)
        list(strategy.terms(strategy.model, batch_of()))[number].loss.backward()
        for key, value in gradients(strategy).items():
            alone[key] = alone.get(key, 0) + value
    found = gradients(together)
    assert found.keys() == alone.keys()
    assert all(torch.allclose(found[key], alone[key], rtol=1e-3, atol=1e-5) for key in found)


def test_labels_are_for_the_largest_alone(tmp_path):
    batch, losses = batch_of(), []
    for targets in (batch.targets, batch.targets.roll(1)):
        strategy = ready(tmp_path)
        terms = list(strategy.terms(strategy.model, StepBatch(0, batch.views, targets)))
        losses.append([float(term.loss.detach()) for term in terms])
    assert losses[0][0] != losses[1][0]
    assert losses[0][1:] == losses[1][1:]
    assert all(loss > 0 for loss in losses[0])


def test_the_largest_learns_from_smoothed_labels(tmp_path):
    strategy = ready(tmp_path)
    first = next(strategy.terms(strategy.model, batch_of()))
    logits = strategy.model(batch_of().images, strategy.largest)
    plain, smoothed = (torch.nn.functional.cross_entropy(logits, batch_of().targets, label_smoothing=s)
                       for s in (0.0, settings().label_smoothing))  # fmt: skip
    assert float(first.loss.detach()) == pytest.approx(float(smoothed.detach()), rel=1e-5)
    assert float(plain.detach()) != pytest.approx(float(smoothed.detach()), rel=1e-5)


def test_distillation_is_nought_for_the_teacher_itself_and_has_soft_cross_entropys_gradient():
    teacher = torch.randn(6, 5)
    assert float(distillation(teacher, teacher)) == pytest.approx(0, abs=1e-6)
    student = torch.randn(6, 5, requires_grad=True)
    (ours,) = torch.autograd.grad(distillation(student, teacher), student)
    (soft,) = torch.autograd.grad(torch.nn.functional.cross_entropy(student, teacher.softmax(1)), student)
    assert torch.allclose(ours, soft, atol=1e-6)


@pytest.mark.parametrize(("attentive", "choose"), [("best", min), ("worst", max)])
def test_attention_picks_the_lowest_or_highest_loss(attentive, choose, tmp_path):
    strategy = ready(tmp_path, attentive=attentive, candidates=4, children=2)
    for step in range(3):
        batch = batch_of(step, seed=step)
        _, *middle, _ = strategy.terms(strategy.model, batch)
        assert [term.loss is None for term in middle] == [True] * 4 + [False] + [True] * 4 + [False]
        for several, part in zip(strategy.candidates(step), (middle[:5], middle[5:]), strict=True):
            assert tuple(term.arch for term in part[:4]) == several
            with torch.no_grad():  # no step has been taken: the weights are those that the candidates had
                losses = [float(strategy.criterion(strategy.model(batch.images, arch), batch.targets))
                          for arch in several]  # fmt: skip
            assert part[4].arch == several[losses.index(choose(losses))]
        strategy.model.zero_grad()


def test_candidates_are_ranked_by_all_processes(tmp_path):
    strategy = ready(tmp_path, attentive="best", candidates=3, children=1)
    told = iter((3.0, 1.0, 2.0))
    strategy.course = Course(settings(), DATA, 4, 4, tmp_path, mean=lambda _: torch.tensor(next(told)))
    *_, child, _ = strategy.terms(strategy.model, batch_of())
    assert child.arch == strategy.candidates(0)[0][1]


def test_candidates_cost_about_the_same_and_as_much_as_the_space_has_it():
    sampler = MacsSampler(MINI, seed=1, bins=8)
    draws = [sampler.draw(number, 3) for number in range(800)]
    assert draws[:20] == [MacsSampler(MINI, seed=1, bins=8).draw(number, 3) for number in range(20)]
    assert draws[:20] != [MacsSampler(MINI, seed=2, bins=8).draw(number, 3) for number in range(20)]
    table = CostTable(MINI)
    width = (table.macs(table.largest) - table.macs(table.smallest)) / 8
    for several in draws:
        macs = [arch_cost(arch).macs for arch in several]
        assert len(several) == 3
        assert max(macs) - min(macs) <= width
    every = every_arch(MINI)
    shares = Counter(map(sampler.bin_of, every))
    for place in range(3):
        found = Counter(sampler.bin_of(several[place]) for several in draws)
        expected = [800 * shares[number] / len(every) for number in sorted(shares)]
        assert chisquare([found[number] for number in sorted(shares)], expected).pvalue > 1e-4
    # Within a bin the others are as uniform as the first.
    fullest = max(shares, key=shares.__getitem__)
    others = Counter(str(a) for several in draws if sampler.bin_of(several[0]) == fullest for a in several[1:])
    assert chisquare([others[str(a)] for a in every if sampler.bin_of(a) == fullest]).pvalue > 1e-4


def test_a_bin_with_nothing_else_leaves_the_first():
    sampler = MacsSampler(MINI, bins=10**9, max_tries=3)
    assert min(len(sampler.draw(number, 3)) for number in range(20)) == 1


@pytest.mark.parametrize("given", [{"children": -1}, {"attentive": "both"}, {"candidates": 0}])
def test_options_out_of_range_are_refused(given):
    with pytest.raises(TrainingError, match="sandwich: option"):
        strategy_of("sandwich", **given)
