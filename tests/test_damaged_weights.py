"""Weights files that are damaged or made to harm: loaded, or refused in one line; no code runs, nothing hangs."""

import os
import random
import time
import warnings
import zipfile

import pytest
import safetensors.torch
import torch

from scarlet_zoo.errors import CheckpointError
from scarlet_zoo.models.scarlet import create_model
from scarlet_zoo.models.supernet import load_supernet
from scarlet_zoo.models.weights import checkpoint
from scarlet_zoo.models.weights.checkpoint import read_metadata, read_tensors
from scarlet_zoo.models.weights.pickled import check_parts


@pytest.fixture(scope="module")
def content():
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 5))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9).state_dict()
    return {"state_dict": net.state_dict(), "epoch": 3, "optimizer": optimizer}


def damaged(data, count=300):
    """Copies of a file: with bits flipped anywhere or in its first kilobyte, and each fourth cut short."""
    for seed in range(count + count // 3):
        rng = random.Random(seed)
        if seed % 4 == 3:
            yield data[: rng.randrange(len(data))]
            continue
        copy, reach = bytearray(data), len(data) if seed % 4 else min(len(data), 1000)
        for _ in range(rng.choice((1, 1, 2, 8))):
            copy[rng.randrange(reach)] ^= 1 << rng.randrange(8)
        yield bytes(copy)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["zip.pth", "legacy.pt", "plain.bin", "tensors.safetensors"])
def test_damaged_files_are_loaded_or_refused_in_one_line(kind, content, tmp_path, capfd):
    path = tmp_path / kind
    if kind.endswith(".safetensors"):
        safetensors.torch.save_file(content["state_dict"], path, {"name": "x"})
    else:
        saved = content if kind != "plain.bin" else content["state_dict"]
        torch.save(saved, path, _use_new_zipfile_serialization=kind == "zip.pth")
    read = refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for data in damaged(path.read_bytes()):
            path.write_bytes(data)
            try:
                read_tensors(path)
                read_metadata(path)
                read += 1
            except CheckpointError as error:
                refused += 1
                assert str(error).startswith(f"{path}: ")
                assert "\n" not in str(error)
                assert len(str(error)) < 600
    assert read > 20
    assert refused > 100
    assert capfd.readouterr() == ("", "")


HEAD = "classifier.weight"


@pytest.mark.parametrize(("made", "says"), [
    (lambda own: torch.zeros(1).expand(10**9, 10**9), f"'{HEAD}' is 1000000000x1000000000, wanted one that fits"),
    (lambda own: own.to_sparse(), f"tensor '{HEAD}' is sparse, quantised or without data"),
    (lambda own: own.to("meta"), f"tensor '{HEAD}' is sparse, quantised or without data"),
    (lambda own: own.to(torch.complex64), f"tensor '{HEAD}' is torch.complex64, wanted real numbers"),
    (lambda own: own > 0, f"tensor '{HEAD}' is torch.bool, wanted torch.float32"),
    (lambda own: own.long(), f"tensor '{HEAD}' is torch.int64, wanted torch.float32"),
    (lambda own: torch.zeros(200_000, own.shape[1]), "got num_classes = 200000, wanted 0 to 100000"),
])  # fmt: skip
def test_tensors_of_other_kinds_are_named(made, says, tmp_path):
    state = create_model("scarlet_mini_s").state_dict()
    torch.save({**state, HEAD: made(state[HEAD])}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r".") as caught:
        create_model("scarlet_mini_s", checkpoint_path=tmp_path / "w.pth")
    assert says in str(caught.value)


def test_floats_of_eight_bits_are_loaded_and_long_names_are_not_repeated(tmp_path):
    state = create_model("scarlet_mini_s").state_dict()
    torch.save({**state, HEAD: state[HEAD].to(torch.float8_e4m3fn)}, tmp_path / "w.pth")
    loaded = create_model("scarlet_mini_s", checkpoint_path=tmp_path / "w.pth").state_dict()[HEAD]
    assert torch.allclose(loaded, state[HEAD], rtol=0.07, atol=0.01)
    torch.save({**state, "k" * 10**5: state[HEAD]}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="name has 100,000 letters, wanted at most 500"):
        read_tensors(tmp_path / "w.pth")


def doubled(kind):
    """Sixty levels, each of which is the level below it twice: as a pair, or as a list."""
    double = {"pair": b"q%ch%c\x86", "list": b"q%c0]h%cah%ca"}[kind]
    return b"".join(double % ((level,) * double.count(b"%c")) for level in range(60))


@pytest.mark.parametrize("opcode", ["pair", "list"])
@pytest.mark.parametrize("in_zip", [False, True])
def test_a_pickle_that_unfolds_without_end_is_refused_at_once(opcode, in_zip, tmp_path):
    bomb = b"\x80\x02}K\x01" + doubled(opcode) + b"K\x01s."
    path = tmp_path / "w.pth"
    if in_zip:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("w/data.pkl", bomb)
            archive.writestr("w/version", b"3\n")
    else:
        path.write_bytes(bomb)
    begun = time.perf_counter()
    with pytest.raises(CheckpointError, match="its pickle unfolds to more than 100,000,000 parts"):
        read_tensors(path)
    assert time.perf_counter() - begun < 5


def test_what_checkpoints_share_is_no_bomb(content, tmp_path):
    shared = {f"layer{i}.weight": content["state_dict"]["0.weight"] for i in range(2000)}
    for zipped in (True, False):
        torch.save(shared, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
        check_parts(tmp_path / "w.pth")
        assert len(read_tensors(tmp_path / "w.pth").state) == 2000


@pytest.mark.parametrize("pickled", [
    b"cos\nsystem\n(S'touch {ran}'\ntR.", b"\x80\x02X\xff\xff\xff\x7fabc.", b"\x80\x02K\x01r\xff\xff\xff\xff.",
    b"\x80\x02" + b"]" * 10_000 + b"a" * 9_999 + b".", b"\x80\x02\x8b\xff\xff\xff\x7f.", b"\x80\x02(",
    b"\x80\x02h\x05.",
])  # fmt: skip
def test_harmful_pickles_are_refused_and_no_code_runs(pickled, tmp_path):
    path, ran = tmp_path / "w.pth", tmp_path / "ran"
    path.write_bytes(pickled.replace(b"{ran}", os.fsencode(ran)))
    with pytest.raises(CheckpointError):
        read_tensors(path)
    assert not ran.exists()


def test_an_archive_that_unpacks_to_gigabytes_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "w.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w/data.pkl", b"\x80\x02}.")
        archive.writestr("w/data/0", bytes(2 * 10**6))
    with pytest.raises(CheckpointError, match=r"w\.pth: unpacks to 2,000,004 bytes"):
        read_tensors(path)
    monkeypatch.setattr(checkpoint, "_HEADROOM", 10**7)
    with pytest.raises(CheckpointError, match="truncated or not a weights file"):
        read_tensors(path)


@pytest.mark.parametrize("name", ["pipe.pth", "pipe.safetensors"])
def test_pipes_are_refused(name, tmp_path):
    os.mkfifo(tmp_path / name)
    with pytest.raises(CheckpointError, match="is a pipe or a device, wanted a weights file"):
        read_tensors(tmp_path / name)
    (tmp_path / "s.safetensors").write_bytes((10**12).to_bytes(8, "little") + b"{}")
    with pytest.raises(CheckpointError, match="broken file, wanted a supernet"):
        load_supernet(tmp_path / "s.safetensors")
