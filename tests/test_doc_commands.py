"""Every command of the guides runs as it stands on the page, in order, in a folder that has what the page asks for."""

import json
import os
import re
import runpy
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from command_parts import understood
from conftest import ROOT

from scarlet_zoo import latency
from scarlet_zoo.arch.zoo import ZOO
from scarlet_zoo.data.sample_images import photos
from scarlet_zoo.deployment.recipes import read_recipes
from scarlet_zoo.evidence.manifest import read_manifest
from scarlet_zoo.evidence.site.networks import network_page
from scarlet_zoo.evidence.site.references import strategy_page, target_page
from scarlet_zoo.nas.strategies.registry import STRATEGIES

DOCS, RESULTS = ROOT / "docs", ROOT / "benchmarks" / "results"
# Each guide, with the trainings and measurements of its commands shortened: the arguments that are added.
GUIDES = {
    "quick-start": {},
    "own-checkpoint": {},
    "own-search": {
        "lut bundle": "--networks 8 --held-out 4", "supernet train": "--max-steps 2 --batch-size 8",
        "search": "--evaluations 6 --population 2 --bn-images 8", "train": "--max-steps 2 --batch-size 8",
    },
    "slow-int8": {}, "gallery": {},
    "fold-drawn": {},
    "latency-trust": {},
}  # fmt: skip
# What a shell would run beside scarlet-zoo: the file that measures, on the device.
LATENCY = ROOT / "scarlet_zoo" / "latency.py"


def blocks(text):
    """(language, code) of a page's blocks, in order."""
    return re.findall(r"^```(sh|python|toml)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands(code):
    """The words of each command of a shell's block; a line that goes on behind a backslash is one."""
    lines = code.replace("\\\n", " ").splitlines()
    return [shlex.split(part) for line in lines for part in line.split(" && ")]


def chosen():
    """The identity string that the page tells to read off."""
    return json.loads(Path("out/derived/archs.json").read_text())[0]["arch"]


@pytest.fixture
def run_page(scarlet, tmp_path, monkeypatch, brief_measurements):
    """Run a page's commands and its Python in a folder, in this process, which has loaded torch already."""

    def run(text, added):
        for place, (language, code) in enumerate(blocks(text)):
            monkeypatch.chdir(tmp_path)
            if language == "toml":
                (tmp_path / "mine.toml").write_text(code)
            elif language == "python":
                (tmp_path / f"block{place}.py").write_text(code)
                runpy.run_path(f"block{place}.py")
            elif "pip install" not in code:  # which tests/test_readme.py runs
                for words in commands(code):
                    run_command(words, added)

    def run_command(words, added):
        if words[0] == "cd":
            monkeypatch.chdir(words[1])
        elif words[:2] == ["python", "latency.py"]:
            assert Path("latency.py").read_text() == LATENCY.read_text()
            monkeypatch.setattr(sys, "argv", words[1:])
            latency._main()
        else:
            assert words[0] == "scarlet-zoo", words
            words, to = (words[:-2], words[-1]) if words[-2] == ">" else (words, os.devnull)
            words = [chosen() if word.endswith("-...") else word for word in words]
            more = next((more for verb, more in added.items() if words[1:][: len(verb.split())] == verb.split()), "")
            code, out, err = scarlet(*words[1:], *more.split())
            assert code == 0, (words, out[-1500:], err[-1500:])
            Path(to).write_text(out)

    return run


@pytest.fixture(scope="session")
def yours(tmp_path_factory):
    """What the guides call yours: images by class, photographs, a photograph, a fine-tuned checkpoint, an ONNX file."""
    import timm
    import torch

    folder = tmp_path_factory.mktemp("yours")
    for place, photo in enumerate(photos(40)):
        for part, size in (("images", 48), ("val", 96), ("photos", 224)):
            label = "" if part == "photos" else ("cat", "cup", "dog")[place % 3]
            (folder / part / label).mkdir(parents=True, exist_ok=True)
            if part == "images" or place < 12:
                photo.resize((size, size)).save(folder / part / label / f"{place}.png")
    shutil.copyfile(folder / "photos" / "0.png", folder / "photo.jpg")
    (folder / "labels.txt").write_text("cat\ncup\ndog\n")
    torch.manual_seed(0)
    network = timm.create_model("mobilenetv3_small_100", num_classes=3).eval()
    torch.save(network.state_dict(), folder / "best.pth")
    torch.onnx.export(
        network, (torch.rand(1, 3, 224, 224),), str(folder / "theirs.onnx"), dynamo=False, opset_version=17
    )
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("guide", GUIDES)
def test_the_commands_of_a_guide_run(guide, yours, tmp_path, run_page):
    text = (DOCS / f"{guide}.md").read_text()
    for path in yours.iterdir():
        if re.search(rf"\b{re.escape(path.name)}\b", text):
            (shutil.copytree if path.is_dir() else shutil.copyfile)(path, tmp_path / path.name)
    run_page(text, GUIDES[guide])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["scarlet_mini_s", "scarlet_c"])
def test_the_commands_of_a_network_page_run(name, run_page):
    page = network_page(name, read_manifest(ROOT / "export" / "manifest.json"), ROOT / "benchmarks" / "results")
    run_page(page, {})


@pytest.mark.slow
def test_the_commands_of_pages_that_are_made_are_understood(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    manifest, results = read_manifest(ROOT / "export" / "manifest.json"), ROOT / "benchmarks" / "results"
    pages = [network_page(name, manifest, results) for name in ZOO]
    pages += [target_page(name, recipe, manifest, RESULTS) for name, recipe in read_recipes().items()]
    pages += [strategy_page(name, "", results) for name in STRATEGIES]
    lines = [
        line for page in pages for language, code in blocks(page) if language == "sh" for line in code.splitlines()
    ]
    assert len(lines) > 3 * len(ZOO) + len(STRATEGIES)
    for line in lines:
        understood(line, tmp_path)


@pytest.mark.parametrize("page", sorted([*GUIDES, "devices"]))
def test_commands_within_sentences_are_understood(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = re.sub(r"^```.*?^```", "", (DOCS / f"{page}.md").read_text(), flags=re.DOTALL | re.MULTILINE)
    for line in re.findall(r"`(scarlet-zoo [a-z]+ [^`]*)`", text):
        if "NAME" not in line and len(line.split()) > 2 and line.split()[2].startswith("-"):
            understood(line, tmp_path)


def test_every_shortened_command_is_on_its_page():
    for guide, added in GUIDES.items():
        text = (DOCS / f"{guide}.md").read_text()
        for words in added:
            assert f"scarlet-zoo {words} " in text, (guide, words)


def test_a_guide_is_no_page_that_nobody_runs():
    """The new pages are those that mkdocs.yml lists first; a page beside them is run here or has no commands."""
    start = (ROOT / "mkdocs.yml").read_text().partition("- Start:")[2].partition("- Networks:")[0]
    named = {Path(name).stem for name in re.findall(r"([\w-]+\.md)", start)} - {"index", "devices"}
    assert named == GUIDES.keys()
