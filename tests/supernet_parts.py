"""What the tests of supernets share: one that is far from its first values, a step of it, and what must agree."""

import torch
from conftest import TINY

import scarlet_zoo as zoo
from scarlet_zoo.models.blocks import Stabilizer
from scarlet_zoo.models.supernet import Supernet


def lively(space, skip="identity", seed=0, entangled=False):
    """A supernet whose norms and stabilizers are far from their first values."""
    torch.manual_seed(seed)
    supernet = Supernet(space, skip, entangled)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in supernet.modules():
            if isinstance(module, torch.nn.BatchNorm2d) and module.weight is not None:
                module.running_mean.normal_(0, 0.1, generator=random)
                module.running_var.uniform_(0.5, 1.5, generator=random)
                module.weight.uniform_(0.5, 1.5, generator=random)
                module.bias.normal_(0, 0.1, generator=random)
            elif isinstance(module, Stabilizer):
                module.matrix.add_(0.2 * torch.randn(module.matrix.shape, generator=random))
    return supernet.eval()


def images(space, count=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, space.in_chans, space.input_size, space.input_size, generator=generator)


def one_step(supernet, arch, optimizer):
    supernet.train()
    optimizer.zero_grad(set_to_none=True)
    torch.nn.functional.cross_entropy(supernet(images(TINY, 8), arch), torch.arange(8) % 10).backward()
    optimizer.step()


def moved_keys(supernet, before):
    return {key for key, value in supernet.state_dict().items() if not torch.equal(value, before[key])}


def agreeing(supernet, arch, folder):
    """Check that a path, its subnet, its fold and its file compute the same; the subnet and the folded network."""
    x, subnet = images(supernet.space, 4), supernet.subnet(arch)
    folded = zoo.fold(subnet)
    artifact = zoo.export_onnx(folded, folder / "net.onnx")
    with torch.inference_mode():
        truth = supernet(x, arch)
        assert torch.equal(subnet(x), truth)
        assert (folded.model(x) - truth).abs().max() < 1e-4 * truth.abs().max()
    assert zoo.verify(subnet, artifact).passed
    assert artifact.arch == arch
    return subnet, folded.model
