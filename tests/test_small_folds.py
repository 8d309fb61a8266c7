"""The fold of batch norms in networks of two or three layers: what is merged exactly, and what stays and why."""

import copy

import pytest
import torch
from timm.layers import BatchNormAct2d
from timm.models.byobnet import MobileOneBlock
from torch import nn

from scarlet_zoo.folding.fold import fold

IMAGES = torch.randn(3, 4, 9, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def settled(model):
    """The network with weights and statistics as a training leaves them: none of them is 0 or 1."""
    random = torch.Generator().manual_seed(0)
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d)):
        for tensor, low in ((norm.running_mean, -1), (norm.running_var, 0.01), (norm.weight, 0.5), (norm.bias, -1)):
            if tensor is not None:
                tensor.data.uniform_(low, 2, generator=random)
    model.pretrained_cfg = {"input_size": (4, 9, 8)}
    return model.eval()


class Sum(nn.Module):
    """A norm of the sum of several layers, the last of which may be read again."""

    def __init__(self, *layers, again=False):
        super().__init__()
        self.layers, self.norm, self.again = nn.ModuleList(layers), nn.BatchNorm2d(6), again

    def forward(self, x):
        outputs = [layer(x) for layer in self.layers]
        total = outputs[0]
        for output in outputs[1:]:
            total = total + output
        return self.norm(total) + outputs[-1] if self.again else self.norm(total)


def conv(**how):
    return nn.Conv2d(4, 6, **{"kernel_size": 3, "padding": 1} | how)


FOLDED = {
    "with a bias": lambda: nn.Sequential(conv(), nn.BatchNorm2d(6)),
    "without one": lambda: nn.Sequential(conv(bias=False), nn.BatchNorm2d(6)),
    "a large epsilon": lambda: nn.Sequential(conv(), nn.BatchNorm2d(6, eps=0.3)),
    "no factors": lambda: nn.Sequential(conv(), nn.BatchNorm2d(6, affine=False)),
    "groups, strides and dilations": lambda: nn.Sequential(
        conv(groups=2, stride=2, dilation=(1, 2), padding=(1, 0), kernel_size=(3, 2)), nn.BatchNorm2d(6)),
    "a norm with its activation": lambda: nn.Sequential(conv(), BatchNormAct2d(6, eps=0.2), conv2()),
    "a sum of two": lambda: Sum(conv(), conv(kernel_size=1, padding=0)),
    "a sum of three, one without a bias": lambda: Sum(conv(), conv(bias=False), conv()),
}  # fmt: skip


def conv2():
    return nn.Conv2d(6, 5, 1)


@pytest.mark.parametrize("kind", FOLDED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_norms_are_merged_exactly(kind, dtype):
    torch.manual_seed(0)
    model = settled(FOLDED[kind]()).to(dtype)
    before = copy.deepcopy(model.state_dict())
    done = fold(model)
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    assert [step.kind for step in done.steps] == ["batch_norm"] * norms
    assert not done.skipped
    assert not [module for module in done.model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {parameter.dtype for parameter in done.model.parameters()} == {dtype}
    assert not done.model.training
    truth = model.double()(IMAGES)
    error = (done.model.double()(IMAGES) - truth).abs().max() / truth.abs().max()
    assert error < (1e-12 if dtype == torch.float64 else 1e-5)
    assert done.max_rel_diff < 1e-12
    assert all(step.max_abs_diff < 1e-10 for step in done.steps)
    assert all(torch.equal(before[name], value.to(dtype)) for name, value in model.state_dict().items())


class Twice(nn.Module):
    """A layer or a norm that is used twice, or a layer that is added to itself."""

    def __init__(self, kind):
        super().__init__()
        self.conv, self.norm, self.other, self.kind = conv(), nn.BatchNorm2d(6), nn.Conv2d(6, 6, 1), kind

    def forward(self, x):
        y = self.conv(x)
        return {"layer": lambda: self.norm(y) + self.conv(x + 1), "norm": lambda: self.norm(self.other(self.norm(y))),
                "itself": lambda: self.norm(y + y), "read": lambda: self.norm(y) + y}[self.kind]()  # fmt: skip


@pytest.mark.parametrize(("make", "why"), [
    (lambda: Twice("layer"), "conv has other readers"), (lambda: Twice("norm"), "other readers"),
    (lambda: Twice("itself"), "conv"), (lambda: Twice("read"), "conv has other readers"),
    (lambda: Sum(conv(), conv(), again=True), "has other readers"),
    (lambda: nn.Sequential(conv(), nn.ReLU(), nn.BatchNorm2d(6)), "it follows a ReLU, not a plain convolution"),
    (lambda: nn.Sequential(conv(), nn.BatchNorm2d(6, track_running_stats=False)), "it keeps no running statistics"),
    (lambda: nn.Sequential(nn.BatchNorm2d(4), conv()), "not a convolution")])  # fmt: skip
def test_a_norm_that_nothing_can_take_in_stays_with_its_reason(make, why):
    torch.manual_seed(0)
    model = settled(make())
    done = fold(model)
    assert len(done.skipped) == sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    assert why in done.skipped[0].reason
    assert not done.steps
    with torch.no_grad():
        assert torch.allclose(done.model(IMAGES.float()), model(IMAGES.float()), atol=1e-5)


def test_a_block_with_branches_of_its_own_merges_them():
    torch.manual_seed(0)
    model = settled(nn.Sequential(MobileOneBlock(4, 6, 3), conv2()))
    done = fold(model)
    assert done.steps[0].kind == "reparameterize"
    assert done.steps[0].max_abs_diff < 1e-10
    assert not [module for module in done.model.modules() if isinstance(module, nn.BatchNorm2d)]
    truth = model.double()(IMAGES)
    assert (done.model.double()(IMAGES) - truth).abs().max() <= 1e-5 * truth.abs().max()


def test_a_network_of_one_size_is_compared_on_images_of_it():
    torch.manual_seed(0)
    model = settled(nn.Sequential(nn.Conv2d(4, 2, 1), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2 * 100 * 40, 3)))
    model.pretrained_cfg = {"input_size": (4, 100, 40), "fixed_input_size": True}
    assert [step.kind for step in fold(model).steps] == ["batch_norm"]
