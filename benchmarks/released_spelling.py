"""Export SCARLET-A, B and C as the released code would: in its own operators, by torch's exporter, not folded."""

import argparse
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import relu6

from scarlet_zoo.arch.zoo import ZOO
from scarlet_zoo.evidence.drivers import one_line_errors
from scarlet_zoo.models.loading import load_network


class HardSwish(nn.Module):  # noqa: D101
    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return x * relu6(x + 3) / 6


class HardSigmoid(nn.Module):  # noqa: D101
    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return relu6(x + 3) / 6


class Gate(nn.Module):
    """Squeeze-and-excitation with the pooling module of the released code."""

    def __init__(self, timms: Any) -> None:
        super().__init__()
        self.pool, self.timms = nn.AdaptiveAvgPool2d(1), timms

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        squeezed = self.timms.act1(self.timms.conv_reduce(self.pool(x)))
        gated: Tensor = x * self.timms.gate(self.timms.conv_expand(squeezed))
        return gated


class Released(nn.Module):
    """One of our networks with the activations and poolings of the released code."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        for name, module in list(model.named_modules()):
            if isinstance(module, nn.Hardswish):
                model.set_submodule(name, HardSwish())
            elif isinstance(module, nn.Hardsigmoid):
                model.set_submodule(name, HardSigmoid())
        for name, module in list(model.named_modules()):
            if name.endswith(".se") and not isinstance(module, nn.Identity):
                model.set_submodule(name, Gate(module))
        self.model = model

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        logits: Tensor = self.model.classifier(self.model.forward_features(x).mean(3).mean(2))
        return logits


def main() -> None:
    """Export the three networks into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="Folder to write into.")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    axes = {"input": {0: "batch"}, "logits": {0: "batch"}}
    names: dict[str, Any] = {"input_names": ["input"], "output_names": ["logits"], "dynamic_axes": axes}
    for name in (name for name, entry in ZOO.items() if entry.published):
        network = load_network(name)
        images = torch.zeros(1, network.preprocessing.channels, *network.preprocessing.size)
        released = Released(network.model).eval()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            path = folder / f"{name}.released.onnx"
            torch.onnx.export(released, (images,), path, dynamo=False, opset_version=17, **names)


if __name__ == "__main__":
    with one_line_errors():
        main()
