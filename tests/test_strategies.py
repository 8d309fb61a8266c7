"""The strategies, each held against what its paper says: who is sampled, what is learned from, what moves."""

import json
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import FASHION
from process_parts import by_torchrun
from scipy.stats import chisquare
from strategy_parts import DATA, MINI, MINI_TOML, Moves, rows_of, run, settings, strategy_of

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.cli import main
from scarlet_zoo.errors import TrainingError
from scarlet_zoo.models.blocks import Stabilizer
from scarlet_zoo.models.supernet import load_supernet
from scarlet_zoo.nas.strategies.registry import DEFAULT, DEFAULT_SKIP, STRATEGIES
from scarlet_zoo.nas.train_supernet import SUPERNET_FILE
from scarlet_zoo.training.learner import StepBatch
from scarlet_zoo.training.loop import train

COMMAND = ("supernet", "train", "--data", "fashion-mnist", "--data-dir", str(FASHION), "--batch-size", "8",
           "--threads", "1")  # fmt: skip
NAMES = list(STRATEGIES)


@pytest.fixture(scope="module")
def space_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("space") / "small.toml"
    path.write_text(MINI_TOML)
    return path


def counts_of(rows, space):
    """How often each token of each layer has run."""
    archs = [Arch.parse(arch, space).tokens for row in rows for arch in row["archs"]]
    return [Counter(tokens) for tokens in zip(*archs, strict=True)]


def spreads(counts, space):
    pairs = zip(counts, space.layers, strict=True)
    return [max(found[t] for t in layer.tokens) - min(found[t] for t in layer.tokens) for found, layer in pairs]


class Watching:
    """Keeps a strategy's tensors before each step and compares after it."""

    def __init__(self, strategy):
        self.moves, self.moved, end, begin = Moves(strategy.model), [], strategy.end, strategy.begin

        def watched_begin(step):
            told = begin(step)
            self.moves.keep()
            return told

        def watched_end(step):
            end(step)
            self.moved.append(self.moves.names())

        strategy.begin, strategy.end = watched_begin, watched_end


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_what_a_step_says_it_has_changed_is_what_it_has_changed(name, tmp_path):
    strategy = strategy_of(name)
    watching = Watching(strategy)
    _, rows = run(strategy, tmp_path, max_steps=3)
    assert list(rows[0]) == ["step", "archs", "loss", "loss_terms", "lr", "images", "changed"]
    for row, moved in zip(rows, watching.moved, strict=True):
        # A choice can be written to and stay: a bias whose gradient is nought.
        assert set(moved) <= set(row["changed"])
        assert len(moved) >= 0.9 * len(row["changed"])
        assert row["loss"] == pytest.approx(sum(row["loss_terms"].values()))
        assert row["archs"]


class StoppedError(Exception):
    """What stands for a kill; a real one, of the default strategy, is in test_training."""


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_stopped_anywhere_it_goes_on_to_the_same_result(name, tmp_path):
    whole, rows = run(strategy_of(name), tmp_path / "whole", max_steps=6)
    cut = tmp_path / "cut"
    for after in (1, 4):
        strategy = strategy_of(name)
        begin = strategy.begin

        def stopped(step, after=after, begin=begin):
            if step == after:
                raise StoppedError
            return begin(step)

        strategy.begin = stopped
        with pytest.raises(StoppedError):
            run(strategy, cut, max_steps=6, checkpoint_every=2)
    done, again = run(strategy_of(name), cut, max_steps=6, checkpoint_every=2)
    assert again == rows
    assert all(torch.equal(done.state[key], whole.state[key]) for key in whole.state)


def train_by_each(out, space_file):
    for name in NAMES:
        arguments = (*COMMAND, "--space", str(space_file), "--max-steps", "2", "--strategy", name, "--out")
        assert main.run([*arguments, str(out / name)]) == 0, name


@pytest.mark.slow
def test_two_processes_run_the_same_paths(space_file, tmp_path):
    by_torchrun(train_by_each, tmp_path / "two", space_file)
    for name in NAMES:
        _, alone = run(strategy_of(name), tmp_path / "one" / name, max_steps=2)
        together = rows_of(tmp_path / "two" / name)
        assert [row["archs"] for row in alone] == [row["archs"] for row in together], name
        assert [row["images"] for row in together] == [8, 8], name
        # What is written to does not depend on how many processes there are.
        assert [row["changed"] for row in alone] == [row["changed"] for row in together], name


def test_uniform_sampling_is_uniform_and_independent():
    strategy = strategy_of("spos")
    archs = [strategy.paths(step)[0].tokens for step in range(3000)]
    for layer, tokens in zip(MINI.layers, zip(*archs, strict=True), strict=True):
        found = Counter(tokens)
        assert chisquare([found[token] for token in layer.tokens]).pvalue > 1e-4
    # Nor does a layer's choice tell the next layer's, or the same layer's in the next step.
    for pairs in (zip(*list(zip(*archs, strict=True))[:2], strict=True), pairwise(tokens[0] for tokens in archs)):
        assert chisquare(list(Counter(pairs).values())).pvalue > 1e-4


@pytest.mark.slow
def test_strict_fairness_counts_each_choice_as_often_as_each_other(tmp_path):
    strategy = strategy_of("fairnas")
    _, rows = run(strategy, tmp_path, max_steps=6)
    most = max(len(layer.tokens) for layer in MINI.layers)
    for end in range(1, len(rows) + 1):
        counts = counts_of(rows[:end], MINI)
        assert max(spreads(counts, MINI)) <= 1
    # Each choice runs in every step, in a layer with as many choices as there are paths exactly once.
    for row in rows:
        for counts, layer in zip(counts_of([row], MINI), MINI.layers, strict=True):
            assert set(counts) == set(layer.tokens)
            assert len(layer.tokens) < most or set(counts.values()) == {1}
    for row in rows:
        assert len(row["archs"]) == most
        assert len(set(row["archs"])) == most


def test_strict_fairness_sums_the_gradients_of_its_paths_whatever_their_order():
    images = torch.randn(4, 1, 28, 28)
    batch = StepBatch(0, (images,), torch.tensor([0, 1, 2, 3]))
    found = []
    for backwards in (False, True):
        strategy = strategy_of("fairnas")
        strategy.criterion = torch.nn.CrossEntropyLoss()
        strategy.model.double().eval()  # batch statistics would carry the order into the running ones
        paths = strategy.paths(0)
        strategy.paths = lambda _, paths=paths[:: -1 if backwards else 1]: paths
        double = StepBatch(0, (batch.images.double(),), batch.targets)
        for term in strategy.terms(strategy.model, double):
            term.loss.backward()
        found.append({key: value.grad for key, value in strategy.model.named_parameters() if value.grad is not None})
    assert found[0].keys() == found[1].keys()
    assert all(torch.allclose(found[0][key], found[1][key], rtol=1e-9, atol=1e-12) for key in found[0])
    choices = {key.rpartition(".conv")[0] for key in found[0] if "layers.0." in key}
    assert len(choices) >= len(MINI.layers[0].tokens)


def test_one_path_of_strict_fairness_is_plain_descent(tmp_path):
    # A space with one choice a layer leaves one path: the same step as uniform sampling takes.
    tokens = [layer.tokens[:1] for layer in MINI.layers]
    layers = tuple(type(layer)(layer.width, layer.stride, t) for layer, t in zip(MINI.layers, tokens, strict=True))
    single = replace(MINI, layers=layers)
    results = [train(strategy_of(name, single), DATA, settings(max_steps=2), tmp_path / name)
               for name in ("fairnas", "spos")]  # fmt: skip
    assert all(torch.equal(results[0].state[key], results[1].state[key]) for key in results[0].state)


def test_each_path_of_a_split_step_sees_pictures_of_its_own():
    strategy = strategy_of("fairnas", split=True)
    seen = []
    strategy.criterion = lambda logits, targets: logits.sum() + targets.sum()

    def model(images, arch):
        seen.append(images[:, 0, 0, 0].tolist())
        return images

    numbers = torch.arange(20.0).view(20, 1, 1, 1)
    list(strategy.terms(model, StepBatch(0, (numbers,), torch.arange(20))))
    assert len(seen) == len(strategy.paths(0))
    assert sorted(value for part in seen for value in part) == list(range(20))


def test_fair_sampling_and_a_stabilizer_make_scarlet(tmp_path):
    strategy = strategy_of("scarlet")
    assert strategy.supernet.skip == "identity"
    assert strategy_of("spos").supernet.skip == "plain"
    _, rows = run(strategy, tmp_path, max_steps=20)
    for end in range(1, 21):
        assert max(spreads(counts_of(rows[:end], MINI), MINI)) <= 1
    for row in rows:
        (arch,) = row["archs"]
        skipped = [i for i, token in enumerate(Arch.parse(arch, MINI).tokens) if token == "id"]
        assert all(f"layers.{i}.id.weight" in row["changed"] for i in skipped)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_it_is_a_choice_of_the_command_line_and_scores_a_search(name, space_file, tmp_path, scarlet):
    out = tmp_path / "run"
    code, told, err = scarlet(
        *COMMAND, "--space", space_file, "--strategy", name, "--max-steps", "4", "--out", out, "--json"
    )
    assert (code, err) == (0, "")
    assert f'"strategy": "{name}"' in told
    found = tmp_path / "search"
    code, told, err = scarlet(
        "search", "--supernet", out / "supernet.safetensors", "--strategy", name, "--data-dir", FASHION, "--out", found,
        "--evaluations", 4, "--population", 2, "--validation-images", 40, "--bn-images", 20, "--json",
    )  # fmt: skip
    assert code == 0
    assert err.startswith("note: judged on 40 validation images: differences below about 1")
    assert err.count("\n") == 1
    metric = STRATEGIES[name].metric
    front = json.loads(told)["front"]
    assert all(np.isfinite(row["values"][metric]) for row in front)


def test_options_are_checked():
    with pytest.raises(TrainingError, match=r"fairnas: option split=perhaps, wanted a valid boolean"):
        strategy_of("fairnas", split="perhaps")
    with pytest.raises(TrainingError, match=r"spos: option sharp=1, wanted no option"):
        strategy_of("spos", sharp=1)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), [*((name, {}) for name in STRATEGIES), ("fairnas", {"split": True})])
def test_pictures_are_counted_as_often_as_paths_run_on_them(name, options, tmp_path):
    strategy, seen = strategy_of(name, **options), []
    # A teacher is a copy, hooks and all: what only it sees is not counted.
    count = lambda module, args: seen.append(len(args[0])) if module is strategy.model else None  # noqa: E731
    strategy.model.register_forward_pre_hook(count)
    _, rows = run(strategy, tmp_path, max_steps=2)
    assert strategy.batch_share * sum(row["images"] * len(row["archs"]) for row in rows) == pytest.approx(sum(seen))


@pytest.mark.slow
@pytest.mark.parametrize(("given", "strategy", "skip"), [
    ((), DEFAULT, DEFAULT_SKIP), (("--strategy", "scarlet"), "scarlet", "identity"),
    (("--skip", "kaiming"), DEFAULT, "kaiming"), (("--strategy", "spos"), "spos", "plain"),
])  # fmt: skip
def test_what_trains_where_nobody_says_how(given, strategy, skip, space_file, scarlet, tmp_path):
    code, out, err = scarlet(*COMMAND, "--space", space_file, "--max-steps", 1, "--out", tmp_path, *given, "--json")
    assert code == 0, err
    report = json.loads(out)
    assert (report["strategy"], report["skip"]) == (strategy, skip)
    has = any(isinstance(module, Stabilizer) for module in load_supernet(tmp_path / SUPERNET_FILE)[0].modules())
    assert has == (skip != "plain")


def test_the_help_says_what_trains_where_nobody_says_how(scarlet):
    _, said, _ = scarlet("supernet", "train", "--help")
    assert f"{DEFAULT} with {DEFAULT_SKIP} skips" in " ".join(said.replace("│", " ").split())
