"""MixPath: numbers of paths uniformly, and shadow norms that only their own number of paths moves."""

from collections import Counter

import pytest
from scipy.stats import chisquare
from strategy_parts import MINI, run, strategy_of

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.errors import TrainingError


def test_the_number_of_paths_is_drawn_first_and_then_which():
    strategy = strategy_of("mixpath", paths=3)
    space, layer = strategy.space, 0
    drawn = [strategy.paths(step)[0] for step in range(3000)]
    tokens = [arch.tokens[layer] for arch in drawn]
    numbers = Counter(len(space.choice(token).blocks) for token in tokens)
    assert set(numbers) == {1, 2, 3}
    assert chisquare(list(numbers.values())).pvalue > 1e-4
    # A skip is no paths, one of four numbers.
    skipped = next(i for i, layer in enumerate(space.layers) if "id" in layer.tokens)
    skips = sum(arch.tokens[skipped] == "id" for arch in drawn)
    assert chisquare([skips, len(drawn) - skips], [len(drawn) / 4, len(drawn) * 3 / 4]).pvalue > 1e-4
    for number in numbers:
        found = Counter(token for token in tokens if len(space.choice(token).blocks) == number)
        legal = [token for token in space.layers[layer].tokens if len(space.choice(token).blocks) == number]
        assert chisquare([found[token] for token in legal]).pvalue > 1e-4


def test_a_step_moves_the_norms_of_its_expansions_only(tmp_path):
    strategy = strategy_of("mixpath")
    _, rows = run(strategy, tmp_path, max_steps=8)
    seen = set()
    for row in rows:
        arch = Arch.parse(row["archs"][0], strategy.space)
        for index, token in enumerate(arch.tokens):
            choice = strategy.space.choice(token)
            if choice.is_skip:
                continue
            seen.add(len(choice.blocks))
            wanted = "+".join(sorted(f"e{block.expand_ratio}" for block in choice.blocks))
            norms = {name for name in row["changed"] if name.startswith(f"layers.{index}.") and ".norms." in name}
            assert norms
            assert all(f".norms.{wanted}." in name for name in norms), (token, norms)
    assert seen == {1, 2}


def test_a_chain_space_gets_its_sets_and_a_space_with_sets_keeps_them():
    strategy = strategy_of("mixpath")
    assert strategy.space.most_paths == 2
    assert strategy_of("mixpath", strategy.space).space == strategy.space
    assert MINI.most_paths == 1
    with pytest.raises(TrainingError, match="paths=1"):
        strategy_of("mixpath", paths=1)
