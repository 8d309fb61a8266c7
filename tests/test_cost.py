import random

import pytest
import torch
from conftest import TINY
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from scarlet_zoo import arch_cost, create_model, get_arch, get_space
from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.models.cost import model_cost

EXACT = {
    "scarlet_a": (6_707_720, 365_307_392),
    "scarlet_b": (6_531_556, 326_853_440),
    "scarlet_c": (6_073_684, 280_082_912),
}


@pytest.mark.parametrize("name", EXACT)
def test_the_closed_form_gives_the_known_parameters_and_macs(name):
    cost = arch_cost(get_arch(name))
    assert (cost.params, cost.macs) == EXACT[name]


@pytest.mark.parametrize("space", [get_space("scarlet"), TINY], ids=lambda space: space.name)
@pytest.mark.parametrize("seed", range(4))
def test_the_closed_form_agrees_with_the_model_that_runs(space, seed):
    arch = Arch.sample(space, random.Random(seed))
    size = random.Random(seed).choice([32, 33, 47, 64])
    model = create_model(arch, in_chans=2, num_classes=7)
    closed = arch_cost(arch, input_size=size, in_chans=2, num_classes=7)
    counted = model_cost(model, (2, size, size))
    assert closed.params == counted.params == sum(p.numel() for p in model.parameters())
    assert closed.macs == counted.macs


def test_a_stabilizer_counts_for_nothing():
    arch = get_arch("scarlet_b")
    assert arch_cost(arch).layers[2 + 8].macs == 0
    stabilized = create_model(arch, stabilized=True)
    extra = sum(p.numel() for p in stabilized.parameters()) - arch_cost(arch).params
    assert extra == 80 * 80 + 192 * 192


def test_counting_leaves_the_model_as_it_was():
    model = create_model("resnet18").train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    cost = model_cost(model, (3, 64, 64))
    assert model.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert cost.params == sum(p.numel() for p in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "coat_lite_tiny"])
def test_attention_counts_and_the_sum_is_torchs_own(name):
    """Fused and written-out attention, windows in the batch axis, and modules that several others run."""
    model = create_model(name).eval()
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, 224, 224))
    cost = model_cost(model, (3, 224, 224))
    assert 2 * cost.macs == counter.get_total_flops()
    assert sum(layer.macs for layer in cost.layers if layer.token == "products") > 0.01 * cost.macs
    assert cost.params == sum(p.numel() for p in model.parameters())
    assert all(layer.params >= 0 for layer in cost.layers)


def test_the_attention_of_a_vision_transformer_is_two_products_of_all_tokens():
    cost = model_cost(create_model("vit_tiny_patch16_224"), (3, 224, 224))
    tokens, width, blocks = 197, 192, 12
    products = [layer.macs for layer in cost.layers if layer.token == "products"]
    assert products == [2 * tokens**2 * width] * blocks
