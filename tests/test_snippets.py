"""The Python and the JavaScript snippet are run: they answer as this package does, or are found out."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from conftest import program
from PIL import Image
from snippet_parts import KINDS, TOLERANCE, gap, top_labels

from scarlet_zoo.data.image_io import open_image
from scarlet_zoo.data.sample_images import photos
from scarlet_zoo.deployment.snippets.render import snippet
from scarlet_zoo.graph.session import OnnxClassifier

pytest_plugins = ["snippet_plugin"]
VERSIONS = {"onnxruntime-node": "1.30.0", "sharp": "0.35.5"}


def python_answers(code, folder, pictures):
    """Run the Python snippet in a process of its own: logits of the pictures, and the first one's top five."""
    (folder / "classify.py").write_text(code, encoding="ascii")
    driver = (
        "import json, sys, classify\n"
        "answers = [classify.logits(path).tolist() for path in sys.argv[1:]]\n"
        "print(json.dumps([answers, classify.top_five(sys.argv[1])]))"
    )
    command = [sys.executable, "-c", driver, *map(str, pictures)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", KINDS)
def test_the_python_snippet_answers_as_our_own_pipeline(kind, files, pictures, expected):
    artifact = files[kind]
    logits, best = python_answers(snippet(artifact, "python"), artifact.path.parent, pictures)
    assert gap(logits, expected[kind]) < TOLERANCE
    assert [label for label, _ in best] == top_labels(expected[kind][0])
    assert [share for _, share in best] == sorted((share for _, share in best), reverse=True)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("0.485, 0.456", "0.456, 0.485"), ("BILINEAR", "BICUBIC"), ("short = 36", "short = 32"), ("0.225", "0.224")],
)
def test_a_wrong_snippet_is_found_out(right, wrong, files, pictures, expected):
    artifact = files["bilinear"]
    code = snippet(artifact, "python")
    assert code.count(right) == 1
    logits, _ = python_answers(code.replace(right, wrong), artifact.path.parent, pictures)
    assert gap(logits, expected["bilinear"]) > 10 * TOLERANCE


def test_the_python_snippet_prints_five_lines(files, pictures, expected, tmp_path):
    artifact = files["bilinear"]
    shutil.copy(artifact.path, tmp_path)
    (tmp_path / "classify.py").write_text(snippet(artifact, "python"))
    done = subprocess.run(
        [sys.executable, tmp_path / "classify.py", pictures[0]], capture_output=True, text=True, check=True
    )
    found = re.findall(r"^(0\.\d{4}) ", done.stdout, re.MULTILINE)
    assert len(found) == 5
    assert 0 < sum(map(float, found)) < 1.001


@pytest.fixture(scope="session")
def node_modules():
    """Packages of the JavaScript snippet, kept beside the interpreter from one run to the next."""
    node, npm = program("node"), program("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are not installed")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < (20, 11):
        pytest.skip(f"node is {version.strip()}, the snippet wants 20.11 or newer")
    kept = Path(sys.prefix) / "npm-snippets" / "-".join(VERSIONS.values())
    if not kept.is_dir():
        kept.parent.mkdir(exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=kept.parent))
        (made / "package.json").write_text('{"private": true}')
        packages = [f"{name}@{wanted}" for name, wanted in VERSIONS.items()]
        # Its install step fetches optional parts from another registry; the CPU needs none of them.
        env = {**os.environ, "ONNXRUNTIME_NODE_INSTALL": "skip"}
        command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", *packages]
        try:
            subprocess.run(command, cwd=made, env=env, capture_output=True, text=True, check=True, timeout=120)
            made.rename(kept)
        except (subprocess.SubprocessError, OSError) as error:
            shutil.rmtree(made, ignore_errors=True)
            if not kept.is_dir():
                said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1:]
                pytest.skip(f"npm cannot install {' '.join(packages)}: {''.join(said)}")
    return kept / "node_modules"


def js_answers(code, folder, node_modules, pictures):
    (folder / "classify.mjs").write_text(code, encoding="ascii")
    if not (folder / "node_modules").exists():
        (folder / "node_modules").symlink_to(node_modules)
    (folder / "driver.mjs").write_text(
        'import { logits, topFive } from "./classify.mjs";\n'
        "const answers = [];\n"
        "for (const file of process.argv.slice(2)) answers.push(await logits(file));\n"
        "console.log(JSON.stringify([answers, await topFive(process.argv[2])]));\n"
    )
    command = [program("node"), "driver.mjs", *map(str, pictures)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_javascript_snippet_answers_as_our_own_pipeline(kind, node_modules, files, pictures, expected):
    artifact = files[kind]
    logits, best = js_answers(snippet(artifact, "js"), artifact.path.parent, node_modules, pictures)
    assert gap(logits, expected[kind]) < TOLERANCE
    assert [entry["label"] for entry in best] == top_labels(expected[kind][0])
    command = [program("node"), "classify.mjs", str(pictures[0])]
    done = subprocess.run(command, cwd=artifact.path.parent, capture_output=True, text=True, check=True)
    assert len(re.findall(r"^0\.\d{4} ", done.stdout, re.MULTILINE)) == 5


@pytest.mark.slow
def test_a_photo_that_a_camera_turned_stands_upright_in_both(node_modules, files, tmp_path):
    artifact, noted = files["bilinear"], Image.Exif()
    noted[0x0112] = 6
    shown = photos(3)
    for number, photo in enumerate(shown):
        photo.save(tmp_path / f"{number}.jpg", quality=95, exif=noted)
    paths = sorted(tmp_path.glob("*.jpg"))
    wanted = OnnxClassifier(artifact.path).logits(artifact.preprocessing.batch([open_image(p) for p in paths]), 1)
    upright = artifact.preprocessing.batch([photo.rotate(-90, expand=True) for photo in shown])
    as_stored = artifact.preprocessing.batch(shown)
    near, far = (gap(OnnxClassifier(artifact.path).logits(images, 1), wanted) for images in (upright, as_stored))
    assert 4 * near < far
    folder = artifact.path.parent
    logits, _ = python_answers(snippet(artifact, "python"), folder, paths)
    assert gap(logits, wanted) < TOLERANCE
    logits, _ = js_answers(snippet(artifact, "js"), folder, node_modules, paths)
    # Two decoders of JPEG may round a pixel apart.
    assert gap(logits, wanted) < 0.02


@pytest.mark.slow
def test_a_wrong_javascript_snippet_is_found_out(node_modules, files, pictures, expected):
    artifact = files["bilinear"]
    code = snippet(artifact, "js").replace("const REACH = 1", "const REACH = 0.9")
    logits, _ = js_answers(code, artifact.path.parent, node_modules, pictures)
    assert gap(logits, expected["bilinear"]) > 10 * TOLERANCE
