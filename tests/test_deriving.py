"""Networks of a front: with the weights that the front was made with, and no others."""

import json
import random
from dataclasses import replace

import pytest
import torch
from conftest import FASHION

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.space_files import space_of
from scarlet_zoo.data.fashion_mnist import FASHION_MNIST_CLASSES
from scarlet_zoo.errors import ArchError, ScarletWarning, TrainingError
from scarlet_zoo.models.supernet import Supernet, save_supernet
from scarlet_zoo.models.weights.checkpoint import read_metadata
from scarlet_zoo.nas.search.derive import _scoring_of, derive
from scarlet_zoo.nas.search.front import load_front
from scarlet_zoo.utils.files import file_sha256

SPACE = space_of({
    "name": "mine", "stages": [[8, 1, 2], [8, 1, 2]], "kernel_sizes": [3], "in_chans": 1, "input_size": 28,
    "num_classes": 10, "stem_width": 8, "first_width": 8, "head_width": 16, "squeeze_excite": False,
})  # fmt: skip


def supernet_in(path, seed=0, space=SPACE):
    torch.manual_seed(seed)
    described = {"data": "fashion-mnist", "validation": "500", "labels": json.dumps(FASHION_MNIST_CLASSES)}
    save_supernet(Supernet(space, "plain"), path, described)
    return path


def front_in(path, supernet=None, space=SPACE, **conditions):
    values = {"macs": 1e5} | ({"accuracy": 50.0} if supernet is not None else {})
    if supernet is not None:
        conditions = {"supernet_sha256": read_metadata(supernet)["sha256"], **conditions}
    report = {
        "space": space.name, "definition": space.to_json(), "evaluations": 1, "conditions": conditions,
        "front": [{"arch": str(Arch.sample(space, random.Random(0))), "values": values}],
    }  # fmt: skip
    path.write_text(json.dumps(report))
    return path


def test_a_front_of_other_weights_is_refused_before_anything_is_written(tmp_path, scarlet):
    own, other = (supernet_in(tmp_path / f"{seed}.safetensors", seed) for seed in (0, 1))
    front = front_in(tmp_path / "front.json", own)
    code, _, said = scarlet("derive", front, "--supernet", other, "--data-dir", FASHION, "--out", tmp_path / "out")
    assert (code, said.count("\n")) == (2, 1)
    assert f"{front}: is the front of other weights" in said
    assert "wanted the supernet that was searched" in said
    assert not (tmp_path / "out").exists()
    (network,) = derive(front, out=tmp_path / "out", supernet=own, data_dir=FASHION)
    assert network.path.is_file()


def test_the_command_that_comes_next_is_told(tmp_path, scarlet):
    own = supernet_in(tmp_path / "supernet.safetensors")
    front, out = front_in(tmp_path / "front.json", own), tmp_path / "out"
    code, told, _ = scarlet("derive", front, "--supernet", own, "--data-dir", FASHION, "--out", out)
    (row,) = json.loads((out / "archs.json").read_text())
    assert code == 0
    assert f"next: scarlet-zoo deploy {row['path']} --out DIR" in told.replace("\n", " ").replace("  ", " ")
    assert scarlet("export", row["path"], "--out", tmp_path)[0] == 0
    _, told, _ = scarlet("derive", front, "--out", out)
    assert f"next: scarlet-zoo train {row['arch']} --supernet SUPERNET.safetensors" in " ".join(told.split())


def test_a_front_without_a_digest_is_used_with_a_word(tmp_path):
    own = supernet_in(tmp_path / "supernet.safetensors")
    front = front_in(tmp_path / "front.json", own)
    report = json.loads(front.read_text())
    del report["conditions"]
    front.write_text(json.dumps(report))
    with pytest.warns(ScarletWarning, match=r"front.json: states no digest of a supernet, so it cannot be checked"):
        load_front(front).check_weights(own, read_metadata(own)["sha256"])
    # A supernet without a digest in it counts by its file, as in the search.
    front = front_in(tmp_path / "front.json", own, supernet_sha256=file_sha256(own))
    load_front(front).check_weights(own, None)
    with pytest.raises(TrainingError, match="is the front of other weights"):
        load_front(front).check_weights(supernet_in(tmp_path / "other.safetensors", 1), None)


def test_a_front_without_accuracy_fits_every_supernet_of_its_space(tmp_path):
    front = front_in(tmp_path / "front.json")
    (network,) = derive(front, out=tmp_path / "out", supernet=supernet_in(tmp_path / "s.safetensors"), data_dir=FASHION)
    assert network.path.is_file()
    wider = replace(SPACE, head_width=24)
    other = supernet_in(tmp_path / "wider.safetensors", space=wider)
    with pytest.raises(ArchError, match=r"with this name and another definition \(head_width\)"):
        derive(front, out=tmp_path / "out", supernet=other, data_dir=FASHION)


def test_an_architecture_goes_only_into_a_space_of_the_same_definition():
    arch = Arch.sample(SPACE, random.Random(0))
    extended = replace(SPACE.with_path_sets(2).with_branches(), num_classes=4)
    assert arch.embed_in(extended).tokens == arch.tokens
    for other, told in (
        (replace(SPACE, stem_stride=1), "stem_stride"),
        (replace(SPACE, layers=tuple(replace(layer, width=16) for layer in SPACE.layers[:1]) + SPACE.layers[1:]),
         "layers"),
        (replace(SPACE, activation="relu"), "activation"),
    ):  # fmt: skip
        with pytest.raises(ArchError, match=rf"another definition \({told}\)"):
            arch.embed_in(other)


def test_batch_norms_see_no_image_that_the_search_has_validated_on(tmp_path):
    own = supernet_in(tmp_path / "supernet.safetensors")
    front = load_front(front_in(tmp_path / "front.json", own, data="fashion-mnist", held_out=700))
    assert (_scoring_of(front, None, None).data, _scoring_of(front, None, None).held_out) == ("fashion-mnist", 700)
    assert _scoring_of(front, "elsewhere", None).held_out is None
    early = load_front(front_in(tmp_path / "early.json"))
    assert (_scoring_of(early, None, None).data, _scoring_of(early, None, None).held_out) == (None, None)


def test_a_front_that_is_none_is_refused(tmp_path):
    for text in ("[]", "{}", "3", '{"definition": 4}', "\x00"):
        (tmp_path / "front.json").write_text(text)
        with pytest.raises(TrainingError, match="not the front of a search"):
            load_front(tmp_path / "front.json")
