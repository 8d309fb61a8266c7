"""Pi-NAS against the authors' step: which paths meet, what the teacher follows, what is kept, what is probed."""

import copy
import math
import os
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st
from process_parts import by_torchrun
from scipy.stats import chisquare
from strategy_parts import DATA, MINI, Moves, rows_of, run, settings, strategy_of

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.data.augment import Augment
from scarlet_zoo.data.batches import Batch, Views
from scarlet_zoo.errors import TrainingError
from scarlet_zoo.nas.strategies.contrast import KeyQueue, info_nce, unit
from scarlet_zoo.training.learner import Course, StepBatch

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
# Of the 6875 steps of an epoch all but 4 are the probe's.
LATE = {"probe": 1 - 3.5 / 6875, "queue": 24}


def ready(space=MINI, gather=lambda keys: keys, batch_size=8, **options):
    """A strategy before its first step, whose teacher is no longer its student's equal."""
    strategy = strategy_of("pi-nas", space, **{"queue": 16, **options})
    strategy.set_up(Course(settings(batch_size=batch_size), DATA, 100, 100, Path(), gather=gather))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in strategy.teacher.net.parameters():
            parameter.mul_(1 + 0.3 * torch.randn_like(parameter))
    return strategy


def views_of(seed=0, count=8):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(count, 1, 28, 28, generator=generator) for _ in range(4))


def terms_of(strategy, views=None, step=0):
    views = views or views_of()
    return list(strategy.terms(strategy.model, StepBatch(step, views, torch.arange(len(views[0])) % 10)))


def test_the_two_paths_of_a_step_differ_in_every_layer_and_are_drawn_uniformly():
    strategy = ready()
    pairs = [strategy.paths(step) for step in range(80) for _ in range(2)]
    assert pairs[::2] == pairs[1::2]  # of seed and step alone
    strategy.course = replace(strategy.course, steps=5000)
    archs = [[arch.tokens for arch in strategy.paths(step)] for step in range(2000)]
    for index, layer in enumerate(MINI.layers):
        found = Counter((one[index], other[index]) for one, other in archs)
        ordered = [(one, other) for one in layer.tokens for other in layer.tokens if one != other]
        assert found.keys() == set(ordered)
        assert chisquare([found[pair] for pair in ordered]).pvalue > 1e-4
    both = Counter((one[0], one[1]) for one, _ in archs)
    assert chisquare(list(both.values())).pvalue > 1e-4


def test_a_layer_with_one_token_is_shared_and_followed_twice():
    first = replace(MINI.layers[0], tokens=MINI.layers[0].tokens[:1])
    strategy = ready(replace(MINI, layers=(first, *MINI.layers[1:])))
    one, other = strategy.paths(0)
    teacher = {name: value.clone() for name, value in strategy.teacher.net.named_parameters()}
    student = dict(strategy.student.named_parameters())
    terms_of(strategy)
    twice = followed(strategy, other, followed(strategy, one, teacher, student), student)
    for name, value in strategy.teacher.net.named_parameters():
        torch.testing.assert_close(value, twice[name], rtol=1e-6, atol=1e-8)
    assert [a == b for a, b in zip(one.tokens, other.tokens, strict=True)] == [True, False, False, False]


def test_what_a_run_tells_of_its_steps(tmp_path):
    _, rows = run(strategy_of("pi-nas"), tmp_path)
    for row in rows:
        one, other = (Arch.parse(arch, MINI).tokens for arch in row["archs"])
        assert all(a != b for a, b in zip(one, other, strict=True))
        assert row["loss_terms"].keys() == {"contrastive"}
        ran = {f"layers.{i}.{token}" for tokens in (one, other) for i, token in enumerate(tokens)}
        blocks = {".".join(name.split(".")[:3]) for name in row["changed"] if name.startswith("layers.")}
        assert blocks == {name for name in ran if not name.endswith(".id")}
        assert {"conv_stem.weight", "neck.0.weight", "neck.2.bias"} <= set(row["changed"])
        assert not {"classifier.weight", "classifier.bias"} & set(row["changed"])


def followed(strategy, arch, teacher, student):
    """The teacher's parameters after one following, by the formula."""
    inside = {f"layers.{i}.{token}." for i, token in enumerate(arch.tokens)}
    momentum, made = strategy.options.momentum, dict(teacher)
    for name in teacher:
        shared = not name.startswith(("layers.", "classifier."))
        if shared or any(name.startswith(block) for block in inside):
            made[name] = momentum * teacher[name] + (1 - momentum) * student[name]
    return made


def test_the_teacher_follows_the_student_of_before_the_step_where_a_path_ran_and_nowhere_else(tmp_path):
    strategy = strategy_of("pi-nas", queue=16, momentum=0.9)
    parameters, begin, end = (
        (lambda net: {k: v.clone() for k, v in net.named_parameters()}),
        strategy.begin,
        strategy.end,
    )
    kept, checked = {}, []

    def watched_begin(step):
        kept.update(student=parameters(strategy.student), teacher=parameters(strategy.teacher.net))
        return begin(step)

    def watched_end(step):
        end(step)
        expected = kept["teacher"]
        for arch in strategy.paths(step):
            expected = followed(strategy, arch, expected, kept["student"])
        for name, value in strategy.teacher.net.named_parameters():
            if expected[name] is kept["teacher"][name]:
                assert torch.equal(value, expected[name]), name
            else:
                torch.testing.assert_close(value, expected[name], rtol=1e-6, atol=1e-7)
                moved = (value - kept["teacher"][name]).abs().max()
                after = (strategy.student.get_parameter(name) - kept["student"][name]).abs().max()
                checked.append(step > 0 and bool(moved > 1e-6) and bool(after > 1e-6))

    strategy.begin, strategy.end = watched_begin, watched_end
    run(strategy, tmp_path, max_steps=3, lr=5.0, warmup=0.0)
    assert sum(checked) > 20  # it could have been seen to follow something else


def test_the_teacher_starts_as_the_students_equal_and_takes_no_statistics_from_it():
    strategy = strategy_of("pi-nas", queue=16)
    strategy.set_up(Course(settings(), DATA, 100, 100, Path()))
    own = strategy.student.state_dict()
    assert all(torch.equal(value, own[key]) for key, value in strategy.teacher.net.state_dict().items())
    for name, buffer in strategy.student.named_buffers():
        if name.endswith("running_mean"):
            buffer.fill_(1e6)
    moves = Moves(strategy.teacher.net)
    terms_of(strategy)
    assert all(module.training for module in strategy.teacher.net.modules())
    for name, buffer in strategy.teacher.net.named_buffers():
        assert not name.endswith("running_mean") or buffer.abs().max() < 1e3
    blocks = {f"layers.{i}.{token}" for arch in strategy.paths(0) for i, token in enumerate(arch.tokens)}
    statistics = [name for name in moves.names() if name.endswith(STATISTICS)]
    assert statistics
    assert all(".".join(n.split(".")[:3]) in blocks for n in statistics if n.startswith("layers."))


def test_no_gradient_reaches_teacher_queue_classifier_or_other_choices():
    strategy = ready()
    keys = strategy.queue.keys
    for term in terms_of(strategy):
        term.loss.backward()
    assert keys.grad is None
    assert not strategy.queue.keys.requires_grad
    assert all(p.grad is None and not p.requires_grad for p in strategy.teacher.net.parameters())
    ran = {f"layers.{i}.{token}." for arch in strategy.paths(0) for i, token in enumerate(arch.tokens)}
    for name, parameter in strategy.student.named_parameters():
        off = name.startswith("classifier.") or (name.startswith("layers.") and not any(map(name.startswith, ran)))
        assert (parameter.grad is None) == off, name


def naive(query, key, queue, temperature):
    scores = [math.exp(float(query @ other) / temperature) for other in (key, *queue)]
    return -math.log(scores[0] / sum(scores))


def test_the_loss_and_the_queue_are_those_of_the_authors_order():
    strategy = ready()
    paths, queue, (q0, k0, q1, k1) = strategy.paths(0), strategy.queue.keys.clone(), views_of()
    student, teacher = copy.deepcopy(strategy.student), copy.deepcopy(strategy.teacher)
    made = []
    with torch.no_grad():
        for query, key, arch in ((q0, k0, paths[0]), (q1, k1, paths[1])):
            made.append(unit(student(query, arch)))
            teacher.follow(student, arch)
            made.append(unit(teacher.net(key, arch)))
    wanted = [
        sum(naive(q, k, queue, 0.2) for q, k in zip(queries, keys, strict=True)) / 8
        for queries, keys in ((made[0], made[3]), (made[2], made[1]))
    ]
    assert [float(term.loss.detach()) for term in terms_of(strategy)] == pytest.approx(wanted, rel=1e-5)
    stored = strategy.queue.keys[:8]
    torch.testing.assert_close(stored, (made[1] + made[3]) / 2)
    assert (stored.norm(dim=1) < 0.999).all()  # shorter than 1, and left so
    assert torch.equal(strategy.queue.keys[8:], queue[8:])


def test_exchanging_the_paths_together_with_their_views_changes_nothing():
    # A teacher that follows at once is the only thing that has an order.
    strategy = ready(momentum=1.0)
    views, paths, queue = views_of(), strategy.paths(0), strategy.queue.keys
    losses = [term.loss.detach() for term in terms_of(strategy, views)]
    strategy.queue.keys, strategy.queue.pointer = queue, 0
    strategy.paths = lambda _: paths[::-1]
    exchanged = [term.loss.detach() for term in terms_of(strategy, (*views[2:], *views[:2]))]
    torch.testing.assert_close(exchanged[::-1], losses)
    assert losses[0] != losses[1]
    strategy.queue.keys, strategy.queue.pointer = queue, 0
    only_paths = sum(term.loss.detach() for term in terms_of(strategy, views))
    assert abs(only_paths - sum(losses)) > 1e-4


@given(count=st.integers(1, 6), negatives=st.integers(1, 40), seed=st.integers(0, 2**31))
@trials(max_examples=30, deadline=None)
def test_without_contrast_all_keys_are_equally_likely(count, negatives, seed):
    vectors = unit(torch.randn(2 * count + negatives, 16, generator=torch.Generator().manual_seed(seed)).double())
    loss = info_nce(vectors[:count], vectors[count : 2 * count], vectors[2 * count :], 1e9)
    assert float(loss) == pytest.approx(math.log(1 + negatives), rel=1e-6)


@given(negatives=st.integers(1, 40), temperature=st.floats(0.05, 5))
@trials(max_examples=30, deadline=None)
def test_a_query_that_is_its_key_among_orthogonal_ones(negatives, temperature):
    basis = torch.eye(48, dtype=torch.float64)
    loss = info_nce(basis[:8], basis[:8], basis[8 : 8 + negatives], temperature)
    assert float(loss) == pytest.approx(math.log(1 + negatives * math.exp(-1 / temperature)), rel=1e-9)


def test_a_step_without_contrast_costs_two_logarithms():
    losses = [float(term.loss.detach()) for term in terms_of(ready(temperature=1e6))]
    assert sum(losses) == pytest.approx(2 * math.log(1 + 16), rel=1e-4)


def test_the_queue_takes_in_the_batch_of_all_processes_and_goes_round():
    queue = KeyQueue(16, 4, 0, "cpu")
    torch.testing.assert_close(queue.keys.norm(dim=1), torch.ones(16))
    for step, pointer in enumerate((4, 8, 12, 0, 4)):
        before = queue.keys
        queue.put(torch.full((4, 4), float(step)))
        assert queue.pointer == pointer
        changed = (queue.keys != before).any(1).nonzero().flatten().tolist()
        assert changed == [(pointer - 4 + i) % 16 for i in range(4)]
    strategy = ready(gather=lambda keys: torch.cat((keys, keys)))
    terms_of(strategy, views_of(count=4))
    assert strategy.queue.pointer == 8


def test_a_queue_and_a_batch_that_do_not_fit_are_refused():
    with pytest.raises(TrainingError, match=r"got 20 keys for batches of 8, wanted a multiple"):
        ready(queue=20)
    with pytest.raises(TrainingError, match=r"got 16 keys for batches of 7"):
        terms_of(ready(), views_of(count=7))
    with pytest.raises(TrainingError, match=r"got batches of 8 for 3 processes"):
        ready(gather=lambda keys: keys.repeat(3))
    for option in ({"probe": 0}, {"momentum": 1.5}, {"temperature": 0}, {"crop": 0}):
        with pytest.raises(TrainingError, match=rf"pi-nas: option {next(iter(option))}=.*, wanted "):
            strategy_of("pi-nas", **option)


def test_the_four_views_of_a_picture_differ():
    strategy = strategy_of("pi-nas")
    for asked in (None, Augment(erase=0.5)):
        made = strategy.augment(asked)
        assert (made.crop, made.jitter, made.erase) == (0.2, 0.4, asked.erase if asked else 0)
    split = DATA.part("train", strategy.augment(Augment()))
    views, _ = Views(split, strategy.views).__getitems__(Batch(tuple(range(8)), 5))
    again, _ = Views(split, strategy.views).__getitems__(Batch(tuple(range(8)), 5))
    assert len(views) == 4
    for index, view in enumerate(views):
        assert torch.equal(view, again[index])
        for other in views[:index]:
            assert all((one - two).abs().max() > 0.1 for one, two in zip(view, other, strict=True))


def test_a_crop_keeps_the_share_of_the_area_that_it_was_asked_for():
    side = 64
    ramp = torch.arange(side).mul(3)
    pixels = torch.stack((ramp.expand(side, side), ramp[:, None].expand(side, side))).to(torch.uint8)
    taken = Augment(shift_px=0, flip=False, crop=0.3).arrays(pixels.expand(200, 2, side, side), 1)
    assert taken.dtype == torch.uint8
    widths, heights = ((taken[:, i].amax((1, 2)).int() - taken[:, i].amin((1, 2))) / (3 * (side - 1)) for i in (0, 1))
    areas = widths * heights
    assert 0.27 < areas.min() < 0.4
    assert areas.max() > 0.9
    assert 0.6 < areas.mean() < 0.7
    assert ((heights / widths > 0.7) & (heights / widths < 1.45)).all()
    flat = torch.full((4, 1, side, side), 77, dtype=torch.uint8)
    assert torch.equal(Augment(shift_px=0, crop=0.2).arrays(flat, 1), flat)


def test_brightness_and_contrast_change_within_their_bounds():
    pixels = torch.tensor([100, 100, 60, 140], dtype=torch.uint8).view(1, 1, 2, 2).repeat(300, 1, 1, 1)
    jittered = Augment(shift_px=0, flip=False, jitter=0.4).arrays(pixels, 3).float()
    means = jittered.mean((1, 2, 3))
    spread = (jittered[:, 0, 1, 1] - jittered[:, 0, 1, 0]) / means / 0.8  # brightness keeps it, contrast scales it
    for values in (means / 100, spread):
        assert 0.58 < values.min() < 0.65
        assert 1.35 < values.max() < 1.42
    assert abs(torch.corrcoef(torch.stack((means, spread)))[0, 1]) < 0.2
    assert torch.equal(Augment(jitter=0.0).arrays(pixels, 3), Augment().arrays(pixels, 3))


def test_the_probe_moves_the_classifier_and_statistics_only(tmp_path):
    strategy = strategy_of("pi-nas", **LATE)
    moves, end, moved = Moves(strategy.model), strategy.end, []

    def watched_end(step):
        end(step)
        moved.append(moves.names())
        moves.keep()

    strategy.end = watched_end
    done, rows = run(strategy, tmp_path, max_steps=7)
    assert not any(key.startswith("neck.") for key in done.state)
    assert [list(row["loss_terms"]) for row in rows] == [["contrastive"]] * 4 + [["cross_entropy"]] * 3
    for row, names in zip(rows[4:], moved[4:], strict=True):
        (arch,) = row["archs"]
        ran = [f"layers.{i}.{token}." for i, token in enumerate(Arch.parse(arch, MINI).tokens)]
        for changed in (row["changed"], names):
            weights = [name for name in changed if not name.endswith(STATISTICS)]
            assert weights == ["classifier.weight", "classifier.bias"]
            assert all(any(map(name.startswith, ran)) for name in changed if name.startswith("layers."))
        assert len(row["changed"]) > 10
    assert rows[4]["lr"] == pytest.approx(1.0)
    assert all(not name.startswith("classifier.") for name in moved[3])


def test_each_phase_has_its_own_learning_rates():
    strategy = ready(probe=0.25, probe_lr=3.0)
    rates = [strategy.learning_rate(step) for step in range(100)]
    assert strategy.compared == 75
    assert max(rates[:75]) == pytest.approx(0.1)
    assert rates[74] < 1e-3
    assert rates[75] == 3.0
    assert all(a > b for a, b in pairwise(rates[75:]))
    paths = [strategy.paths(step) for step in range(70, 80)]
    assert [len(path) for path in paths] == [2] * 5 + [1] * 5
    strategy.course = replace(strategy.course, steps=8000)
    tokens = [strategy.paths(step)[0].tokens for step in range(6000, 8000)]
    for layer, drawn in zip(MINI.layers, zip(*tokens, strict=True), strict=True):
        assert chisquare([drawn.count(token) for token in layer.tokens]).pvalue > 1e-4


@pytest.mark.slow
def test_stopped_in_either_phase_it_goes_on_to_the_same_bits(tmp_path):
    whole, rows = run(strategy_of("pi-nas", **LATE), tmp_path / "whole", max_steps=7)
    for steps in (3, 5, 7):
        strategy = strategy_of("pi-nas", **LATE)
        done, again = run(strategy, tmp_path / "parts", max_steps=steps)
    assert again == rows
    assert all(torch.equal(done.state[key], whole.state[key]) for key in whole.state)
    assert strategy.queue.pointer == 4 * 8 % 24
    with pytest.raises(TrainingError, match="another run"):
        run(strategy_of("pi-nas", **{**LATE, "queue": 32}), tmp_path / "parts", max_steps=7)


def train_and_tell(folder):
    strategy = strategy_of("pi-nas", **LATE)
    run(strategy, folder / "two", max_steps=6)
    weights = {key: value.detach() for key, value in strategy.teacher.net.named_parameters()}
    torch.save({"weights": weights, "queue": strategy.queue.state_dict()}, folder / f"{os.environ['RANK']}.pt")


@pytest.mark.slow
def test_two_processes_have_one_teacher_and_one_queue(tmp_path):
    by_torchrun(train_and_tell, tmp_path)
    one, other = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert all(torch.equal(one["weights"][key], other["weights"][key]) for key in one["weights"])
    assert torch.equal(one["queue"]["keys"], other["queue"]["keys"])
    assert one["queue"]["pointer"] == other["queue"]["pointer"] == 4 * 8 % 24
    _, alone = run(strategy_of("pi-nas", **LATE), tmp_path / "one", max_steps=6)
    together = rows_of(tmp_path / "two")
    for name in ("archs", "changed", "lr"):
        assert [row[name] for row in alone] == [row[name] for row in together]
