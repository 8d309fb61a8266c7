"""What a table says beside its numbers: random weights, each file's input, classes without names, the name given."""

import json
from pathlib import Path

import onnx
import pytest
from conftest import TINY
from lab_parts import record
from PIL import Image
from test_stability import CALM, report_of

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.deployment.deploy_report import deployment_markdown, deployment_rows, deployment_title
from scarlet_zoo.deployment.to_onnx import export_onnx
from scarlet_zoo.measurement.records import check_record
from scarlet_zoo.models.scarlet import create_model
from scarlet_zoo.models.weights.cards import RANDOM_WEIGHTS


def row(name, weights=None, side=224, **conditions):
    shape = {"input": [1, 3, side, side]}
    made = record(
        [7.0] * 100, weights=weights, **{"provider": "CPUExecutionProvider", "input_shape": shape, **conditions}
    )
    return check_record({**made, "file": name, "stable": True})


def benched(scarlet, monkeypatch, *records):
    monkeypatch.setattr("scarlet_zoo.measurement.bench.bench", lambda *_, **__: list(records))
    code, out, _ = scarlet("bench", *(record.file for record in records))
    assert code == 0
    return out


def test_bench_says_which_weights_are_random(scarlet, monkeypatch):
    one = row("a (native)", RANDOM_WEIGHTS)
    assert f"\nweights: {RANDOM_WEIGHTS}\n" in benched(scarlet, monkeypatch, one)
    out = benched(scarlet, monkeypatch, one, row("b.onnx", "file best.pth"), row("c.onnx"))
    assert f"\nweights of a (native): {RANDOM_WEIGHTS}\n" in out
    assert "weights" not in benched(scarlet, monkeypatch, row("b.onnx", "file best.pth"), row("c.onnx"))


def test_compare_says_which_weights_are_random(scarlet, tmp_path):
    rows = [row("a.onnx", RANDOM_WEIGHTS).to_dict(), row("b.onnx", "file best.pth").to_dict()]
    (tmp_path / "r.json").write_text(json.dumps(rows))
    code, out, err = scarlet("compare", tmp_path / "r.json")
    assert code == 0, err
    assert f"weights of a.onnx: {RANDOM_WEIGHTS}\n" in out


@pytest.mark.usefixtures("brief_measurements")
def test_a_file_of_random_weights_says_so_when_it_is_measured(scarlet, tmp_path):
    """From the file's metadata to the line, for a network by name too."""
    file = tmp_path / "tiny.onnx"
    export_onnx(create_model(Arch.of(TINY, ["e3k3"] * 8)).eval(), file, weights=RANDOM_WEIGHTS)
    for given in ((file,), ("scarlet_mini_s", "--weights", "random")):
        code, out, err = scarlet("bench", *given, "--runs", 10, "--repeats", 0)
        assert code == 0, err
        assert f"weights: {RANDOM_WEIGHTS}" in out
    code, out, err = scarlet("profile", file)
    assert code == 0, err
    assert f"weights: {RANDOM_WEIGHTS}" in out


def test_bench_gives_each_file_its_own_input_and_runtime(scarlet, monkeypatch):
    out = benched(scarlet, monkeypatch, row("a.onnx"), row("b.onnx"))
    assert out.count("onnxruntime 1, input 1x3x224x224") == 1
    assert "a.onnx: " not in out
    out = benched(scarlet, monkeypatch, row("a.onnx"), row("b.onnx", side=32), row("c.xml", runtime="openvino"))
    shared = out.splitlines()[4]
    assert shared == "d, 1 thread, hot, 2026-11-24"
    assert "a.onnx: onnxruntime 1, input 1x3x224x224\nb.onnx: onnxruntime 1, input 1x3x32x32\n" in out
    assert "c.xml: openvino 1, input 1x3x224x224\n" in out


@pytest.fixture(scope="module")
def nameless(tmp_path_factory):
    """A trained network's file without class names, and a folder of images for its ten classes."""
    folder = tmp_path_factory.mktemp("nameless")
    export_onnx(create_model(Arch.of(TINY, ["e3k3"] * 8)).eval(), folder / "net.onnx", weights="file best.pth")
    for place, name in enumerate("abcdefghij"):
        (folder / "val" / name).mkdir(parents=True)
        Image.new("RGB", (32, 32), (20 * place, 90, 30)).save(folder / "val" / name / "0.png")
    (folder / "labels.txt").write_text("\n".join("abcdefghij"))
    return folder


def test_classes_without_names_are_told(scarlet, nameless):
    assert not {"labels"} & {entry.key for entry in onnx.load(nameless / "net.onnx").metadata_props}
    file, images, labels = nameless / "net.onnx", nameless / "val", ("--labels", nameless / "labels.txt")
    code, out, err = scarlet("validate", file, images)
    assert code == 0, err
    assert "taken in the order of their names" in out
    assert "note: " in err
    assert "in the order of their names, which is a guess; --labels FILE" in err
    assert scarlet("validate", file, images, "--class-folders", "sorted")[2] == ""
    assert scarlet("validate", file, images, *labels)[2] == ""
    code, out, err = scarlet("predict", file, images / "a" / "0.png")
    assert code == 0, err
    assert "has no class names, so only the indices of the classes are known; --labels FILE names them" in err
    assert scarlet("predict", file, images / "a" / "0.png", *labels)[2] == ""
    code, out, err = scarlet("validate", file, images, "--json")
    told = json.loads(out)
    assert (told["matched_by"], told["top5"] > 0, err) == ("sorted", True, "")
    assert scarlet("predict", file, images / "a" / "0.png", "--json")[2] == ""


def test_the_top_five_of_so_few_classes_are_left_out(scarlet, nameless, tmp_path):
    out = scarlet("validate", nameless / "net.onnx", nameless / "val")[1]
    (top1,), (top5,) = ([line.split()[1] for line in out.splitlines() if line.startswith(f"top-{n}")] for n in "15")
    assert len(top5.partition(".")[2]) == len(top1.partition(".")[2]) == 2
    few = create_model(Arch.of(TINY, ["e3k3"] * 8), num_classes=4).eval()
    export_onnx(few, tmp_path / "few.onnx", weights="file best.pth")
    for name in "abcd":
        (tmp_path / "val" / name).mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(tmp_path / "val" / name / "0.png")
    code, out, err = scarlet("validate", tmp_path / "few.onnx", tmp_path / "val")
    assert code == 0, err
    assert [line.split()[0] for line in out.splitlines() if line.startswith("top-")] == ["top-1"]


def test_a_report_has_the_name_that_the_file_was_given():
    usual = report_of(CALM)
    own = {**usual, "artifact": {**usual["artifact"], "path": str(Path("out") / "pets4.onnx")}}
    name = usual["name"]
    usual = {**usual, "artifact": {**usual["artifact"], "path": f"out/{name}.onnx"}}
    assert deployment_title(usual) == name
    assert "network" not in dict(deployment_rows(usual))
    assert deployment_title(own) == "pets4"
    assert dict(deployment_rows(own))["network"] == name
    assert deployment_markdown(own).startswith("# pets4\n")
