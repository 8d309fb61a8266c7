"""The gallery: what is on its page, of networks of the zoo and of others, and that no text becomes more than text."""

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from conftest import ROOT, TINY
from gallery_parts import HOSTILE, LABELS, foreign_files, preprocessing
from lab_parts import noisy, record

import scarlet_zoo as zoo
from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.cost import arch_cost
from scarlet_zoo.arch.zoo import ZOO
from scarlet_zoo.evidence.gallery_latencies import packaged_text
from scarlet_zoo.measurement.browser.web_runtime import FILES, WebRuntime
from scarlet_zoo.measurement.gallery import gallery as module
from scarlet_zoo.measurement.gallery.entries import Evidence, entry_of_name
from scarlet_zoo.measurement.gallery.graph_cost import graph_cost
from scarlet_zoo.measurement.gallery.latencies import PACKAGED, latencies_of, packaged_latencies


class Page(HTMLParser):
    """The page as a browser takes it apart: its tags with their attributes, its text, and the data of its scripts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self._inside = [], "", ""
        self.data: Any = ""
        self.feed(text)
        self.data = json.loads(self.data)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = dict(attrs).get("id", "") if tag == "script" else self._inside

    def handle_endtag(self, tag):
        self._inside = "" if tag == "script" else self._inside

    def handle_data(self, data):
        if self._inside == "data":
            self.data += data
        else:
            self.text += data


@pytest.fixture
def runtime(tmp_path, monkeypatch):
    """What stands for onnxruntime-web where no browser runs it."""
    folder = tmp_path / "runtime"
    folder.mkdir()
    for name in FILES:
        (folder / name).write_text(f"{name}\n")
    monkeypatch.setattr(module, "web_runtime", lambda: WebRuntime(folder, "1.2.3", {}))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return foreign_files(tmp_path_factory.mktemp("foreign"))


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_files_and_people_write_is_text_on_the_page(runtime, files, tmp_path):
    accuracies = tmp_path / "<script>.json"
    accuracies.write_text(json.dumps({files["hostile"].name: {"top1": 80, "images": 100}}))
    made = zoo.gallery(tmp_path / "out", [files["hostile"]], accuracies=[accuracies], title="<u>mine</u> & more")
    page = Page((tmp_path / "out" / "index.html").read_text())
    tags = [tag for tag, _ in page.tags]
    assert not {"img", "b", "i", "u", "iframe", "object"} & set(tags)
    assert [attributes.get("src") for tag, attributes in page.tags if tag == "script"] == [None, "scatter.js",
                                                                                           "gallery.js"]  # fmt: skip
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    for shown in (HOSTILE, "<i>mine</i>", "<u>mine</u> & more", "own images (<script>.json)"):
        assert shown in page.text
    assert "/home/somebody" not in (tmp_path / "out" / "index.html").read_text()
    assert "birds" in page.text
    (entry,) = page.data["entries"]
    assert entry["title"] == HOSTILE
    assert (entry["points"][0]["top1"], entry["runs"]) == (80, True)
    assert re.fullmatch(r"networks/[\w.-]+\.onnx", entry["file"])
    run = json.loads((tmp_path / "out" / "networks" / f"{entry['id']}.json").read_text())
    assert run["labels"] == [LABELS[0], LABELS[1], "three \\u202e turned", *LABELS[3:]]
    assert run["probabilities"]
    assert made.to_dict()["bytes"] == sum(map(len, contents(tmp_path / "out").values()))


def test_the_page_loads_nothing_from_elsewhere_and_holds_no_path_of_this_machine(runtime, files, tmp_path):
    zoo.gallery(tmp_path / "out", [files["last"], files["grey"]])
    for name, content in contents(tmp_path / "out").items():
        if not name.endswith(".onnx"):
            text = content.decode()
            assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text), name
            assert str(tmp_path) not in text
            assert str(files["last"].parent) not in text


def test_the_same_call_gives_the_same_bytes_and_replaces_them(runtime, files, tmp_path):
    out, models = tmp_path / "out", [files["hostile"], files["plain"]]
    first = zoo.gallery(out, models)
    before = contents(out)
    assert set(before) == set(first.files)
    (out / "gallery.js").write_text("old")
    zoo.gallery(out, models)
    assert contents(out) == before


def test_a_page_of_somebody_elses_is_not_overwritten(runtime, files, tmp_path, scarlet):
    (tmp_path / "index.html").write_text("<!doctype html><title>mine</title>")
    code, out, err = scarlet("gallery", files["plain"], "--out", tmp_path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "is another page, wanted a folder without one" in err
    assert {path.name for path in tmp_path.iterdir()} == {"index.html", "runtime"}


def test_a_file_that_the_page_cannot_run_says_why_and_is_compared(runtime, files, tmp_path, scarlet):
    code, out, _ = scarlet("gallery", files["plain"], files["nearest"], "--out", tmp_path / "out", "--json")
    assert code == 0
    plain, nearest = json.loads(out)["networks"]
    assert "does not describe its preprocessing" in plain["why_not"]
    assert "resized by nearest, and the page knows bilinear, bicubic, lanczos" in nearest["why_not"]
    assert not plain["runs"] and not nearest["runs"]
    assert plain["macs"] == nearest["macs"] > 0
    page = Page((tmp_path / "out" / "index.html").read_text())
    assert "It cannot be tried here: does not describe its preprocessing" in page.text
    assert "None of these networks can be run here" in page.text


def test_preprocessing_and_labels_are_for_files_that_state_none(runtime, files, tmp_path, scarlet):
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\nc\nd\ne\n")
    given = ("--preprocessing", "imagenet", "--labels", labels, "--out", tmp_path / "out")
    code, out, _ = scarlet("gallery", files["plain"], files["hostile"], *given, "--json")
    plain, hostile = (json.loads((tmp_path / "out" / "networks" / f"{row['id']}.json").read_text())
                      for row in json.loads(out)["networks"])  # fmt: skip
    assert code == 0
    assert plain["labels"] == list("abcde")
    assert plain["preprocessing"]["mean"] == [0.485, 0.456, 0.406]
    assert hostile["labels"][0] == LABELS[0]
    assert hostile["preprocessing"]["mean"] == preprocessing()["mean"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["none.onnx"], "no such file"),
        (["resnot50"], "unknown"),
        (["{plain}", "--records", "{tmp}"], "has no *.json, wanted files of records"),
        (["{plain}", "--records", "{tmp}/no.json"], "cannot be read"),
        (["{hostile}", "--preprocessing", "imagenet"], "--preprocessing imagenet: would be ignored"),
        (["{hostile}", "--labels", "{labels}"], "would be ignored"),
        (["scarlet_cifar_s", "--target", "ncnn"], "target ncnn: is not an ONNX file"),
        (["{tmp}/model.tflite"], "model.tflite: is not an ONNX file"),
    ],
)
def test_bad_input_is_one_line(runtime, files, given, says, tmp_path, scarlet):
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\nc\nd\ne\n")
    names = {"plain": files["plain"], "hostile": files["hostile"], "tmp": tmp_path, "labels": labels}
    code, out, err = scarlet("gallery", *(text.format(**names) for text in given), "--out", tmp_path / "out")
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert says.format(**names) in err
    assert not (tmp_path / "out" / "index.html").exists()


def test_records_of_a_folder_are_devices_to_choose(runtime, files, tmp_path):
    digest = zoo.gallery(tmp_path / "first", [files["grey"]]).entries[0].sha256
    phones, rows = tmp_path / "phones", {"the very file": digest, "another file": "f" * 64}
    phones.mkdir()
    for place, (device, sha256) in enumerate(rows.items()):
        row = record(noisy(place), {"network": "grey", "file": "grey.onnx"}, device=device, sha256=sha256, form=None,
                     input_shape={"x": [1, 1, 40, 48]})  # fmt: skip
        (phones / f"{place}.json").write_text(json.dumps([row]))
    zoo.gallery(tmp_path / "out", [files["grey"]], records=[phones])
    page = Page((tmp_path / "out" / "index.html").read_text())
    found = {one["group"]: one for one in page.data["entries"][0]["latencies"]}
    assert list(found) == [f"{device}, 1 thread, onnxruntime 1 ({place}.json)" for place, device in enumerate(rows)]
    assert [one["same"] for one in found.values()] == [True, False]
    assert all(one["low"] <= one["p50"] <= one["high"] for one in found.values())
    assert page.text.count("of another file of this network") == 1


def test_the_page_opens_on_the_data_of_most_networks(runtime, files, two_files, tmp_path):
    given = [files["grey"], *two_files]
    accuracies = [tmp_path / "one.json", tmp_path / "two.json"]
    accuracies[0].write_text(json.dumps({given[0].name: {"top1": 80, "images": 100}}))
    accuracies[1].write_text(json.dumps({path.name: {"top1": 70, "images": 100} for path in given[1:]}))
    zoo.gallery(tmp_path / "out", given, accuracies=accuracies)
    assert Page((tmp_path / "out" / "index.html").read_text()).data["sets"] == [
        "own images (two.json), measured by whoever made this page",
        "own images (one.json), measured by whoever made this page",
    ]


def test_a_record_of_the_very_file_goes_first():
    base = packaged_latencies()[0].model_dump() | {"network": "n", "record": "r", "form": "native", "sha256": "a" * 64}
    fast = [type(packaged_latencies()[0])(**base | {"p50_ms": 1.0, "form": form, "sha256": sha256})
            for form, sha256 in (("blocked", "b" * 64), ("native", "c" * 64))]  # fmt: skip
    very = type(fast[0])(**base | {"p50_ms": 9.0})
    known: dict[str, Any] = {"names": ("n",), "precision": "float32", "form": "native"}
    assert latencies_of([*fast, very], sha256="a" * 64, **known) == [very]
    assert latencies_of(fast, sha256="a" * 64, **known) == [fast[1]]
    assert latencies_of(fast, sha256=None, **known | {"form": ""}) == [fast[0]]
    assert latencies_of(fast, sha256=None, **known | {"precision": "int8"}) == []
    sides = fast[0].sides
    assert latencies_of(fast, sha256=None, **known, sides=sides[::-1]) == [fast[1]]
    assert latencies_of(fast, sha256=None, **known, sides=(3, 7, 7)) == []


def test_figures_of_a_network_are_not_those_of_its_file_for_other_images(runtime, tmp_path):
    own = zoo.export("scarlet_cifar_s", out=tmp_path / "own.onnx").path
    larger = zoo.export("scarlet_cifar_s", out=tmp_path / "larger.onnx", recipe=zoo.Recipe(input_size=(64, 64))).path
    first, second = zoo.gallery(tmp_path / "out", [own, larger]).entries
    assert [point.top1 for point in first.points] == [85.7]
    assert [one.record for one in first.latencies] == ["cifar10.json"]
    assert first.macs < second.macs
    assert not second.points
    assert not second.latencies


def test_the_packages_latencies_are_the_evidence():
    assert PACKAGED.read_text() == packaged_text(ROOT / "benchmarks" / "results")
    assert {one.network for one in packaged_latencies()} == set(ZOO)


@pytest.mark.parametrize("name", ["scarlet_a", "scarlet_c"])
def test_published_figures_are_marked_and_never_mixed_with_ours(name):
    entry = entry_of_name(name, Evidence(latencies=packaged_latencies()))
    (point,) = entry.points
    assert point.data_set == "ImageNet-1k, as published, not measured here"
    assert point.top1 == ZOO[name].published.top1_percent
    assert "arXiv 1908.06022" in point.source
    assert {one.precision for one in entry.latencies} == {"float32"}
    assert "questionnaire" in dict(entry.facts)["how to get the weights"]
    assert entry.file is None
    assert not entry.for_page()["runs"]


def test_the_cost_of_a_file_is_that_of_its_network(two_files):
    for path, token in zip(two_files, ("e3k3", "e6k5se"), strict=True):
        arch = Arch.of(TINY, [token] * len(TINY.layers))
        assert graph_cost(path, {"input": (1, 3, 32, 32)}).macs == arch_cost(arch).macs


def test_a_graph_without_sizes_has_no_cost(files):
    assert graph_cost(files["hostile"], {}).macs is None
    known = graph_cost(files["hostile"], {"x": (1, 3, 40, 48)})
    assert known.macs == 8 * 27 * 20 * 24 + 8 * 72 * 20 * 24 + 8 * 5
    assert known.params == 8 * 27 + 8 * 72 + 8 + 8 * 5 + 5
