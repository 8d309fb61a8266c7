"""Snippets in every language: filled in, closed to hostile words, refused where they would be wrong."""

import ast
import json
import re
import shutil
import subprocess

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from snippet_parts import FEEDS, HOSTILE, KINDS

from scarlet_zoo import export_onnx
from scarlet_zoo.cli import main
from scarlet_zoo.deployment.snippets.literals import comment, literal
from scarlet_zoo.deployment.snippets.render import LANGUAGES, snippet
from scarlet_zoo.deployment.trace import Recipe
from scarlet_zoo.errors import ArtifactError, ScarletError
from scarlet_zoo.graph.artifact import read_artifact

pytest_plugins = ["snippet_plugin"]


def without_text(code):
    """The code without its string literals and line comments, so that brackets can be counted."""
    return re.sub(r'"(\\.|[^"\\\n])*"|(//|#)[^\n]*', "", code)


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_snippet_is_filled_with_this_files_own_numbers(lang, kind, files):
    artifact = files[kind]
    code = snippet(artifact, lang)
    assert code.isascii()
    assert max(map(len, code.splitlines())) <= 400  # the labels stand in one line
    bare = without_text(code)
    assert not re.search(r"@[A-Z_]+@|^@\w+ ", bare, re.MULTILINE)
    for opening, closing in ("()", "[]", "{}"):
        assert bare.count(opening) == bare.count(closing), opening
    feed = artifact.preprocessing
    numbers = set(re.findall(r"\d+\.\d+|\d+", bare))
    assert {str(feed.size[0]), str(feed.size[1]), str(int(feed.size[0] / feed.crop))} <= numbers
    normalised = {str(value) for value in (*feed.mean, *feed.std)}
    assert normalised.isdisjoint(numbers - {"0.5"}) if kind == "uint8" else normalised <= numbers
    assert literal(HOSTILE, lang) in code
    assert ("tests neither compile nor run this" in code) == (lang == "swift")
    assert LANGUAGES[lang].executed == (lang in ("js", "python"))


@pytest.mark.parametrize("lang", LANGUAGES)
def test_random_weights_are_called_so(lang, files, tmp_path):
    said = "answers mean nothing"
    assert said not in snippet(files["bilinear"], lang)
    model = onnx.load(files["bilinear"].path)
    helper.set_model_props(model, {**files["bilinear"].metadata, "weights": "random (structure and latency only)"})
    onnx.save(model, tmp_path / "random.onnx")
    code = snippet(read_artifact(tmp_path / "random.onnx"), lang)
    assert said in code
    if lang == "python":
        ast.parse(code)


@given(st.text())
def test_no_text_breaks_out_of_a_literal_or_a_comment(text):
    assert ast.literal_eval(literal(text, "python")) == text
    for lang in ("js", "kotlin"):  # what stands in either is also JSON, but for the dollar
        assert json.loads(literal(text, lang)) == text
        assert "$" not in literal(text, lang)
    octal = re.sub(r"\\(\d{3})", lambda found: chr(int(found[1], 8)), literal(text, "cpp"))
    assert octal.encode("latin-1")[1:-1].decode() == text
    points = re.sub(r"\\u\{([0-9a-f]+)\}", lambda found: chr(int(found[1], 16)), literal(text, "swift"))
    assert points[1:-1] == text
    assert re.fullmatch(r"[ -~]*", comment(text))
    assert not re.search(r'[\\"/*`$@]', comment(text))


HOSTILE_WORDS = ['"', "'''", '"""', "\\", "*/", "\n", "\r\u2028", "`${process.exit(9)}`", "</script>", "@FILE@", "#{1}"]


@pytest.mark.parametrize("words", HOSTILE_WORDS)
def test_hostile_metadata_stays_text(words, files, tmp_path):
    name = f"a {words.replace('/', '')} b.onnx"
    model = onnx.load(files["bilinear"].path)
    labels = [f"{words} {i}" for i in range(10)]
    helper.set_model_props(model, {**files["bilinear"].metadata, "weights": words, "labels": json.dumps(labels)})
    onnx.save(model, tmp_path / name)
    artifact = read_artifact(tmp_path / name)
    tree = ast.parse(snippet(artifact, "python"))
    assert name in {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    if shutil.which("node"):
        (tmp_path / "classify.mjs").write_text(snippet(artifact, "js"))
        command = ["node", "--check", tmp_path / "classify.mjs"]
        assert subprocess.run(command, capture_output=True, text=True, check=False).stderr == ""
    count = without_text(snippet(artifact, "kotlin")).count("\n")
    assert count == without_text(snippet(files["bilinear"], "kotlin")).count("\n")


def changed(artifact, path, **metadata):
    """A copy of a file with other words about itself; None takes a word away."""
    model = onnx.load(artifact.path)
    words = {key: text for key, text in {**artifact.metadata, **metadata}.items() if text is not None}
    helper.set_model_props(model, words)
    onnx.save(model, path)
    return read_artifact(path)


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({"preprocessing": None}, "does not describe its preprocessing"),
        ({"preprocessing": FEEDS["lanczos"].to_json()}, "wanted (1, 3, 31, 31)"),
        ({"preprocessing": FEEDS["bilinear"].to_json().replace("0.485", "NaN")}, "mean.0: got nan"),
        ({"preprocessing": FEEDS["bilinear"].to_json().replace("0.225", "0")}, "wanted usable numbers"),
        (
            {"preprocessing": FEEDS["bilinear"].to_json().replace("0.875", "5e-324")},
            "wanted images resized to sides of at most",
        ),
        ({"preprocessing": FEEDS["bilinear"].to_json().replace("bilinear", "nearest")}, "no nearest resize"),
        ({"input_layout": "NHWC uint8"}, "takes FLOAT, wanted UINT8"),
        ({"labels": "{"}, "no JSON list"),
        ({"labels": "5"}, "no JSON list"),
    ],
)
def test_a_file_that_a_snippet_would_misread_is_refused(metadata, says, files, tmp_path):
    artifact = changed(files["bilinear"], tmp_path / "m.onnx", **metadata)
    with pytest.raises(ScarletError) as caught:
        snippet(artifact, "js")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_classifier_of_one_picture_is_refused(folded, files, tmp_path):
    pairs = export_onnx(folded, tmp_path / "pairs.onnx", Recipe(batch=2))
    with pytest.raises(ArtifactError, match=r"takes \(2, 3, 32, 32\), wanted \(1, 3, 32, 32\)"):
        snippet(pairs, "python")
    assert "logits" in snippet(export_onnx(folded, tmp_path / "one.onnx", Recipe(batch=1)), "python")
    model = onnx.load(files["bilinear"].path)
    model.graph.output.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, None))
    onnx.save(model, tmp_path / "two.onnx")
    with pytest.raises(ArtifactError, match="gives 'logits features'"):
        snippet(read_artifact(tmp_path / "two.onnx"), "python")
    with pytest.raises(ScarletError, match="language 'cobol': unknown, wanted one of kotlin swift cpp js python"):
        snippet(files["bilinear"], "cobol")


def test_the_command_prints_the_snippet_and_nothing_else(files, capsys):
    path = files["oblong"].path
    for lang in LANGUAGES:
        assert main.run(["snippet", str(path), "--lang", lang]) == 0
        assert capsys.readouterr() == (snippet(files["oblong"], lang), "")
        assert main.run(["snippet", str(path), "--lang", lang, "--json"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert said == {"lang": lang, "file": str(path), "code": snippet(files["oblong"], lang),
                        "executed": lang in ("js", "python")}  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(("{tmp}/no.onnx", "--lang", "js"), "no such file"), (("{tmp}/no.onnx",), "--lang"), ((), "file")],
)
def test_a_bad_command_is_one_line(arguments, says, capsys, tmp_path):
    assert main.run(["snippet", *(argument.format(tmp=tmp_path) for argument in arguments)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert says in said.err.lower()  # FILE or file, by the version of typer


def test_an_unknown_language_is_one_line(files, capsys):
    assert main.run(["snippet", str(files["bilinear"].path), "--lang", "cobol"]) == 2
    assert "wanted one of kotlin swift cpp js python" in capsys.readouterr().err
