"""Our layers for training are torch's, but faster: same parameters, same results within rounding."""

import copy
import ctypes
import io
import json
import resource
from types import SimpleNamespace

import numba
import pytest
import torch
from conftest import ROOT
from strategy_parts import DATA, rows_of, settings, strategy_of
from timm import create_model
from timm.layers import BatchNormAct2d
from timm.models._efficientnet_blocks import SqueezeExcite
from torch import nn

from scarlet_zoo.errors import TrainingError
from scarlet_zoo.evidence import training_speed
from scarlet_zoo.training import fast_layers as layers
from scarlet_zoo.training import kernel_calls, kernel_tools
from scarlet_zoo.training import team as teams
from scarlet_zoo.training.fast_layers import DepthwiseConv2d, FastBatchNorm2d, FastBatchNormAct2d, fast_layers
from scarlet_zoo.training.loop import train
from scarlet_zoo.training.run import DataPlan, as_begun
from scarlet_zoo.utils import memory
from scarlet_zoo.utils.memory import kept_memory

# An input that is far from its mean: a variance taken from sums of squares would lose its digits.
INPUT = torch.randn(96, 24, 13, 11, generator=torch.Generator().manual_seed(0)) * 2 + 300


def network(kernel, stride, norm):
    torch.manual_seed(0)
    depthwise = nn.Conv2d(24, 24, kernel, stride, tuple(side // 2 for side in kernel), groups=24, bias=False)
    net = nn.Sequential(norm(24), depthwise, norm(24), nn.Conv2d(24, 8, 1, bias=False))
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -3, 3)
    return net.to(memory_format=torch.channels_last).train()


def after_a_step(net, x):
    """Output, gradients and buffers after one pass, by name."""
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    y = net(x)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (y * weights.to(y.dtype)).sum().backward()
    return {"output": y.detach(), "input": x.grad, **{name: p.grad for name, p in net.named_parameters()},
            **dict(net.named_buffers())}  # fmt: skip


def differences(ours, exact):
    return {name: float((ours[name] - value).abs().max() / value.abs().max()) for name, value in exact.items()}


@pytest.mark.parametrize("activation", [nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Identity, None])
@pytest.mark.parametrize(("kernel", "stride"), [((5, 5), 1), ((7, 7), 2), ((1, 5), 1), ((3, 3), 1)])
def test_a_step_is_that_of_float64_within_rounding(kernel, stride, activation):
    norm = nn.BatchNorm2d if activation is None else lambda width: BatchNormAct2d(width, act_layer=activation)
    net = network(kernel, stride, norm)
    exact, theirs = copy.deepcopy(net).double(), copy.deepcopy(net)
    x = INPUT.contiguous(memory_format=torch.channels_last)
    with fast_layers(net) as count:
        assert count == 2 + (max(kernel) > 3)
        ours = after_a_step(net, x)
    expected = after_a_step(exact, x.double())
    own, torchs = differences(ours, expected), differences(after_a_step(theirs, x), expected)
    for name, difference in own.items():
        assert difference <= max(2 * torchs[name], 2e-6), name


@pytest.mark.parametrize("frozen", [False, True])
def test_a_gate_has_the_gradients_of_float64_within_rounding(frozen):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(24, 40, 1), SqueezeExcite(40, gate_layer=nn.Hardsigmoid)).train()
    net[1].requires_grad_(not frozen)  # its mean carries the input's gradient all the same
    net = net.to(memory_format=torch.channels_last)
    exact, theirs = copy.deepcopy(net).double(), copy.deepcopy(net)
    x = (INPUT - 300).contiguous(memory_format=torch.channels_last)
    with fast_layers(net) as count:
        assert count == 1
        ours = after_a_step(net, x)
    expected, torchs = after_a_step(exact, x.double()), after_a_step(theirs, x)
    trained = {name: value for name, value in expected.items() if value is not None}
    assert trained.keys() == {name for name, value in ours.items() if value is not None}
    ours, torchs = ({name: found[name] for name in trained} for found in (ours, torchs))
    own, other = differences(ours, trained), differences(torchs, trained)
    for name, difference in own.items():
        assert difference <= max(2 * other[name], 2e-6), name


def test_the_number_of_threads_changes_no_bit():
    x = INPUT.contiguous(memory_format=torch.channels_last)
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        norm, depthwise = network((5, 5), 1, lambda width: BatchNormAct2d(width, act_layer=nn.Hardswish))[:2]
        with fast_layers(nn.ModuleList([norm, depthwise])):
            by_norm, by_weight = after_a_step(norm, x), after_a_step(depthwise, x)
            found.append([*by_norm.values(), by_weight["weight"]])
    torch.set_num_threads(1)
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))


def test_modules_stay_what_they_are_and_get_their_class_back():
    net = create_model("mobilenetv3_small_050", num_classes=10)
    before = {name: type(module) for name, module in net.named_modules()}
    with pytest.raises(ZeroDivisionError), fast_layers(net):
        kinds = {type(module) for module in net.modules()}
        assert {DepthwiseConv2d, FastBatchNormAct2d} <= kinds
        assert isinstance(copy.deepcopy(net).bn1, BatchNormAct2d)
        _ = 1 / 0
    assert {name: type(module) for name, module in net.named_modules()} == before


@pytest.mark.parametrize(
    "why", ["float64", "order", "evaluation", "small", "autocast", "dropped", "silu", "bias", "dilated"]
)
def test_what_does_not_suit_goes_through_torch_bit_for_bit(why):
    norm = nn.SiLU if why == "silu" else nn.ReLU
    net = network((5, 5), 1, lambda width: BatchNormAct2d(width, act_layer=norm))
    x = INPUT.contiguous(memory_format=torch.channels_last)
    if why == "float64":
        net, x = net.double(), x.double()
    elif why == "order":
        net, x = net[:1], x.contiguous()
    elif why == "small":
        x = x[:8]
    elif why == "evaluation":
        net.eval()
    elif why == "dropped":
        net[0].drop = net[2].drop = nn.Dropout(0.5)
    elif why in ("bias", "dilated"):
        depthwise = nn.Conv2d(24, 24, 5, padding=2, groups=24, bias=why == "bias", dilation=1 + (why != "bias"))
        net = nn.Sequential(depthwise).to(memory_format=torch.channels_last)
    theirs = copy.deepcopy(net)
    with fast_layers(net), torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=why == "autocast"):
        torch.manual_seed(0)
        ours = net(x)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=why == "autocast"):
        torch.manual_seed(0)
        assert torch.equal(ours, theirs(x))


@pytest.mark.parametrize("activation", [nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Identity])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_stays_none(value, activation):
    net = network((5, 5), 1, lambda width: BatchNormAct2d(width, act_layer=activation))
    x = INPUT.contiguous(memory_format=torch.channels_last).clone()
    x[1, 2, 3, 4] = value
    with fast_layers(net):
        found = after_a_step(net, x)
    assert not found["output"].isfinite().all()
    assert not found["1.weight"].isfinite().all()


def test_a_norm_that_first_ran_in_inference_mode_can_be_trained():
    norm = BatchNormAct2d(24, act_layer=nn.ReLU, eps=2e-3).train()
    x = INPUT.contiguous(memory_format=torch.channels_last)
    with fast_layers(norm):
        with torch.inference_mode():
            norm(x)
        assert after_a_step(norm, x)["weight"].isfinite().all()


def test_a_norm_without_momentum_averages_all_batches():
    ours, torchs = (kind(24, momentum=None).train() for kind in (FastBatchNorm2d, nn.BatchNorm2d))
    for batch in INPUT.contiguous(memory_format=torch.channels_last).split(32):
        ours(batch)
        torchs(batch)
    for name, value in torchs.state_dict().items():
        assert torch.allclose(ours.state_dict()[name], value, rtol=1e-5), name
    assert ours.state_dict()["num_batches_tracked"] == 3


def test_one_value_a_channel_is_refused_as_torch_refuses_it():
    net = nn.Sequential(nn.BatchNorm2d(70_000)).train()
    x = torch.ones(1, 70_000, 1, 1).contiguous(memory_format=torch.channels_last)
    with fast_layers(net), pytest.raises(ValueError, match="more than 1 value per channel"):
        net(x)


def test_training_takes_them_and_a_run_goes_on_with_those_it_began_with(tmp_path, monkeypatch):
    monkeypatch.setattr(kernel_calls, "LEAST_VALUES", 0)
    done, rows = [], []
    for kind in ("fast", "torch"):
        result = train(strategy_of("spos"), DATA, settings(layers=kind, max_steps=3), tmp_path / kind)
        done.append(result)
        rows.append([row["loss"] for row in rows_of(tmp_path / kind)])
    assert rows[0] == pytest.approx(rows[1], rel=1e-4)
    assert any(not torch.equal(value, done[1].state[name]) for name, value in done[0].state.items())
    with pytest.raises(TrainingError, match="layers"):
        train(strategy_of("spos"), DATA, settings(layers="torch", max_steps=4), tmp_path / "fast")


def test_a_run_that_began_before_there_were_others_keeps_torchs(tmp_path):
    train(strategy_of("spos"), DATA, settings(layers="torch", max_steps=1), tmp_path)
    begun = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    del begun["run"]["layers"]
    torch.save(begun, tmp_path / "checkpoint.pt")
    now, _ = as_begun(settings(), DataPlan(name="fashion-mnist"), tmp_path)
    assert now.layers == "torch"
    train(strategy_of("spos"), DATA, now, tmp_path)
    assert as_begun(settings(), DataPlan(name="fashion-mnist"), tmp_path / "new")[0].layers == "fast"


@pytest.mark.parametrize(("name", "value"), [("find_spec", lambda name: None), ("team", lambda: None)])
def test_where_kernels_cannot_run_layers_are_torchs(name, value, tmp_path, monkeypatch):
    """Without numba, and where torch's OpenMP is not GNU's."""
    monkeypatch.setattr(layers, name, value)
    model = strategy_of("spos").model
    assert layers.with_layers(settings(), model).layers == "torch"
    with fast_layers(model) as count:
        assert count == 0
    train(strategy_of("spos"), DATA, settings(max_steps=1), tmp_path)


def test_kernels_that_cannot_be_kept_on_disk_are_compiled_all_the_same(monkeypatch):
    cfunc = numba.cfunc

    def without_a_folder(signature, *, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return cfunc(signature, **options)

    monkeypatch.setattr(numba, "cfunc", without_a_folder)

    def doubled(given):
        given[0] *= 2

    number = torch.tensor([21])
    given = kernel_tools.kernel(doubled)
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(given.address)(number.data_ptr())
    assert number.item() == 42


def test_another_openmp_has_no_team(tmp_path, monkeypatch):
    monkeypatch.setattr(teams.torch, "__file__", str(tmp_path / "torch" / "__init__.py"))
    assert teams.team.__wrapped__() is None
    assert teams.team() is not None


@pytest.mark.slow
def test_large_tensors_use_their_memory_again():
    """38 MB a tensor, 9,200 pages: glibc alone maps them anew in each step."""
    wide = nn.Sequential(nn.Conv2d(8, 96, 1, bias=False), BatchNormAct2d(96), nn.Conv2d(96, 96, 3, 1, 1, groups=96),
                         nn.ReLU(), nn.Conv2d(96, 8, 1)).to(memory_format=torch.channels_last)  # fmt: skip
    x = torch.randn(96, 8, 32, 32).contiguous(memory_format=torch.channels_last)

    def faults(steps):
        for _ in range(steps):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            wide(x).sum().backward()
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    alone = faults(2)
    with kept_memory():
        kept = min(faults(3) for _ in range(3))  # of the last of three steps, once the memory is there
    assert alone > 50_000
    assert kept < alone / 5
    assert faults(1) > 50_000, "at the end the library does as before"


def test_a_training_keeps_memory_and_gives_it_back(tmp_path, monkeypatch):
    library, called = ctypes.CDLL(None), []
    monkeypatch.setattr(memory, "_glibc", lambda: SimpleNamespace(
        mallopt=lambda *given: called.append(given), malloc_trim=library.malloc_trim))  # fmt: skip
    train(strategy_of("spos"), DATA, settings(max_steps=1), tmp_path)
    kept, given_back = [0, 2**31 - 1], [65_536, 131_072]
    assert [value for _, value in called] == kept + given_back
    called.clear()
    with kept_memory(), kept_memory():
        pass
    assert [value for _, value in called] == kept + given_back, "only the outermost block gives it back"


def test_another_c_library_is_left_as_it_is(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    with kept_memory():
        assert memory._glibc() is None


@pytest.mark.parametrize("kind", training_speed.KINDS)
def test_a_worker_times_the_steps_that_it_is_told(kind, monkeypatch, capsys):
    monkeypatch.setattr(training_speed.sys, "stdin", io.StringIO("0\n1\n"))
    training_speed.work(training_speed.Case("resnet10t", 3, 32, 4), kind)
    assert all(float(line) > 0 for line in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize("kind", ["", "_avx512"])
def test_the_document_has_the_numbers_of_the_record(kind):
    record = json.loads((ROOT / "benchmarks" / "results" / f"training_speed{kind}.json").read_text())
    assert ("avx512f" in record["conditions"]["instruction_sets"]) == bool(kind)
    document = (ROOT / "docs" / "training.md").read_text()
    assert {"scarlet-mini", "scarlet-rgb32", "tf_efficientnet_lite0"} <= {row["what"] for row in record["rows"]}
    for row in record["rows"]:
        assert 0 < row["p10"] <= row["ratio"] <= row["p90"]
        assert f"| {row['torch_ms']:.0f} | {row['fast_ms']:.0f} | {row['ratio']:.2f} (" in document
        assert f"| {row['fast_seconds_per_million_images']:,.0f} |" in document
    assert all(record["conditions"][key] for key in ("device", "instruction_sets", "cores", "threads", "torch", "date"))


def test_the_document_has_the_scaling_over_processes():
    record = json.loads((ROOT / "benchmarks" / "results" / "processes.json").read_text())
    document = (ROOT / "docs" / "training.md").read_text()
    assert {(row["processes"], row["threads"]) for row in record["rows"]} == {(1, 1), (1, 2), (2, 1)}
    for row in record["rows"]:
        assert min(row["rates"]) <= row["images_per_second"] <= max(row["rates"])
        rates = f"{row['images_per_second']:.0f} ({min(row['rates']):.0f} to {max(row['rates']):.0f})"
        told = f"| {row['what']} | {row['processes']} | {row['threads']} | {rates} | {row['ratio']:.2f} |"
        assert told in document
    assert record["conditions"]["instruction_sets"]
