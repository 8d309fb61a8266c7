"""Depthwise kernels that XNNPACK has none for, as exact sums of narrower ones."""

import json

import pytest
import timm
import torch
from conftest import ROOT
from evidence_parts import check_record
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from scarlet_zoo.deployment.runtimes.wide_depthwise import (
    MOST_TAPS,
    SummedConvolutions,
    row_groups,
    split_wide_depthwise,
)
from scarlet_zoo.models.loading import load_network


def depthwise(height, width, stride=1, padding=None, channels=3, multiplier=1, **more):
    padding = (height // 2, width // 2) if padding is None else padding
    return nn.Conv2d(
        channels, channels * multiplier, (height, width), stride, padding, groups=channels, **more
    ).double()


def convolutions(model):
    return [module for module in model.modules() if isinstance(module, nn.Conv2d)]


@given(
    st.sampled_from([(7, 7), (9, 9), (11, 11), (7, 5), (5, 7), (11, 3), (3, 11)]),
    st.sampled_from([1, 2, (2, 1)]),
    st.integers(0, 3),
    st.integers(1, 2),
    st.booleans(),
)
def test_the_sum_of_the_parts_is_the_convolution(size, stride, more_padding, multiplier, bias):
    torch.manual_seed(0)
    padding = (size[0] // 2 + more_padding, size[1] // 2)
    height, width = size
    whole = depthwise(height, width, stride, padding, multiplier=multiplier, bias=bias)
    parts = split_wide_depthwise(nn.Sequential(whole))
    images = torch.randn(2, 3, 13, 12, dtype=torch.float64)
    assert torch.allclose(parts(images), whole(images), rtol=0, atol=1e-12)
    assert len(convolutions(parts)) > 1
    assert sum(conv.weight.numel() for conv in convolutions(parts)) == whole.weight.numel()
    assert all(conv.kernel_size[0] * conv.kernel_size[1] <= MOST_TAPS for conv in convolutions(parts))


def test_seven_rows_are_three_parts():
    assert list(row_groups(depthwise(7, 7))) == [(1, 3, 5), (0, 6), (2, 4)]


@pytest.mark.parametrize("conv", [
    depthwise(5, 5),
    depthwise(13, 13),
    depthwise(8, 8, padding=4),
    depthwise(7, 7, padding=2),
    depthwise(7, 7, dilation=2, padding=6),
    depthwise(7, 7, padding_mode="reflect"),
    depthwise(7, 7, padding="same"),
    nn.Conv2d(4, 4, 7, padding=3, groups=2),
    nn.Conv2d(4, 4, 7, padding=3),
])  # fmt: skip
def test_what_is_narrow_or_cannot_be_split_is_left_as_it_is(conv):
    assert list(row_groups(conv)) == []
    assert [type(module) for module in split_wide_depthwise(nn.Sequential(conv)).children()] == [nn.Conv2d]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "wide"), [("scarlet_a", 7), ("mixnet_s", 14), ("convnext_atto", 12)])
def test_networks_answer_as_before_and_are_not_changed(name, wide):
    network = load_network(name, "random").model if name.startswith("scarlet") else timm.create_model(name).eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    parts = split_wide_depthwise(network)
    assert sum(isinstance(module, SummedConvolutions) for module in parts.modules()) == wide
    assert not [module for module in network.modules() if isinstance(module, SummedConvolutions)]
    assert all(torch.equal(network.state_dict()[key], value) for key, value in before.items())
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted, got = network.double()(images.double()), parts.double()(images.double())
    assert torch.allclose(got, wanted, rtol=1e-9, atol=1e-9 * float(wanted.abs().max()))


def test_the_page_tells_what_was_measured_on_xnnpack():
    page = (ROOT / "docs" / "targets.md").read_text()
    rows = json.loads((ROOT / "benchmarks" / "results" / "xnnpack.json").read_text())
    assert {"scarlet_a", "scarlet_b", "scarlet_c", "mixnet_s"} <= {row["name"] for row in rows}
    names = {"executorch": "ExecuTorch", "litert": "LiteRT"}
    assert {row["runtime"] for row in rows} == names.keys()
    for row in rows:
        for record in row["records"].values():
            check_record(record)
        ort, split, whole = (row["records"][kind]["p50_ms"] for kind in ("onnxruntime", "split", "as it is"))
        line = f"| `{row['name']}` | {names[row['runtime']]} | {ort:.2f} | {split:.2f} | {whole:.2f} |"
        assert f"{line} {whole / split:.2f} |" in page
        if row["name"].startswith("scarlet"):
            assert split / ort < 1.3
