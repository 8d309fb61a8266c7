"""The supernet and its paths: what is shared, what is copied, and what a step leaves alone."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import TINY, skipping_arch
from hypothesis import given, settings
from hypothesis import strategies as st
from supernet_parts import agreeing, images, lively, moved_keys, one_step

import scarlet_zoo as zoo
from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.spaces import get_space
from scarlet_zoo.errors import ArchError, CheckpointError, ScarletError
from scarlet_zoo.models.batchnorm import precise_bn
from scarlet_zoo.models.blocks import Stabilizer
from scarlet_zoo.models.supernet import SKIPS, Supernet, load_supernet, save_supernet
from scarlet_zoo.nas.sampling import FairSampler, UniformSampler


@pytest.mark.slow
@pytest.mark.parametrize("space", [TINY, get_space("scarlet-mini")], ids=lambda space: space.name)
@pytest.mark.parametrize("seed", range(3))
def test_a_path_its_subnet_its_fold_and_its_file_agree(space, seed, tmp_path):
    arch = skipping_arch(space, seed)
    subnet, folded = agreeing(lively(space), arch, tmp_path)
    stabilizers = [name for name, module in subnet.named_modules() if isinstance(module, Stabilizer)]
    assert len(stabilizers) == len(arch.skipped)
    assert not any(isinstance(module, Stabilizer) for module in folded.modules())


def test_a_subnet_is_a_copy_with_the_plain_networks_names():
    supernet = lively(TINY)
    arch = skipping_arch(TINY, 1)
    subnet = supernet.subnet(arch)
    assert subnet.state_dict().keys() == zoo.create_model(arch, stabilized=True).state_dict().keys()
    before = {key: value.clone() for key, value in supernet.state_dict().items()}
    with torch.no_grad():
        for parameter in subnet.parameters():
            parameter.add_(1)
    assert all(torch.equal(value, before[key]) for key, value in supernet.state_dict().items())


def test_without_the_stabilizer_the_path_computes_something_else():
    supernet = lively(TINY)
    arch = skipping_arch(TINY, 0, share=1.0)
    plain = zoo.create_model(arch).eval()
    stabilized = supernet.subnet(arch)
    by_module = {name: value for name, value in stabilized.state_dict().items() if "weight" in name}
    assert any(isinstance(stabilized.get_submodule(name.rpartition(".")[0]), Stabilizer) for name in by_module)
    stages = (list(net.get_submodule("blocks").children()) for net in (stabilized, plain))
    for stage, bare in zip(*stages, strict=True):
        blocks = [block for block in stage.children() if not isinstance(block, Stabilizer)]
        for block, target in zip(blocks, bare.children(), strict=True):
            target.load_state_dict(block.state_dict())
    for name in ("conv_stem", "bn1", "conv_head", "bn2", "classifier"):
        plain.get_submodule(name).load_state_dict(stabilized.get_submodule(name).state_dict())
    x = images(TINY)
    with torch.inference_mode():
        assert (plain(x) - stabilized(x)).abs().max() > 1e-2


@pytest.mark.parametrize("skip", SKIPS)
def test_what_stands_on_a_skip_is_an_option(skip):
    supernet = Supernet(TINY, skip)
    modules = [choices["id"] for choices in supernet.layers if "id" in choices]
    kind = torch.nn.Identity if skip == "plain" else Stabilizer
    assert modules
    assert all(isinstance(module, kind) for module in modules)
    for module in modules:
        if skip != "plain":
            assert sum(parameter.numel() for parameter in module.parameters()) == module.in_channels**2
    arch = skipping_arch(TINY, 2)
    supernet.eval()
    with torch.inference_mode():
        assert torch.equal(supernet.subnet(arch)(images(TINY)), supernet(images(TINY), arch))


def test_a_fresh_identity_stabilizer_is_a_plain_skip():
    torch.manual_seed(0)
    ours = Supernet(TINY, "identity").eval()
    torch.manual_seed(0)
    plain = Supernet(TINY, "plain").eval()
    arch = skipping_arch(TINY, 3)
    with torch.inference_mode():
        assert torch.equal(ours(images(TINY), arch), plain(images(TINY), arch))


def test_a_step_moves_nothing_that_was_not_sampled():
    supernet = Supernet(TINY)
    optimizer = torch.optim.SGD(supernet.parameters(), 0.1, 0.9, weight_decay=0.1, nesterov=True)
    for seed in range(8):
        # So that every choice has a momentum that could move it.
        one_step(supernet, Arch.sample(TINY, random.Random(seed)), optimizer)
    arch = Arch.sample(TINY, random.Random(100))
    before = {key: value.clone() for key, value in supernet.state_dict().items()}
    one_step(supernet, arch, optimizer)
    on_path = tuple(f"layers.{index}.{token}." for index, token in enumerate(arch.tokens))
    shared = ("conv_stem", "bn1", "first", "conv_head", "bn2", "classifier")
    moved = moved_keys(supernet, before)
    assert moved
    assert all(key.startswith((*on_path, *shared)) for key in moved)
    # The check can fail: gradients of zero in the place of none let momentum and decay move the rest.
    for parameter in supernet.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    optimizer.step()
    assert not all(key.startswith((*on_path, *shared)) for key in moved_keys(supernet, before))


@given(draws=st.integers(1, 60), seed=st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_fair_counts_are_at_most_one_apart(draws, seed):
    sampler = FairSampler(TINY, seed)
    archs = [sampler.draw(number) for number in range(draws)]
    for index, layer in enumerate(TINY.layers):
        counts = [sum(arch.tokens[index] == token for arch in archs) for token in layer.tokens]
        assert max(counts) - min(counts) <= 1


def test_uniform_counts_are_not_and_both_samplers_have_no_state():
    sampler = UniformSampler(TINY, 0)
    counts = np.bincount([TINY.layers[0].tokens.index(sampler.draw(n).tokens[0]) for n in range(200)])
    assert counts.max() - counts.min() > 1
    for kind in (FairSampler, UniformSampler):
        assert kind(TINY, 5).draw(17) == kind(TINY, 5).draw(17)
        assert len({str(kind(TINY, seed).draw(0)) for seed in range(8)}) > 1


def test_recalibration_depends_on_architecture_and_data_only():
    arch, other = skipping_arch(TINY, 4), skipping_arch(TINY, 5)
    batches = [images(TINY, 8, seed) for seed in range(3)]
    supernet = lively(TINY)
    first = supernet.subnet(arch)
    precise_bn(first, batches)
    # Whatever the supernet's norms saw in between.
    supernet.train()
    with torch.no_grad():
        supernet(5 * images(TINY, 8), other)
    again = supernet.eval().subnet(arch)
    precise_bn(again, batches)
    once = {key: value.clone() for key, value in again.state_dict().items()}
    precise_bn(again, batches)
    assert all(torch.equal(value, first.state_dict()[key]) for key, value in once.items())
    assert all(torch.equal(value, once[key]) for key, value in again.state_dict().items())
    weights = dict(first.named_parameters())
    assert all(torch.equal(weights[name], value) for name, value in supernet.subnet(arch).named_parameters())
    precise_bn(again, [2 * batch for batch in batches])
    assert not torch.equal(again.bn1.running_mean, first.bn1.running_mean)


@pytest.mark.slow
def test_a_supernet_comes_back_from_its_file(tmp_path):
    supernet = lively(TINY, "orthogonal")
    save_supernet(supernet, tmp_path / "s.safetensors", {"data": "none"})
    back, said = load_supernet(tmp_path / "s.safetensors")
    assert (back.space, back.skip, said["data"]) == (TINY, "orthogonal", "none")
    arch = skipping_arch(TINY, 6)
    with torch.inference_mode():
        assert torch.equal(back(images(TINY), arch), supernet(images(TINY), arch))


def test_bad_supernets_and_paths(tmp_path):
    with pytest.raises(ScarletError, match="'none'"):
        Supernet(TINY, "none")
    with pytest.raises(ArchError, match="wanted space 'tiny'"):
        Supernet(TINY)(images(TINY), Arch.sample(get_space("scarlet-mini"), random.Random(0)))
    for content in (None, b"words"):
        path = tmp_path / "s.safetensors"
        if content:
            path.write_bytes(content)
        with pytest.raises(CheckpointError, match="wanted a supernet"):
            load_supernet(path)
    zoo_file = tmp_path / "net.safetensors"
    from scarlet_zoo.models.weights.checkpoint import save_weights

    save_weights(zoo.create_model(Arch.sample(TINY, random.Random(0))), zoo_file, {})
    with pytest.raises(CheckpointError, match="not a supernet"):
        load_supernet(zoo_file)


def test_a_zoo_architecture_in_a_space_of_other_classes_has_those_classes():
    space = replace(get_space("scarlet"), num_classes=7)
    arch = Arch.parse(str(zoo.get_arch("scarlet_c")), space)
    model = zoo.create_model(arch)
    assert model.num_classes == 7
    assert model.arch.space.num_classes == 7
