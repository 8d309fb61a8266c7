"""What the tests of the strategies share: a few steps on real pictures, watched from outside."""

import json
from dataclasses import replace
from functools import cache

import torch
from conftest import fashion

from scarlet_zoo.arch.choices import mbconv_choices
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.arch.spaces import chain_layers
from scarlet_zoo.nas.strategies.registry import create_strategy
from scarlet_zoo.training.loop import train
from scarlet_zoo.training.settings import TrainSettings

_CHOICES = mbconv_choices(expand_ratios=(3, 6), kernel_sizes=(3, 5), squeeze_excite=False)
# Small pictures and few layers, skips in some of them.
MINI = SearchSpace(
    "small", _CHOICES, chain_layers(((8, 1, 2), (16, 3, 2)), _CHOICES, in_chs=8), in_chans=1, input_size=28,
    num_classes=10, stem_width=8, first_width=8, head_width=32, stem_stride=1, mean=(0.286,), std=(0.353,), crop=1.0,
)  # fmt: skip
_CHAIN = fashion(MINI)
DATA = replace(_CHAIN, open_part=cache(_CHAIN.open_part))
# The same, as a user declares it.
MINI_TOML = """name = "small"
in_chans = 1
input_size = 28
num_classes = 10
stem_width = 8
first_width = 8
head_width = 32
stem_stride = 1
mean = [0.286]
std = [0.353]
crop = 1.0
stages = [[8, 1, 2], [16, 3, 2]]
kernel_sizes = [3, 5]
squeeze_excite = false
"""


def settings(**kwargs):
    return TrainSettings(**{"batch_size": 8, "epochs": 1, "max_steps": 4, **kwargs})


def strategy_of(name, space=MINI, seed=0, skip=None, **options):
    torch.manual_seed(seed)
    return create_strategy(name, space, skip, {key: str(value) for key, value in options.items()}, seed)


def rows_of(folder):
    return [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]


def run(strategy, folder, **kwargs):
    """Train, and read what steps.jsonl says."""
    done = train(strategy, DATA, settings(**kwargs), folder)
    return done, rows_of(folder)


class Moves:
    """The tensors of a model that differ from what they were, bit for bit."""

    def __init__(self, model):
        self.model, self.before = model, {}
        self.keep()

    def keep(self):
        self.before = {key: value.clone() for key, value in self.model.state_dict().items()}

    def names(self):
        return [key for key, value in self.model.state_dict().items() if not torch.equal(value, self.before[key])]
