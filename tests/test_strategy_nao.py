"""NAO-V2: large architectures more often, rounds that start anew, and pools that an encoder and decoder make."""

import hashlib
import random
import shutil
from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy.stats import chisquare, pearsonr
from strategy_parts import DATA, MINI, rows_of, settings, strategy_of

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.cost import arch_cost
from scarlet_zoo.arch.spaces import get_space
from scarlet_zoo.data.preprocessing import space_preprocessing
from scarlet_zoo.data.splits import ArraySplit
from scarlet_zoo.errors import TrainingError
from scarlet_zoo.models.supernet import Supernet
from scarlet_zoo.nas.nao.predictor import Epd, EpdSettings, Vocabulary, climb, fit_epd, generate, loss_of, scaled
from scarlet_zoo.nas.nao.proposals import draw_different, propose
from scarlet_zoo.nas.search.evaluator import Evaluation
from scarlet_zoo.nas.search.explore import explore
from scarlet_zoo.nas.search.objectives import Limit, Objective
from scarlet_zoo.nas.search.settings import SearchSettings, metrics_of
from scarlet_zoo.training.learner import Course
from scarlet_zoo.training.loop import train
from scarlet_zoo.training.settings import learning_rate

SPACE = get_space("scarlet-mini-7")
QUICK = EpdSettings(epochs=80)
# Three rounds of four steps.
SMALL = {"rounds": 3, "first_pool": 6, "pool": 4, "score_images": 40, "epochs": 10}


@cache
def few_pictures(part, augment):
    whole = DATA.part(part, augment)
    pixels = whole.pixels[:96].permute(0, 2, 3, 1).numpy()
    return ArraySplit(pixels, whole.targets[:96].numpy(), space_preprocessing(MINI), augment)


FEW = replace(DATA, open_part=few_pictures)


def nao(space=MINI, seed=0, **options):
    return strategy_of("nao-v2", space, seed, **{**SMALL, **options})


def run(strategy, folder, **kwargs):
    done = train(strategy, FEW, settings(**{"max_steps": None, **kwargs}), folder)
    return done, rows_of(folder)


def digest(model):
    parts = (key.encode() + value.contiguous().numpy().tobytes() for key, value in model.state_dict().items())
    return hashlib.sha256(b"".join(parts)).hexdigest()


class Rounds:
    """Notes what a strategy is like where each round begins."""

    def __init__(self, strategy):
        self.strategy, begin = strategy, strategy.begin
        self.told, self.digests, self.pools, self.before = [], {}, {}, {}

        def watched(step):
            before, number = digest(strategy.model), strategy.round
            self.told.append(begin(step))
            if strategy.round != number or step == 0:
                self.before[step], self.digests[step] = before, digest(strategy.model)
                self.pools[step] = [str(arch) for arch in strategy.pool]
            return self.told[-1]

        strategy.begin = watched


def draws_of(strategy, steps):
    counts = Counter(str(strategy.paths(step)[0]) for step in range(steps))
    return np.array([counts[str(arch)] for arch in strategy.pool], dtype=float)


@pytest.mark.slow
def test_architectures_are_drawn_in_proportion_to_their_size():
    steps = 100_000
    strategy = nao(SPACE, first_pool=12)
    sizes = np.array([arch_cost(arch).params for arch in strategy.pool], dtype=float)
    assert sizes.max() > 1.3 * sizes.min()
    expected = steps * sizes / sizes.sum()
    counts = draws_of(strategy, steps)
    assert chisquare(counts, expected).pvalue > 1e-4
    # Uniform draws would not pass.
    assert chisquare(counts).pvalue < 1e-12
    assert pearsonr(sizes, counts)[0] > 0.99


def test_architectures_of_one_size_are_drawn_uniformly():
    # The last three layers of the real space have equal channels: what they choose can change places.
    head, orders = ["e3k3"] * 5, permutations(("e3k3", "e6k5", "id"))
    strategy = nao(SPACE)
    strategy._take_pool([Arch.of(SPACE, [*head, *order]) for order in orders])
    assert len({arch_cost(arch).params for arch in strategy.pool}) == 1
    assert chisquare(draws_of(strategy, 20_000)).pvalue > 1e-4


@pytest.mark.slow
def test_a_round_starts_from_a_fresh_supernet_with_an_empty_optimiser_and_the_highest_rate(tmp_path):
    strategy = nao()
    rounds = Rounds(strategy)
    _, rows = run(strategy, tmp_path / "a", warmup=0.0)
    assert [step for step, told in enumerate(rounds.told) if told] == [4, 8]
    torch.manual_seed(0)
    fresh = digest(Supernet(MINI, "plain"))
    assert set(rounds.digests.values()) == {fresh}
    assert fresh not in {rounds.before[4], rounds.before[8]}
    assert [row["lr"] for row in rows] == [learning_rate(step % 4, 4, settings(warmup=0.0)) for step in range(12)]
    assert rows[0]["lr"] == rows[4]["lr"] == rows[8]["lr"] == settings().lr
    # Of one step of the round, as many tensors have momentum as its path has parameters.
    strategy = nao()
    run(strategy, tmp_path / "b", max_steps=5)
    content = torch.load(tmp_path / "b" / "checkpoint.pt", weights_only=True)
    on_path = sum(1 for parameter in strategy.model.parameters() if parameter.grad is not None)
    assert len(content["optimizer"]["state"]) == on_path < sum(1 for _ in strategy.model.parameters())


@pytest.mark.slow
def test_as_released_weights_and_momentum_stay_and_only_the_rate_starts_anew(tmp_path):
    strategy = nao(reinit=False)
    rounds = Rounds(strategy)
    _, rows = run(strategy, tmp_path)
    assert not any(rounds.told)
    assert all(rounds.before[step] == rounds.digests[step] for step in (4, 8))
    assert rows[0]["lr"] == rows[4]["lr"] == rows[8]["lr"]
    assert rows[3]["lr"] < rows[4]["lr"]


@pytest.mark.slow
def test_averaged_weights_are_of_the_last_round_only(tmp_path):
    done, rows = run(nao(), tmp_path, ema=0.9)
    torch.manual_seed(0)
    fresh = Supernet(MINI, "plain").state_dict()
    run_last = [Arch.parse(arch, MINI).tokens for row in rows[8:] for arch in row["archs"]]
    idle = [f"layers.{i}.{token}." for i, layer in enumerate(MINI.layers)
            for token in layer.tokens if all(tokens[i] != token for tokens in run_last)]  # fmt: skip
    assert idle
    for key, value in done.state.items():
        if key.startswith(tuple(idle)):
            assert torch.equal(value, fresh[key]), key


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["new", "elites"])
def test_pools_are_new_and_a_round_runs_its_own_pool_only(policy, tmp_path):
    strategy = nao(pool_policy=policy)
    rounds = Rounds(strategy)
    _, rows = run(strategy, tmp_path)
    first, second, third = (rounds.pools[step] for step in (0, 4, 8))
    for start, pool in zip((0, 4, 8), (first, second, third), strict=True):
        assert {arch for row in rows[start : start + 4] for arch in row["archs"]} <= set(pool)
        assert len(set(pool)) == len(pool)
    scores = {str(arch): score for arch, score in strategy.archive}
    assert list(scores) == list(dict.fromkeys(first + second))
    if policy == "new":
        assert not set(second) & set(first)
        assert not set(third) & {*first, *second}
        assert (len(first), len(second), len(third)) == (6, 4, 4)
    else:
        assert len(third) == 8
        assert set(third[4:]) == set(sorted(scores, key=lambda arch: -scores[arch])[:4])


def test_scoring_reads_the_weights_and_leaves_no_trace(tmp_path):
    strategy = nao()
    strategy.set_up(Course(settings(), FEW, 12, 12, tmp_path))
    strategy.model.train()
    before = {key: value.clone() for key, value in strategy.model.state_dict().items()}
    scores = strategy.scores(strategy.pool)
    assert scores == strategy.scores(strategy.pool) == strategy.scores(strategy.pool[::-1])[::-1]
    assert all(torch.equal(value, before[key]) for key, value in strategy.model.state_dict().items())
    assert all(module.training for module in strategy.model.modules())
    # Statistics are the batch's: what the norms have gathered does not matter.
    for key, value in strategy.model.state_dict().items():
        if key.endswith(("running_mean", "running_var")):
            value.fill_(3.0)
    assert strategy.scores(strategy.pool) == scores


class StoppedError(Exception):
    """What stands for a kill."""


@pytest.mark.slow
@pytest.mark.parametrize("reinit", [True, False])
def test_stopped_before_in_and_after_a_new_pool_it_goes_on_to_the_same_result(reinit, tmp_path):
    whole, rows = run(nao(reinit=reinit), tmp_path / "whole", ema=0.9)
    cut = tmp_path / "cut"
    # The checkpoints are of steps 3, 6, 9: pools are made again after a stop at 5, and read after one at 7.
    for after in (5, 7):
        strategy = nao(reinit=reinit)
        end = strategy.end

        def stopped(step, after=after, end=end):
            end(step)
            if step == after:
                raise StoppedError

        strategy.end = stopped
        with pytest.raises(StoppedError):
            run(strategy, cut, checkpoint_every=3, ema=0.9)
    done, again = run(nao(reinit=reinit), cut, checkpoint_every=3, ema=0.9)
    assert again == rows
    assert all(torch.equal(done.state[key], whole.state[key]) for key in whole.state)


def test_the_main_process_decides_and_the_others_follow(tmp_path):
    made, told = [], []

    def main(make):
        made.append(make())
        return made[-1]

    for shared in (main, lambda _: made[0]):
        strategy = nao()
        strategy.set_up(replace(Course(settings(), FEW, 12, 12, tmp_path), shared=shared))
        state = torch.get_rng_state()
        strategy.begin(4)
        assert torch.equal(torch.get_rng_state(), state)
        told.append((strategy.state_dict(), digest(strategy.model), [str(strategy.paths(s)[0]) for s in range(4, 8)]))
    assert told[0] == told[1]
    assert len(made) == 1


@pytest.mark.slow
def test_a_space_that_is_used_up_keeps_its_best(tmp_path):
    layers = tuple(replace(layer, tokens=layer.tokens[: 2 if i == 0 else 1]) for i, layer in enumerate(MINI.layers))
    strategy = nao(replace(MINI, layers=layers), first_pool=50, rounds=99)
    assert len(strategy.pool) == 2
    _, rows = run(strategy, tmp_path, batch_size=24)
    assert len(rows) == 4
    assert {str(arch) for arch in strategy.pool} == {str(arch) for arch, _ in strategy.archive}
    assert strategy.round == 3


def planted(count, seed=0):
    """Architectures of the real space, worth more the fewer multiply-adds they have."""
    archs = draw_different(SPACE, count, random.Random(seed))
    return [(arch, -arch_cost(arch).macs / 1e6) for arch in archs]


@pytest.fixture(scope="module")
def fitted():
    archive = planted(80)
    return archive, fit_epd(SPACE.decisions, [a.tokens for a, _ in archive], [w for _, w in archive], QUICK, 0)


@pytest.mark.slow
def test_it_learns_a_planted_ranking_and_climbs_beyond_the_mean(fitted):
    archive, epd = fitted
    worths = np.array([worth for _, worth in archive])
    fresh = [row for row in planted(200, seed=1) if row[0] not in [arch for arch, _ in archive]]
    predicted = epd.predict(epd.encode(epd.vocabulary.numbers([arch.tokens for arch, _ in fresh])))
    assert pearsonr(predicted.numpy(), [worth for _, worth in fresh])[0] > 0.7
    H = epd.encode(epd.vocabulary.numbers([arch.tokens for arch, _ in archive]))
    down, here, up = (
        np.mean([-arch_cost(Arch.of(SPACE, row)).macs / 1e6 for row in epd.vocabulary.rows(epd.decode(moved))])
        for moved in climb(epd, H, (-30.0, 0.0, 30.0))
    )
    assert down < here < up
    assert up > max(worths.mean(), down + 0.5 * worths.std())
    found = [-arch_cost(arch).macs / 1e6 for arch in propose(archive, 20, QUICK, 0)]
    assert np.mean(found) > worths.mean() + 0.3 * worths.std()


def test_small_steps_never_lower_what_is_predicted(fitted):
    archive, epd = fitted
    H = epd.double().encode(epd.vocabulary.numbers([arch.tokens for arch, _ in archive]))
    before = epd.predict(H)
    for moved in climb(epd, H, (1e-4, 1e-3, 1e-2)):
        assert (epd.predict(moved) >= before).all()
        assert (epd.predict(moved) > before).any()
        assert torch.allclose(moved.norm(dim=-1), torch.ones(H.shape[:2], dtype=H.dtype))
    assert torch.allclose(epd.point(H).norm(dim=-1), torch.ones(len(H), dtype=H.dtype))
    epd.float()


@pytest.mark.slow
def test_generated_architectures_are_legal_new_and_different_whatever_the_network():
    known = {arch.tokens for arch, _ in planted(60)}
    for seed in range(3):
        torch.manual_seed(seed)
        epd = Epd(Vocabulary(SPACE.decisions), QUICK)
        # An untrained decoder would like any token anywhere: only the masks keep it legal.
        torch.nn.init.normal_(epd.out.weight, std=20.0)
        rows = generate(epd, sorted(known), 100, known, QUICK, lambda row: row[0] != "e3k3")
        assert rows
        assert len(set(rows)) == len(rows)
        assert not set(rows) & known
        # What it has said once is not new the next time.
        again = generate(epd, sorted(known), 100, known | set(rows[:3]), QUICK, lambda row: row[0] != "e3k3")
        assert not set(again) & set(rows[:3])
        for row in rows:
            Arch.of(SPACE, row)
            assert row[0] != "e3k3"


def test_decoding_is_what_teacher_forcing_says_step_by_step(fitted):
    archive, epd = fitted
    H = epd.encode(epd.vocabulary.numbers([arch.tokens for arch, _ in archive[:20]]))
    chosen = epd.decode(H)
    again = epd.logits(H, chosen).masked_fill(~epd.vocabulary.legal, -torch.inf).argmax(dim=-1)
    assert torch.equal(chosen, again)


def test_the_loss_is_four_parts_prediction_and_one_part_reconstruction(fitted):
    archive, epd = fitted
    numbers = epd.vocabulary.numbers([arch.tokens for arch, _ in archive])
    targets = scaled([worth for _, worth in archive])
    H = epd.encode(numbers)
    error = ((epd.predict(H) - targets) ** 2).mean()
    likelihood = epd.logits(H, numbers).log_softmax(-1).gather(2, numbers[..., None]).mean()
    assert torch.allclose(loss_of(epd, numbers, targets, 0.8), 0.8 * error - 0.2 * likelihood)


@given(worths=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20))
@hypothesis_settings(max_examples=50, deadline=None)
def test_worths_are_scaled_to_the_unit_interval_in_their_order(worths):
    values = scaled(worths).numpy()
    assert ((values >= 0) & (values <= 1)).all()
    assert (np.diff(values[np.argsort(worths, kind="stable")]) >= 0).all()
    if max(worths) > min(worths):
        assert (values.min(), values.max()) == (0, 1)


def test_proposals_are_a_function_of_their_arguments_and_fill_up():
    archive = planted(12)
    with_one, other = (propose(archive, 30, EpdSettings(epochs=1, steps=1), seed) for seed in (0, 1))
    assert with_one == propose(archive, 30, EpdSettings(epochs=1, steps=1), 0) != other
    for found in (with_one, other):
        assert len(set(map(str, found))) == 30
        assert not set(found) & {arch for arch, _ in archive}
    limit = 7e6
    kept = propose(archive, 30, EpdSettings(epochs=1), 0, lambda arch: arch_cost(arch).macs <= limit)
    assert len(kept) == 30
    assert all(arch_cost(arch).macs <= limit for arch in kept)


def how(goal, **kwargs):
    return SearchSettings(**{"objectives": (Objective.parse(goal),), "method": "nao", "evaluations": 45,
                             "population": 15, **kwargs})  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("goal", ["params:min", "params:max"])
def test_a_search_goes_the_way_it_is_told_and_goes_on_after_a_stop(goal, tmp_path):
    evaluation = Evaluation(SPACE, metrics_of((Objective.parse(goal),), ()))
    limits = (Limit.parse("macs<=1.2e7"),)
    journal = tmp_path / "j.jsonl"
    whole = explore(evaluation, how(goal, limits=limits), journal)
    archs = [str(candidate.arch) for candidate in whole.evaluated]
    assert len(set(archs)) == len(archs) == 45
    assert all(candidate.values["macs"] <= 1.2e7 for candidate in whole.evaluated)
    sign = 1 if goal.endswith("max") else -1
    values = [sign * candidate.values["params"] for candidate in whole.evaluated]
    assert np.mean(values[15:]) > np.mean(values[:15])
    assert max(values[15:]) > max(values[:15])
    cut = tmp_path / "cut.jsonl"
    shutil.copy(journal, cut)
    cut.write_text("".join(cut.read_text().splitlines(keepends=True)[:26]))
    # Another number of threads than before must not lead elsewhere.
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert explore(evaluation, how(goal, limits=limits), cut) == whole
    finally:
        torch.set_num_threads(threads)
    assert cut.read_text().count("\n") == 46


@pytest.mark.slow
def test_a_search_says_when_nothing_keeps_its_limits_or_nothing_is_left(tmp_path):
    evaluation = Evaluation(SPACE, ("macs", "params"))
    with pytest.raises(TrainingError, match="wanted a wider limit"):
        explore(evaluation, how("params", limits=(Limit.parse("macs<=1e3"),), max_tries=5), tmp_path / "none")
    layers = tuple(replace(layer, tokens=layer.tokens[: 2 if i < 2 else 1]) for i, layer in enumerate(SPACE.layers))
    small = Evaluation(replace(SPACE, layers=layers), ("macs", "params"))
    result = explore(small, how("params", population=3), tmp_path / "small")
    assert len(result.evaluated) == 4


def test_options_that_are_none():
    for option, wanted in (("rounds=0", "greater than 0"), ("pool_policy=old", "'new' or 'elites'")):
        key, value = option.split("=")
        with pytest.raises(TrainingError, match=wanted):
            nao(**{key: value})


@pytest.mark.slow
def test_branches_are_decided_as_tokens_are(tmp_path):
    space = MINI.with_branches()
    one = Arch.of(space, (layer.tokens[0] for layer in space.layers))
    with_branch = replace(one, branches=space.branches[:1])
    rng = random.Random(0)
    drawn = draw_different(space, 400, rng, {one.decisions})
    assert len({str(arch) for arch in drawn}) == 400
    assert one not in drawn
    archive = [(arch, float(len(arch.branches))) for arch in (one, with_branch, *drawn[:40])]
    made = propose(archive, 20, QUICK, 0)
    assert not {str(arch) for arch in made} & {str(arch) for arch, _ in archive}
    # More branches are better here, and the climb sees them.
    assert np.mean([len(arch.branches) for arch in made]) > np.mean([worth for _, worth in archive])
    result = explore(Evaluation(space, ("macs", "params")), how("params:max"), tmp_path / "found")
    assert any(row.arch.branches for row in result.front)
