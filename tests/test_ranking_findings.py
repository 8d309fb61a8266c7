"""What is looked for inside supernets: similarities and shifts against their definitions, draws, pools."""

import json
import random
import re

import numpy as np
import pytest
import torch
from conftest import FASHION
from test_ranking import folder  # noqa: F401 - a fixture
from timm.models._efficientnet_blocks import InvertedResidual

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.space_files import space_of
from scarlet_zoo.errors import ScarletError
from scarlet_zoo.evidence.findings.conditions import Condition, look_into, without_shortcuts
from scarlet_zoo.evidence.findings.similarity import feature_shift, features_before, layer_similarity, parameter_shift
from scarlet_zoo.evidence.findings.stability import Draws, draw_and_rank, stability_of
from scarlet_zoo.evidence.findings.updates import Pool, Pooled, train_and_rank
from scarlet_zoo.models.blocks import Stabilizer
from scarlet_zoo.models.supernet import Supernet
from scarlet_zoo.nas.ranking.ground_truth import read_truth
from scarlet_zoo.nas.ranking.schedule import Schedule
from scarlet_zoo.training.run import DataPlan

SPACE = space_of(
    {"name": "few", "in_chans": 1, "input_size": 28, "num_classes": 10, "stem_width": 8, "first_width": 8,
     "head_width": 16, "stages": [[8, 2, 2], [16, 2, 2]], "kernel_sizes": [3], "expand_ratios": [1, 3]}
)  # fmt: skip
SHORT = Schedule(epochs=1)


@pytest.fixture
def supernet():
    torch.manual_seed(0)
    return Supernet(SPACE, "plain").eval()


@pytest.fixture
def images():
    return torch.randn(6, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def archs_of(count, seed=0):
    rng = random.Random(seed)
    return [Arch.sample(SPACE, rng) for _ in range(count)]


def test_a_skip_is_as_alike_to_a_block_as_its_input_is_to_the_blocks_output(supernet, images):
    (arch,) = archs_of(1)
    found = layer_similarity(supernet, 1, images, [arch])
    tokens = SPACE.layers[1].tokens
    with torch.inference_mode():
        supernet.train()  # batch statistics, by torch itself
        x = features_before(supernet, 1, images, arch)
        wanted = [torch.nn.functional.cosine_similarity(x.flatten(1), supernet.layers[1][t](x).flatten(1)).mean().item()
                  for t in tokens if t != "id"]  # fmt: skip
    assert found.skip == pytest.approx(np.mean(wanted), abs=1e-5)
    matrix = np.array(found.matrix)
    assert np.allclose(matrix, matrix.T)
    assert np.allclose(np.diag(matrix), 1)
    rows = [i for i, token in enumerate(tokens) if token != "id"]
    assert found.blocks == pytest.approx(np.mean([matrix[i, j] for i in rows for j in rows if i < j]))
    with pytest.raises(ScarletError, match="layer 0: got no skip"):
        layer_similarity(supernet, 0, images, [arch])


def test_looking_leaves_the_supernet_as_it_was(supernet, images):
    before = {key: value.clone() for key, value in supernet.state_dict().items()}
    layer_similarity(supernet, 1, images, archs_of(2))
    feature_shift(supernet, images, [tuple(archs_of(2))])
    parameter_shift(supernet, images, torch.zeros(6, dtype=torch.long), random.Random(0), 1)
    assert all(torch.equal(value, before[key]) for key, value in supernet.state_dict().items())
    assert all(parameter.grad is None for parameter in supernet.parameters())


def test_features_shift_only_behind_what_differs(supernet, images):
    one = Arch.of(SPACE, ["e1k3", "e1k3", "e1k3", "e1k3"])
    other = Arch.of(SPACE, ["e1k3", "e3k3se", "e1k3", "e1k3"])
    shifts = feature_shift(supernet, images, [(one, other)])
    assert shifts[:2] == pytest.approx([0, 0], abs=1e-6)
    assert all(shift > 1e-3 for shift in shifts[2:])
    assert feature_shift(supernet, images, [(one, one)]) == pytest.approx([0] * 4, abs=1e-6)


def test_gradients_of_one_path_do_not_shift_and_of_two_they_do(supernet, images):
    targets = torch.arange(6) % 10
    shifts = parameter_shift(supernet, images, targets, random.Random(0), 3)
    assert len(shifts) == 4
    assert all(0 < shift < 2 for shift in shifts)

    class OnePath(random.Random):
        def choice(self, values):
            return values[0]

    assert parameter_shift(supernet, images, targets, OnePath(0), 1) == pytest.approx([0] * 4, abs=1e-5)


def test_without_shortcuts_a_block_is_its_chain_alone(images):
    torch.manual_seed(0)
    supernet = Supernet(SPACE, "identity").eval()
    blocks = [m for m in supernet.modules() if isinstance(m, InvertedResidual)]
    assert any(block.has_skip for block in blocks)
    without_shortcuts(supernet)
    assert not any(block.has_skip for block in blocks)
    assert any(isinstance(module, Stabilizer) for module in supernet.modules())


@pytest.mark.slow
def test_a_condition_is_trained_looked_into_and_kept(tmp_path):
    condition = Condition(name="x", space=SPACE, skip="orthogonal", shortcuts=False, schedule=SHORT)
    data = DataPlan(name="fashion-mnist", folder=FASHION, images=200)
    found = look_into(condition, data, tmp_path)
    assert [row["layer"] for row in found["layers"]] == [1, 3]
    assert len(found["feature_shift"]) == len(found["parameter_shift"]) == 4
    assert len(found["one_shot"]) == 32
    assert found["loss"] > 0
    assert found == look_into(condition, data, tmp_path) == json.loads((tmp_path / "inside.json").read_text())
    with pytest.raises(ScarletError, match="wanted an unused folder"):
        look_into(Condition(name="x", space=SPACE, skip="plain", schedule=SHORT), data, tmp_path)


def test_a_training_that_diverges_is_a_finding_too(tmp_path):
    condition = Condition(name="x", space=SPACE, skip="plain", schedule=Schedule(epochs=3, lr=1e30, clip_norm=0.0))
    data = DataPlan(name="fashion-mnist", folder=FASHION, images=200)
    found = look_into(condition, data, tmp_path)
    assert set(found) == {"asked", "diverged"}
    assert re.match(r"the loss is (nan|inf) at step \d+, wanted a finite one; try a smaller lr", found["diverged"])
    assert found == look_into(condition, data, tmp_path)


def test_means_of_draws_agree_better_than_draws_do():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=80)
    rows = stability_of(truth + 0.7 * rng.normal(size=(8, 80)), truth)
    assert [row["averaged"] for row in rows] == [1, 2, 4]
    for key in ("each_other", "truth"):
        assert rows[0][key] < rows[1][key] < rows[2][key]
    with pytest.raises(ScarletError, match="got 1 draws of weights"):
        stability_of(truth[None], truth)


@pytest.mark.slow
def test_draws_rank_and_a_pool_ranks(folder, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr("scarlet_zoo.evidence.findings.stability._CALIBRATION", 20)
    monkeypatch.setattr("scarlet_zoo.evidence.findings.stability._VALIDATION", 40)
    monkeypatch.setattr("scarlet_zoo.evidence.findings.updates._CALIBRATION", 20)
    monkeypatch.setattr("scarlet_zoo.evidence.findings.updates._VALIDATION", 40)
    truth = read_truth(folder)
    drawn = draw_and_rank(Draws(truth=truth, temperature=1.0, samples=2, schedule=SHORT), tmp_path / "draws")
    assert np.array(drawn["accuracies"]).shape == (2, 6)
    assert [row["averaged"] for row in drawn["stability"]] == [1]
    pool = Pool(truth=truth, size=8, schedule=SHORT)
    ranked = train_and_rank(pool, tmp_path / "pool")
    assert ranked["updates"] == ranked["steps"] / 8
    assert -1 <= ranked["tau"] <= 1
    lines = [json.loads(line) for line in (tmp_path / "pool" / "steps.jsonl").read_text().splitlines()]
    assert {arch for line in lines for arch in line["archs"]} <= {str(arch) for arch in pool.archs}
    whole = train_and_rank(Pool(truth=truth, size=None, schedule=SHORT), tmp_path / "whole")
    assert whole["updates"] < 1


def test_a_pool_holds_what_is_ranked_and_others_each_once(folder):  # noqa: F811
    truth = read_truth(folder)
    pool = Pool(truth=truth, size=20, schedule=SHORT)
    assert len({*pool.archs}) == 20
    assert set(truth.archs) < set(pool.archs)
    pooled = Pooled(pool)
    drawn = [pooled.paths(step)[0] for step in range(300)]
    assert {*drawn} == {*pool.archs}
    with pytest.raises(ScarletError, match="pool: got size 5, wanted 6 or more"):
        _ = Pool(truth=truth, size=5, schedule=SHORT).archs
