import contextlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scarlet_zoo import get_arch, list_archs
from scarlet_zoo.cli import main
from scarlet_zoo.deployment.targets import TARGETS
from scarlet_zoo.latency import statistics

# Nothing here is about how long a network takes.
pytestmark = pytest.mark.usefixtures("brief_measurements")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    assert main.run(["export", "scarlet_c", "--out", str(folder), "--input-size", "64", "--json"]) == 0
    return folder / "scarlet_c.onnx"


def test_list_and_show_say_it_in_json(scarlet):
    code, out, err = scarlet("list", "--json")
    assert (code, err) == (0, "")
    assert [row["name"] for row in json.loads(out)] == list_archs()
    code, out, _ = scarlet("show", "scarlet_b", "--json")
    shown = json.loads(out)
    assert set(shown) >= {"arch", "params", "macs", "layers"}
    assert (shown["params"], shown["macs"]) == (6_531_556, 326_853_440)
    assert len(shown["layers"]) == 23
    _, out, _ = scarlet("show", str(get_arch("scarlet_b")), "--json")
    assert json.loads(out)["macs"] == shown["macs"]
    _, out, _ = scarlet("show", "mobilenetv3_small_050", "--json")
    assert json.loads(out)["arch"] is None


def test_tables_say_that_published_figures_are_published(scarlet):
    assert "not measured here" in scarlet("list")[1]
    drawn = scarlet("show", "scarlet_a")[1]
    assert "e6k7se" in drawn
    assert "█" in drawn


@pytest.mark.slow
def test_export_says_what_it_wrote(exported, scarlet):
    code, out, err = scarlet("export", "scarlet_c", "--out", exported.parent, "--input-size", 64, "--json")
    assert (code, err) == (0, "")
    said = json.loads(out)
    assert set(said) >= {"path", "sha256", "opset", "ir_version", "weights"}
    assert said["weights"] == "random (structure and latency only)"
    assert [file.name for file in exported.parent.iterdir()] == ["scarlet_c.onnx"]


@pytest.mark.slow
def test_an_identity_string_gets_a_safe_file_name(scarlet, tmp_path):
    arch = str(get_arch("scarlet_c")).replace("e3k3-e6k7se", "e3k5-e6k7se", 1)
    code, out, _ = scarlet("export", arch, "--out", tmp_path, "--input-size", 32, "--json")
    assert code == 0
    (file,) = tmp_path.iterdir()
    assert re.fullmatch(r"scarlet-[0-9a-f]{8}\.onnx", file.name)
    assert json.loads(out)["metadata"]["arch"] == arch


@pytest.mark.slow
def test_verify_knows_the_source_from_the_file(exported, scarlet):
    code, out, _ = scarlet("verify", exported, "--json")
    assert code == 0
    assert json.loads(out)["passed"] is True
    code, out, err = scarlet("verify", exported, "scarlet_b", "--json")
    assert code == 1
    assert json.loads(out)["passed"] is False
    assert err.startswith("error: ")
    assert err.count("\n") == 1


@pytest.mark.slow
def test_bench_and_compare(two_files, scarlet, tmp_path):
    file = two_files[0]
    code, out, err = scarlet("bench", file, file, "--json", "--repeats", 0, "--save", tmp_path / "bench.json")
    assert (code, err) == (0, "")
    rows = json.loads(out)
    assert len(rows) == 2
    assert set(rows[0]) >= {"file", "p50_ms", "p90_ms", "p99_ms", "min_ms", "cv", "runs", "load_ms", "first_ms",
                            "peak_rss_bytes", "conditions"}  # fmt: skip
    code, out, _ = scarlet("compare", tmp_path / "bench.json", "--json")
    assert code == 0
    assert json.loads(out)[0]["paired"] is True
    samples = [2 * sample for sample in rows[0]["samples_ms"]]
    openings = rows[0]["opening_of_sample"]
    slower = [rows[0], {**rows[1], "samples_ms": samples, "opening_of_sample": openings, **statistics(samples)}]
    (tmp_path / "slow.json").write_text(json.dumps(slower))
    code, _, err = scarlet("compare", tmp_path / "slow.json", "--fail-above", "1.2")
    assert code == 1
    assert "ratio" in err
    other = {**rows[0], "conditions": {**rows[0]["conditions"], "threads": 8}}
    (tmp_path / "other.json").write_text(json.dumps([other]))
    code, _, err = scarlet("compare", tmp_path / "bench.json", tmp_path / "other.json")
    assert code == 2
    assert "threads: 1 and 8" in err


@pytest.mark.slow
def test_fold_prints_its_certificate(scarlet, tmp_path):
    code, out, _ = scarlet("fold", "scarlet_b", "--stabilized", "--out", tmp_path, "--json")
    said = json.loads(out)
    assert code == 0
    assert sum(step["kind"] == "change_of_basis" for step in said["steps"]) == 2
    assert {file.name for file in tmp_path.iterdir()} == {"scarlet_b.folded.safetensors", "scarlet_b.certificate.json"}


@pytest.mark.parametrize("name", ["scarlet_mini_s", pytest.param("mobileone_s0", marks=pytest.mark.slow)])
def test_deploy_leaves_a_file_and_its_report(scarlet, tmp_path, name):
    code, out, err = scarlet("deploy", name, "--weights", "random", "--out", tmp_path, "--input-size", 64, "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert report == json.loads((tmp_path / "report.json").read_text())
    assert report["parity"]["passed"] is True
    assert report["timing"]["runs"] >= 10
    assert {file.name for file in tmp_path.iterdir()} == {f"{name}.onnx", "report.json", "report.md"}
    text = (tmp_path / "report.md").read_text()
    assert "weights: random (structure and latency only)" in text
    assert f"{report['params']:,}" in text


BAD = {
    "an unknown name": (("show", "scarlet_aa"), "scarlet_a"),
    "an unknown timm name": (("export", "resnet_18", "--out", "{tmp}/out"), "resnet18"),
    "a typo in an identity string": (("show", str(get_arch("scarlet_a")).replace("e3k7", "e3k8", 1)), "layer 0"),
    "an identity string cut short": (("show", "scarlet:e3k7"), "got 1 tokens, wanted 19"),
    "a tag that is none": (("show", "resnet18.nosuchtag"), "nosuchtag"),
    "a folder that holds no model": (("show", "local-dir:{tmp}"), "config.json"),
    "a size that the network does not take": (
        ("export", "vit_tiny_patch16_224", "--weights", "random", "--input-size", "100", "--out", "{tmp}/out"),
        "100 x 100",
    ),
    "a folder's name too long": (("export", "scarlet_a", "--out", "{tmp}/" + "x" * 300), "too long"),
    "an empty name": (("show", ""), "''"),
    "a path as a name": (("export", "../../etc/passwd", "--out", "{tmp}/out"), "passwd"),
    "a file in the folder's place": (("export", "scarlet_a", "--out", "{tmp}/file"), "{tmp}/file"),
    "a file on the folder's way": (("deploy", "scarlet_a", "--out", "{tmp}/file/deep/er"), "{tmp}/file"),
    "an opset out of range": (("export", "scarlet_a", "--out", "{tmp}/out", "--opset", "22"), "17 to 20"),
    "an unknown target": (("export", "scarlet_a", "--out", "{tmp}/out", "--target", "toaster"), "toaster"),
    "an unknown target, and who knows all": (
        ("optimize", "{tmp}/file", "--out", "{tmp}/out", "--target", "tensorrt"),
        f"wanted one of the {len(TARGETS)} targets that 'scarlet-zoo doctor' lists",
    ),
    "a target with a typo": (
        ("bench", "scarlet_a", "--target", "ort-int9"),
        f"did you mean ort-int8 or litert-int8? 'scarlet-zoo doctor' lists all {len(TARGETS)} targets",
    ),
    "words for weights": (
        ("export", "scarlet_a", "--weights", "{tmp}/file", "--out", "{tmp}/out"),
        "file: not a weights file, wanted safetensors, or a checkpoint that torch.save wrote",
    ),
    "a missing folder of images": (
        ("export", "scarlet_a", "--target", "ort-int8", "--calibration", "{tmp}/none", "--out", "{tmp}/out"),
        "none: no such folder",
    ),
    "no output folder": (("export", "scarlet_a"), "--out"),
    "no number": (("bench", "{tmp}/file", "--threads", "many"), "many"),
    "no threads": (("bench", "{tmp}/file", "--threads", "0"), "0"),
    "an unknown verb": (("fly",), "fly"),
    "an unknown option": (("list", "--colour"), "--colour"),
    "an unknown option of a verb": (("export", "--colour"), "(scarlet-zoo export --help shows the usage)"),
    "an unknown option of a verb of verbs": (("lut", "show", "--colour"), "(scarlet-zoo lut show --help shows"),
    "an unknown option of no verb": (("--colour",), "(scarlet-zoo --help shows the usage)"),
    "missing weights": (("export", "scarlet_a", "--weights", "{tmp}/no.pth", "--out", "{tmp}/out"), "no such file"),
    "no ONNX file": (("bench", "{tmp}/file"), "not an ONNX file"),
    "a missing ONNX file": (("verify", "{tmp}/absent.onnx"), "no such file"),
    "a folder for a file": (("verify", "{tmp}"), "is a folder"),
    "no records": (("compare", "{tmp}/file"), "not JSON"),
    "missing records": (("compare", "{tmp}/absent.json"), "cannot be read"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_one_line_and_writes_nothing(what, scarlet, tmp_path):
    (tmp_path / "file").write_text("words")
    arguments, names = BAD[what]
    code, out, err = scarlet(*(argument.format(tmp=tmp_path) for argument in arguments))
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert names.format(tmp=tmp_path) in err
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_typo_costs_no_import_of_torch(tmp_path):
    """What can be seen at once is refused before torch is loaded, which takes seconds."""
    words = tmp_path / "labels.txt"
    words.write_text("cat\ndog\n")
    typos = [["--weights", str(words)], ["--weights", "no.pth"], ["--target", "toaster"], ["--labels", "no.txt"],
             ["--target", "ort-int8", "--calibration", "no"]]  # fmt: skip
    code = f"import sys\nfrom scarlet_zoo.cli import main\nfor typo in {typos}:\n" \
        "    assert main.run(['export', 'scarlet_a', '--out', 'no-out', *typo]) == 2\n" \
        "print({'torch', 'timm'} & set(sys.modules))"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr.count("error: ")) == ("set()\n", 5), done.stderr


def test_a_file_given_without_its_ending_is_found(scarlet, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "pets4.onnx").write_bytes(b"")
    code, _, err = scarlet("bench", "pets4")
    assert (code, err) == (2, f"error: model 'pets4': unknown, wanted a network's name, or {Path('out/pets4.onnx')} "
                              "to take that file\n")  # fmt: skip
    code, _, err = scarlet("bench", "pets5")
    assert code == 2
    assert "; a file is given with its folder and its ending" in err


@pytest.mark.slow
def test_help_tells_every_verb(scarlet):
    code, out, _ = scarlet("--help")
    assert code == 0
    verbs = "list show fold export verify bench compare replay profile lut deploy predict validate snippet weights"
    verbs += " supernet search derive train tour pictures"
    for verb in verbs.split():
        assert re.search(rf"^\s+{verb} ", out, re.MULTILINE), verb
        assert scarlet(verb, "--help")[0] == 0


def test_completion_is_there():
    env = {**os.environ, "_SCARLET_ZOO_COMPLETE": "complete_bash", "COMP_WORDS": "scarlet-zoo ver", "COMP_CWORD": "1"}
    program = os.path.join(os.path.dirname(sys.executable), "scarlet-zoo")  # noqa: PTH118, PTH120
    done = subprocess.run([program], capture_output=True, text=True, env=env, check=False)
    assert "verify" in done.stdout


@pytest.mark.slow
def test_a_terminal_sees_progress_and_a_pipe_does_not(two_files, scarlet, monkeypatch):
    assert scarlet("bench", "--repeats", 0, two_files[0])[2] == ""
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with contextlib.redirect_stderr(terminal):
        assert scarlet("bench", "--repeats", 0, two_files[0])[0] == 0
    assert "measure" in terminal.getvalue()
