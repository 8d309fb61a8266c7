"""Write SCARLET-A, B and C as the released code would: its own spelling, torch's own exporter, nothing folded by us."""
import argparse
import warnings
from pathlib import Path

import torch
from torch import nn

from scarlet_zoo.networks import load_network
from scarlet_zoo.zoo import list_archs


class HardSwish(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * nn.functional.relu6(x + 3) / 6


class HardSigmoid(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.relu6(x + 3) / 6


class Gate(nn.Module):
    """Squeeze-and-excitation with the released pooling module."""

    def __init__(self, gate: nn.Module) -> None:
        super().__init__()
        self.pool, self.gate = nn.AdaptiveAvgPool2d(1), gate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = self.gate
        return x * gate.gate(gate.conv_expand(gate.act1(gate.conv_reduce(self.pool(x)))))


class Released(nn.Module):
    def __init__(self, model: nn.Module) -> None:
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

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model.classifier(self.model.forward_features(x).mean(3).mean(2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for name in list_archs():
        network = load_network(name)
        images = torch.zeros(1, network.preprocessing.channels, *network.preprocessing.size)
        axes = {"input": {0: "batch"}, "logits": {0: "batch"}}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(Released(network.model).eval(), (images,), folder / f"{name}.released.onnx", dynamo=False,
                              opset_version=17, input_names=["input"], output_names=["logits"], dynamic_axes=axes)  # fmt: skip


if __name__ == "__main__":
    main()
