"""The Kotlin snippets, for ONNX Runtime and LiteRT, compiled against stand-ins and run on those.

What the runtimes are fed is compared with our own preparation, of pictures that need no resize: how Android resizes is
no part of the stand-ins.
"""

import json
import re
import shutil
import subprocess

import fetch
import numpy as np
import pytest
from android_stubs import write_stubs
from PIL import Image
from snippet_parts import FEEDS, HOSTILE, KINDS, LABELS

from scarlet_zoo.data.sample_images import photos
from scarlet_zoo.deployment.runtimes.runner import Described, description_path
from scarlet_zoo.deployment.snippets.render import snippet, snippet_of_file
from scarlet_zoo.errors import ArtifactError, ScarletError

pytest_plugins = ["snippet_plugin"]


def described(path, feed, labels=LABELS, **changes):
    """A description of a file of another runtime, as export writes it beside the file."""
    metadata = {"weights": "made for\n*/ a test", "model": "net"}
    if labels is not None:
        metadata["labels"] = json.dumps(labels)
    facts = {"runtime": "litert", "shape": (1, 3, *feed.size), "outputs": ("logits",), "preprocessing": feed,
             "metadata": metadata, **changes}  # fmt: skip
    path.write_bytes(b"\x1c\0\0\0TFL3")
    description_path(path).write_text(json.dumps(Described(**facts).to_dict()))
    return path


@pytest.fixture(scope="module")
def jars():
    """A Kotlin compiler; tests that need it are skipped where it, or Java, is not there."""
    if not (shutil.which("java") and shutil.which("javac")):
        pytest.skip("java and javac are not installed")
    try:
        return fetch.kotlin_compiler()
    except ScarletError as error:
        pytest.skip(str(error))


def run(*command, folder=None):
    done = subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


DRIVER = """
fun main() {
    for (kind in listOf(@KINDS@)) {
        val image = javax.imageio.ImageIO.read(java.io.File(kind.substringAfter("_") + ".png"))
        val bitmap = android.graphics.Bitmap(image)
        stub.Fed.path = kind + ".fed"
        val context = android.content.Context()
        val best = when (kind) {
@CASES@
            else -> error(kind)
        }
        println(kind + " " + best.joinToString { it.first + " " + it.second })
    }
}
"""


@pytest.fixture(scope="module")
def built(jars, files, tmp_path_factory):
    """All snippets in one program, each in a package of its own, and what it printed."""
    folder = tmp_path_factory.mktemp("kotlin")
    codes = {f"onnx_{kind}": snippet(files[kind], "kotlin") for kind in KINDS}
    for kind, feed in FEEDS.items():
        (folder / kind).mkdir()
        file = described(folder / kind / HOSTILE.replace(".onnx", ".tflite"), feed)
        codes[f"litert_{kind}"] = snippet_of_file(file, "kotlin")
    for kind in KINDS:
        feed = files[kind].preprocessing
        height, width = (int(side / feed.crop) for side in feed.size)
        photo = photos(1)[0].resize((width, height))
        photo.save(folder / f"{kind}.png")
    for number, (kind, code) in enumerate(codes.items()):
        (folder / f"{number}.kt").write_text(f"package {kind}\n{code}")
    (folder / HOSTILE).write_bytes(b"onnx")
    (folder / HOSTILE.replace(".onnx", ".tflite")).write_bytes(b"tflite")
    cases = "\n".join(
        f'            "{kind}" -> {kind}.Classifier(context).use {{ it.topFive(bitmap) }}' for kind in codes
    )
    kinds = ", ".join(f'"{kind}"' for kind in codes)
    (folder / "Main.kt").write_text(DRIVER.replace("@KINDS@", kinds).replace("@CASES@", cases))
    run("javac", "-d", folder / "stubs", *write_stubs(folder / "java"))
    (library,) = jars.glob("kotlin-stdlib-*.jar")
    classpath = f"{library}:{folder / 'stubs'}"
    compiler = (
        "java",
        "-Xmx1g",
        "-XX:TieredStopAtLevel=1",
        "-cp",
        f"{jars}/*",
        "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler",
    )
    done = run(*compiler, "-no-stdlib", "-no-reflect", "-classpath", classpath, "-d", folder / "out",
               *folder.glob("*.kt"))  # fmt: skip
    assert "warning" not in done.stderr
    whole = f"{classpath}:{folder / 'out'}"
    said = run("java", "-Djava.awt.headless=true", "-cp", whole, "MainKt", folder=folder).stdout
    return folder, codes, said.splitlines()


@pytest.mark.slow
def test_the_kotlin_snippets_prepare_a_picture_as_we_do(built, files):
    folder, codes, said = built
    assert [line.split()[0] for line in said] == list(codes)
    for kind in codes:
        artifact = files[kind.partition("_")[2]]
        feed = artifact.preprocessing
        wanted = feed(Image.open(folder / f"{kind.partition('_')[2]}.png").convert("RGB"))
        if kind == "onnx_uint8":
            mean, std = (np.array(values)[:, None, None] for values in (feed.mean, feed.std))
            fed = np.fromfile(folder / f"{kind}.fed", np.uint8).reshape(*feed.size, 3).transpose(2, 0, 1)
            fed = (fed / 255 - mean) / std
        else:
            fed = np.fromfile(folder / f"{kind}.fed", np.float32).reshape(wanted.shape)
        assert np.abs(fed - wanted).max() < 1e-5, kind


@pytest.mark.slow
def test_the_kotlin_snippets_name_the_likeliest_labels(built):
    _, _, said = built
    shares = np.exp(np.arange(10.0) - 9) / np.exp(np.arange(10.0) - 9).sum()
    for line in said:
        kind, _, best = line.partition(" ")
        found = [part.rsplit(" ", 1) for part in best.split(", ")]
        labels = [f"label {9 - place}" if kind.startswith("onnx") else LABELS[9 - place] for place in range(5)]
        assert [label for label, _ in found] == labels
        assert [float(share) for _, share in found] == pytest.approx(shares[::-1][:5].tolist(), rel=1e-5)


@pytest.mark.parametrize("kind", FEEDS)
@pytest.mark.parametrize(
    ("name", "lang"), [(HOSTILE.replace(".onnx", ".tflite"), "kotlin"), ("net.mlpackage", "swift")]
)
def test_snippets_of_other_runtimes_hold_the_files_own_numbers(kind, name, lang, tmp_path):
    feed = FEEDS[kind]
    code = snippet_of_file(described(tmp_path / name, feed, runtime=lang), lang)
    assert code.isascii()
    bare = re.sub(r'"(\\.|[^"\\\n])*"|//[^\n]*', "", code)
    assert not re.search(r"@[A-Z_]+@|^@\w+ ", bare, re.MULTILINE)
    for opening, closing in ("()", "[]", "{}"):
        assert bare.count(opening) == bare.count(closing), opening
    numbers = set(re.findall(r"\d+\.\d+|\d+", bare))
    assert {str(value) for value in (*feed.mean, *feed.std, *feed.size)} <= numbers
    assert "answers mean nothing" not in code
    assert ("tests neither compile nor run this" in code) == (lang == "swift")


def test_a_file_that_a_snippet_would_misread_is_refused(tmp_path, scarlet):
    feed = FEEDS["bilinear"]
    for changes, why in (
        ({"shape": (2, 3, 32, 32)}, r"takes \(2, 3, 32, 32\) to logits, wanted a classifier of one image"),
        ({"outputs": ("level1",)}, "to level1, wanted a classifier of one image"),
        ({"metadata": {"labels": "5"}}, "wanted a list of class names in JSON"),
    ):
        with pytest.raises(ArtifactError, match=why):
            snippet_of_file(described(tmp_path / "net.tflite", feed, **changes), "kotlin")
    file = described(tmp_path / "net.tflite", feed, labels=None)
    assert "arrayOf<String>()" in snippet_of_file(file, "kotlin")
    for name, lang, why in (("net.tflite", "swift", "got no swift snippet for litert, wanted --lang kotlin"),
                            ("net.pte", "kotlin", "got no kotlin snippet for executorch, wanted a file of"),
                            ("net.mlpackage", "kotlin", "got no kotlin snippet for coreml, wanted --lang swift"),
                            ("other.tflite", "kotlin", "no such file")):  # fmt: skip
        code, out, err = scarlet("snippet", tmp_path / name, "--lang", lang)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert why in err
    code, out, _ = scarlet("snippet", file, "--lang", "kotlin", "--json")
    assert (code, json.loads(out)["executed"]) == (0, False)
