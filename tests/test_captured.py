"""A network's step as a CUDA graph: what the loop does step by step, in less time."""

import warnings
from dataclasses import dataclass, field

import pytest
import torch
from torch import nn

from scarlet_zoo.errors import ScarletWarning
from scarlet_zoo.training.captured import CapturedGradients
from scarlet_zoo.training.learner import LossTerm, StepBatch

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@dataclass
class Training:
    """A small network with a batch norm, and the gradients of its cross-entropy."""

    reads: bool = False
    model: nn.Module = field(init=False)

    def __post_init__(self):
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 36, 4)).cuda()

    def backward(self, batch):
        loss = nn.functional.cross_entropy(self.model(batch.images), batch.targets)
        assert not self.reads or float(loss) > 0
        loss.backward()
        return [LossTerm("cross_entropy", loss.detach(), None)]

    def steps(self, gradients):
        """Losses of five steps, and the network after them."""
        optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        losses = []
        for step in range(5):
            torch.manual_seed(step)
            batch = StepBatch(step, (torch.randn(16, 3, 8, 8, device="cuda"),), torch.randint(4, (16,), device="cuda"))
            losses.append(float(gradients(batch)[0].loss))
            optimizer.step()
        return losses, self.model.state_dict()


def by_hand(training):
    def gradients(batch):
        training.model.zero_grad(set_to_none=True)
        return training.backward(batch)

    return gradients


@needs_cuda
@pytest.mark.parametrize("reads", [False, True], ids=["captured", "step by step, for it reads a value"])
def test_the_graph_gives_the_same_losses_weights_and_statistics(reads):
    one, other = Training(), Training(reads)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found, state = other.steps(CapturedGradients(other.model, other.backward))
    wanted, own = one.steps(by_hand(one))
    assert found == wanted
    assert all(torch.equal(own[key], value) for key, value in state.items())
    assert [w.category for w in said] == [ScarletWarning] * reads


def test_gradients_do_not_add_up_where_nothing_can_be_captured(monkeypatch):
    model = nn.Linear(2, 1, bias=False)

    def backward(batch):
        model(batch.images).sum().backward()
        return []

    gradients = CapturedGradients(model, backward)
    monkeypatch.setattr(gradients, "_capture", lambda _: setattr(gradients, "_failed", True))
    for count in (4, 3):
        gradients(StepBatch(0, (torch.ones(count, 2),), torch.zeros(count)))
    assert model.weight.grad.tolist() == [[3.0, 3.0]]
