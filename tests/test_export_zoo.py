"""What export/ holds: a recipe a target, read strictly, and the manifest of what the zoo's networks became."""

import json
import runpy
import subprocess
import sys
from importlib.metadata import version

import pytest
from conftest import FASHION, ROOT

from scarlet_zoo.arch.zoo import ZOO, get_arch
from scarlet_zoo.deployment import recipes, targets
from scarlet_zoo.deployment.recipes import RecipeError, read_recipe, read_recipes
from scarlet_zoo.deployment.runtimes.registry import RUNTIMES, missing_modules
from scarlet_zoo.deployment.targets import TARGETS, target_of
from scarlet_zoo.deployment.to_target import export_network
from scarlet_zoo.deployment.trace import Recipe
from scarlet_zoo.errors import RecordError
from scarlet_zoo.evidence import zoo_exports
from scarlet_zoo.evidence.manifest import Manifest, read_manifest, write_manifest
from scarlet_zoo.evidence.zoo_exports import operator_counts, zoo_network
from scarlet_zoo.graph.passes.lower import FORMS
from scarlet_zoo.latency import _FEATURES
from scarlet_zoo.models.weights.checkpoint import read_tensors, state_sha256
from scarlet_zoo.models.weights.store import find_shipped
from scarlet_zoo.utils.files import file_sha256

EXPORT = ROOT / "export"
SHIPPED = [name for name in ZOO if find_shipped(name) is not None]
# Those that write a file's bytes, or stand in its metadata.
WRITERS = ("scarlet-zoo", "torch", "timm", "numpy", "onnx", "onnx-ir")
RECIPE = """runtime = "ort"
precision = "float32"
suffix = ".onnx"
graph_variant = "native"
why = "A test."

[processors.x86_64]
"""


@pytest.fixture(scope="module")
def manifest():
    return read_manifest(EXPORT / "manifest.json")


@pytest.fixture
def driver(tmp_path, monkeypatch, capsys):
    """Run export_zoo.py on a folder and a manifest of the test's own: (exit code, stdout, stderr)."""

    def run(*arguments):
        own = ("--out", tmp_path / "out", "--manifest", tmp_path / "manifest.json", "--data-dir", FASHION)
        monkeypatch.setattr(sys, "argv", ["export_zoo.py", *map(str, own), *arguments])
        code = 0
        try:
            runpy.run_path(str(EXPORT / "export_zoo.py"), run_name="__main__")
        except SystemExit as end:
            code = end.code  # type: ignore[assignment]
        return code, *capsys.readouterr()

    return run


def test_each_recipe_names_what_there_is():
    found = read_recipes(EXPORT / "recipes")
    assert found.keys() == TARGETS.keys()
    for name, recipe in found.items():
        assert recipe.runtime == "ort" or recipe.runtime in RUNTIMES, name
        assert recipe.suffix == (".onnx" if recipe.runtime == "ort" else RUNTIMES[recipe.runtime].suffix), name
        assert recipe.evidence is None or (ROOT / recipe.evidence).is_file(), name
        assert recipe.why.endswith("."), name
        for processor in recipe.processors.values():
            assert set(processor.instruction_sets) <= set(_FEATURES), name
    # Every graph variant but the baseline may be asked for, and each is made by a pass.
    assert set(recipes.GraphVariant.__args__) == FORMS.keys() - {"released"}  # type: ignore[attr-defined]


@pytest.mark.parametrize(("machine", "form"), [("x86_64", "blocked"), ("aarch64", "native"), ("riscv64", "native")])
def test_the_default_target_of_onnx_runtime_depends_on_the_processor(machine, form):
    assert target_of(read_recipe(EXPORT / "recipes" / "ort.toml"), machine).form == form


@pytest.mark.parametrize(("name", "known_as"), [("AMD64", "x86_64"), ("arm64", "aarch64"), ("x86_64", "x86_64")])
def test_a_processor_has_one_name_on_every_system(name, known_as, monkeypatch):
    monkeypatch.setattr(targets.platform, "machine", lambda: name)
    assert targets.this_processor() == known_as


def test_a_target_suits_a_processor_that_has_one_of_its_instruction_sets():
    integers = TARGETS["ort-int8"]
    assert integers.suits("x86_64", ("avx2", "avx_vnni")) is True
    assert integers.suits("x86_64", ("avx2",)) is False
    assert integers.suits("x86_64", ()) is None
    assert TARGETS["ort-arm64"].suits("x86_64", ("avx2",)) is False
    assert TARGETS["native"].suits("aarch64", ()) is True


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (RECIPE.replace("why", "reason"), "key 'why' is missing, wanted runtime precision suffix"),
        ("speed = 1\n" + RECIPE, "key 'speed' is unknown, wanted one of runtime precision suffix"),
        (RECIPE + "cores = 4\n", "key 'processors.x86_64.cores' is unknown, wanted one of graph_variant instr"),
        (RECIPE.replace('"A test."', "1"), "key 'why': got 1, wanted a valid string"),
        (RECIPE.replace('"native"', '"released"'), "key 'graph_variant': got 'released', wanted 'native', 'blocked'"),
        (RECIPE.replace("float32", "int4"), "key 'precision': got 'int4', wanted 'float32', 'float16', 'bfloat16' or"),
        (RECIPE.replace("x86_64", "riscv64"), "key 'processors.riscv64': got 'riscv64', wanted 'x86_64' or 'aarch64'"),
        (RECIPE.replace("[processors.x86_64]", "[processors]"), "key 'processors': got {}, wanted "),
        (
            RECIPE + 'instruction_sets = "avx2"\n',
            "key 'processors.x86_64.instruction_sets': got 'avx2', wanted a",
        ),
        ("runtime = \n", "cannot be read as TOML: Invalid value (at line 1, column 11)"),
    ],
)
def test_a_recipe_that_is_not_as_recipes_are_is_refused_in_one_line(text, fault, tmp_path, monkeypatch, scarlet):
    (tmp_path / "new.toml").write_text(text)
    monkeypatch.setattr(recipes, "RECIPES_FOLDER", tmp_path)
    targets._read.cache_clear()
    code, out, err = scarlet("doctor")
    targets._read.cache_clear()
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {tmp_path / 'new.toml'}: {fault}")
    assert err.count("\n") == 1


def test_an_installation_without_recipes_says_so(tmp_path):
    with pytest.raises(RecipeError, match="got no recipes, wanted TARGET"):
        read_recipes(tmp_path)


def test_the_targets_are_read_when_they_are_asked_for_and_not_before():
    code = "import sys; import scarlet_zoo.deployment.targets; print({'torch', 'numpy', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_manifest_has_every_network_for_every_target_or_says_why_not(manifest):
    reasons = {entry.target: entry.reason for entry in manifest.left_out}
    made = [row.key for row in manifest.rows]
    wanted = [(name, target) for name in ZOO for target in TARGETS if target not in reasons]
    assert made == wanted
    assert {"native", "ort", "ort-x64", "ort-arm64", "ort-int8", "openvino", "ncnn"}.isdisjoint(reasons)
    assert all(reason.startswith("not installed where this was made: ") for reason in reasons.values())


def test_the_manifest_says_what_recipes_and_weights_say_today(manifest):
    found = read_recipes(EXPORT / "recipes")
    # What is kept in 16 bits is computed with in 32.
    states = {name: read_tensors(find_shipped(name)).state for name in SHIPPED}
    digests = {name: state_sha256({key: value.float() if value.is_floating_point() else value
                                   for key, value in state.items()}) for name, state in states.items()}  # fmt: skip
    for row in manifest.rows:
        recipe = found[row.target]
        assert row.graph_variant == target_of(recipe, row.conditions.machine).form
        assert (row.runtime, row.precision) == (recipe.runtime, recipe.precision)
        assert row.file == f"{row.network}{recipe.suffix}"
        assert any(name == row.file or name.startswith(f"{row.file}/") for name in row.files)
        assert row.arch == str(get_arch(row.network))
        assert row.weights.startswith("shipped" if row.network in SHIPPED else "random")
        assert row.weights_sha256 == digests.get(row.network, row.weights_sha256)
        assert (row.opset is None) == (recipe.runtime != "ort")
        assert (row.calibration is None) == (recipe.precision != "int8")
        assert {"torch", "onnx", "onnxruntime"} <= row.conditions.versions.keys()
        assert row.conditions.instruction_sets


def test_every_file_of_the_manifest_computes_what_its_network_computes(manifest):
    unread = {name for name, entry in RUNTIMES.items() if not entry.runs}
    assert {row.runtime for row in manifest.rows if row.parity is None} <= unread
    for row in (row for row in manifest.rows if row.parity is not None):
        limit = row.parity.tolerance
        assert row.parity.sqnr_db >= limit.min_sqnr_db
        assert row.parity.top1_agreement >= limit.min_top1_agreement
        if row.precision == "float32":
            assert row.parity.max_rel_err <= 5e-3
            assert row.parity.top1_agreement == 1


def test_formats_have_the_same_convolutions(manifest):
    for name in ZOO:
        convolutions = manifest.row(name, "native").operators["Conv"]
        openvino, ncnn = (manifest.row(name, target).operators for target in ("openvino", "ncnn"))
        assert openvino["Convolution"] + openvino["GroupConvolution"] == convolutions
        assert sum(count for kind, count in ncnn.items() if kind.startswith("Convolution")) == convolutions


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_network_is_exported_as_the_manifest_says(name, manifest, tmp_path):
    """To the last byte where the packages that write it are the same, else operator for operator."""
    network = zoo_network(name)
    for form, precision in (("native", "float32"), ("blocked", "float32"), ("native", "float16")):
        rows = [row for row in manifest.rows if row.network == name and row.graph_variant == form and row.opset
                and row.precision == precision]  # fmt: skip
        done = export_network(network, tmp_path / form / precision, rows[0].target, Recipe())
        for row in rows:
            assert operator_counts(done.path) == row.operators
            assert done.described["opset"] == row.opset
            if all(row.conditions.versions[package] == version(package) for package in WRITERS):
                assert row.files == {done.path.name: file_sha256(done.path)}


@pytest.mark.slow
def test_the_driver_continues_and_makes_again_only_what_is_not_as_it_was(driver, tmp_path, monkeypatch):
    made = []
    real = zoo_exports.export_network
    monkeypatch.setattr(zoo_exports, "export_network", lambda *given: made.append(given[2]) or real(*given))
    absent = [name for name in ("coreml", "litert", "executorch") if missing_modules(name)]
    assert driver("--networks", "scarlet_mini_s", "--targets", "native", *absent)[0] == 0
    code, out, err = driver("--networks", "scarlet_mini_s", "--targets", "native", "ort-arm64")
    assert (code, err, made) == (0, "", ["native", "ort-arm64"])
    assert out.startswith("scarlet_mini_s native: finished before\nscarlet_mini_s ort-arm64: ")
    written = read_manifest(tmp_path / "manifest.json")
    assert [row.target for row in written.rows] == ["native", "ort-arm64"]
    assert [entry.target for entry in written.left_out] == sorted(absent)
    (tmp_path / "out" / "native" / "scarlet_mini_s.onnx").write_bytes(b"cut off")
    driver("--networks", "scarlet_mini_s", "--targets", "native", "ort-arm64")
    assert made == ["native", "ort-arm64", "native"]
    # Written under other versions: the row would no longer be true.
    row = written.rows[0]
    older = row.conditions.model_copy(update={"versions": {**row.conditions.versions, "torch": "0.1"}})
    write_manifest(tmp_path / "manifest.json", Manifest(rows=(row.model_copy(update={"conditions": older}),)))
    driver("--networks", "scarlet_mini_s", "--targets", "native")
    assert made == ["native", "ort-arm64", "native", "native"]


@pytest.mark.slow
def test_the_driver_calibrates_and_judges_integers_on_other_images(driver, tmp_path):
    code, _, err = driver("--networks", "scarlet_mini_s", "--targets", "ort-int8")
    assert (code, err) == (0, "")
    (row,) = read_manifest(tmp_path / "manifest.json").rows
    assert row.parity.images == "128 validation images of fashion-mnist"
    assert (row.calibration.images, row.calibration.count) == ("training images of fashion-mnist", 512)
    assert row.parity.top1_agreement > 0.95


def test_what_the_driver_does_not_know_is_one_line(driver, tmp_path):
    code, out, err = driver("--networks", "scarlet_mini_s", "scarlet_z")
    assert (code, out) == (2, "")
    assert err.startswith("error: architecture 'scarlet_z': unknown, wanted one of scarlet_")
    assert driver("--targets", "cuda")[2].startswith("error: target 'cuda': unknown, wanted one of ")
    (tmp_path / "manifest.json").write_text(json.dumps({"rows": [], "left_out": [], "more": 1}))
    code, out, err = driver("--networks", "scarlet_mini_s", "--targets", "native")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "manifest.json: more: Extra inputs are not permitted; wanted a manifest that export_zoo.py wrote" in err
    assert not (tmp_path / "out").exists()


def test_imported_weights_do_not_get_into_the_manifest(monkeypatch):
    monkeypatch.setattr(zoo_exports, "find_weights", lambda name: name)
    with pytest.raises(ValueError, match="scarlet_mini_s: got imported weights, wanted the shipped ones"):
        zoo_network("scarlet_mini_s")


def test_a_manifest_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(RecordError, match="wanted a manifest"):
        read_manifest(tmp_path / "manifest.json")
