import subprocess
import sys
import zlib

import numpy as np
import pytest
import timm
import torch

import scarlet_zoo
from scarlet_zoo import Stabilizer, create_model, get_arch
from scarlet_zoo.errors import ArchError, CheckpointError, ScarletError, UnknownNameError
from scarlet_zoo.models.weights.checkpoint import read_tensors, released_module_names

# What the released definition of SCARLET-A gives in float64 for the fill below and the images
# RandomState(7).randn(4, 3, 224, 224): the first three logits of each image, and the sum of squares.
RELEASED_LOGITS = np.array(
    [
        [4.89264884199451, 5.015948231045842, 5.800220152028935],
        [8.021162442303059, 1.9761125563689046, 6.806700160250213],
        [4.932233140889698, 3.2563666868269143, 6.4500736327022485],
        [8.855271701958342, 5.706792514307902, 9.305501768794867],
    ]
)
RELEASED_SQUARES = 159637.8669430025


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def released_state(name, fill):
    """A state dict with the released names, in the released order, filled key by key."""
    model = create_model(name)
    ours = {ours: theirs for theirs, ours in released_module_names(get_arch(name)).items()}
    state = {}
    for key, tensor in model.state_dict().items():
        module, _, leaf = key.rpartition(".")
        theirs = f"{ours[module]}.{leaf}"
        state[theirs] = fill(theirs, tuple(tensor.shape))
    return state


def reference_fill(key, shape):
    random = np.random.RandomState(zlib.crc32(key.encode()) & 0x7FFFFFFF)
    if key.endswith("num_batches_tracked"):
        return torch.tensor(1)
    if key.endswith("running_var"):
        values = random.uniform(0.5, 1.5, shape)
    elif key.endswith("running_mean"):
        values = 0.1 * random.randn(*shape)
    elif len(shape) == 4:
        values = random.randn(*shape) * np.sqrt(2 / np.prod(shape[1:]))
    elif len(shape) == 2:
        values = random.randn(*shape) * 0.05
    elif key.endswith("weight"):
        values = random.uniform(0.5, 1.5, shape)
    else:
        values = 0.1 * random.randn(*shape)
    return torch.from_numpy(values.astype(np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("order", ["timm, scarlet_zoo", "scarlet_zoo, timm"])
def test_timm_knows_our_names_in_either_order_of_import(order):
    code = f"import {order}; print(timm.list_models('scarlet*')); timm.create_model('scarlet_a')"
    done = python(code)
    assert done.returncode == 0, done.stderr
    for name in ("scarlet_a", "scarlet_b", "scarlet_c", "scarlet_net"):
        assert repr(name) in done.stdout


def test_every_public_name_can_be_had():
    for name in scarlet_zoo.__all__:
        assert getattr(scarlet_zoo, name) is not None
    assert callable(scarlet_zoo.fold)
    assert callable(scarlet_zoo.verify)
    with pytest.raises(AttributeError, match="nothing"):
        _ = scarlet_zoo.nothing


def test_a_model_is_a_timm_model_with_its_architecture():
    model = timm.create_model("scarlet_b", num_classes=5, in_chans=1)
    assert isinstance(model, timm.models.EfficientNet)
    assert model.arch == get_arch("scarlet_b")
    assert model(torch.zeros(1, 1, 64, 64)).shape == (1, 5)
    features = timm.create_model("scarlet_c", features_only=True, out_indices=(1, 3))
    assert [tuple(f.shape[1:]) for f in features(torch.zeros(1, 3, 64, 64))] == [(32, 16, 16), (96, 4, 4)]
    config = timm.data.resolve_model_data_config(model)
    assert (config["interpolation"], config["crop_pct"]) == ("bilinear", 0.875)


def test_scarlet_net_takes_any_identity_string():
    default = timm.create_model("scarlet_net")
    assert default.arch == get_arch("scarlet_a")
    other = timm.create_model("scarlet_net", arch=str(get_arch("scarlet_c")))
    assert other.arch == get_arch("scarlet_c")
    assert create_model(str(get_arch("scarlet_c"))).arch == get_arch("scarlet_c")


def test_stabilizers_stand_where_layers_are_skipped():
    model = create_model("scarlet_c", stabilized=True)
    places = [name for name, module in model.named_modules() if isinstance(module, Stabilizer)]
    assert places == ["blocks.2.1", "blocks.2.2", "blocks.5.1"]
    plain = create_model("scarlet_c")
    assert not any(isinstance(module, Stabilizer) for module in plain.modules())


def test_a_fresh_stabilizer_is_linear_and_square():
    for init in Stabilizer.INITS:
        s = Stabilizer(8, init=init).double()
        x, y = torch.randn(2, 1, 8, 3, 3, dtype=torch.float64)
        assert sum(p.numel() for p in s.parameters()) == 64
        torch.testing.assert_close(s(2 * x - 3 * y), 2 * s(x) - 3 * s(y))
        assert not s(torch.zeros(1, 8, 2, 2, dtype=torch.float64)).any()
    assert torch.equal(Stabilizer(8).matrix, torch.eye(8))
    with pytest.raises(ScarletError, match="'zero'"):
        Stabilizer(8, init="zero")


def test_names_that_are_none(tmp_path):
    with pytest.raises(UnknownNameError, match="scarlet_a"):
        create_model("scarlet_d")
    with pytest.raises(UnknownNameError, match="resnet18"):
        create_model("resnet_18")
    with pytest.raises(ArchError, match="layer 0"):
        create_model(str(get_arch("scarlet_a")).replace("e3k7", "e3k8", 1))
    with pytest.raises(UnknownNameError, match=r"somewhere: no such file, wanted the name of a model"):
        create_model(str(tmp_path / "somewhere"))
    (tmp_path / "net.onnx").touch()
    with pytest.raises(UnknownNameError, match=r"net\.onnx: is a file, wanted the name of a model"):
        create_model(str(tmp_path / "net.onnx"))
    with pytest.raises(ScarletError, match="source prefix"):
        create_model("somebody/something")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "entries"), [("scarlet_a", 416), ("scarlet_b", 388), ("scarlet_c", 366)])
def test_a_released_checkpoint_loads(name, entries, tmp_path):
    state = released_state(name, reference_fill)
    assert len(state) == entries
    gaps = {"scarlet_b": (8, 16), "scarlet_c": (3, 4, 15)}.get(name, ())
    assert not any(key.startswith(f"mb_module.{gap}.") for key in state for gap in gaps)
    path = tmp_path / "released.pth.tar"
    torch.save({"model_state": state}, path)
    loaded = create_model(name, checkpoint_path=path).state_dict()
    renamed = released_module_names(get_arch(name))
    for key, tensor in state.items():
        module, _, leaf = key.rpartition(".")
        assert torch.equal(loaded[f"{renamed[module]}.{leaf}"], tensor)


@pytest.mark.slow
def test_the_logits_of_a_released_checkpoint_are_the_released_codes(tmp_path):
    path = tmp_path / "ScarletA.pth.tar"
    torch.save({"model_state": released_state("scarlet_a", reference_fill)}, path)
    model = create_model("scarlet_a", checkpoint_path=path).eval().double()
    images = np.random.RandomState(7).randn(4, 3, 224, 224).astype(np.float32)
    with torch.inference_mode():
        logits = model(torch.from_numpy(images).double()).numpy()
    assert np.abs(logits[:, :3] - RELEASED_LOGITS).max() < 1e-9
    assert (logits**2).sum() == pytest.approx(RELEASED_SQUARES, rel=1e-12)


class Code:
    def __reduce__(self):
        return print, ("this must never be printed",)


def _save_with_code(path):
    torch.save({"model_state": Code()}, path)


def _save_truncated(path):
    torch.save(create_model("scarlet_b").state_dict(), path)
    path.write_bytes(path.read_bytes()[:200_000])


def _save_page(path):
    path.write_text("<!DOCTYPE html><html><body>Sign in</body></html>")


def _save_other(path):
    torch.save({"model_state": released_state("scarlet_a", reference_fill)}, path)


def _save_nothing(path):
    path.write_bytes(b"")


def _save_list(path):
    torch.save([1, 2, 3], path)


def _save_broken_safetensors(path):
    path.write_bytes(b"\xff\x00\x00\x00\x00\x00\x00\x00{not json")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("write", "says"),
    [
        (_save_with_code, "holds code"),
        (_save_truncated, "truncated"),
        (_save_page, "web page"),
        (_save_other, "'mb_module"),
        (_save_nothing, "empty"),
        (_save_list, "no state dict"),
        (_save_broken_safetensors, "safetensors"),
        (lambda path: None, "no such file"),
    ],
)
def test_each_bad_checkpoint_has_its_own_line(write, says, tmp_path, capfd):
    path = tmp_path / "weights.pth"
    write(path)
    with pytest.raises(CheckpointError, match=says) as caught:
        create_model("scarlet_b", checkpoint_path=path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert "never be printed" not in capfd.readouterr().out


@pytest.mark.slow
def test_a_checkpoint_of_another_number_of_classes_is_taken_or_names_the_tensor(tmp_path):
    path = tmp_path / "ten.pth"
    torch.save(create_model("scarlet_a", num_classes=10).state_dict(), path)
    with pytest.raises(CheckpointError, match=r"'classifier.weight' has shape \(10, 1280\), wanted \(1000, 1280\)"):
        create_model("scarlet_a", checkpoint_path=path, num_classes=1000)
    assert create_model("scarlet_a", checkpoint_path=path).classifier.out_features == 10
    assert len(read_tensors(path).state) == 416
