"""Files on processors that are not here: answers, bits and fusion under emulation, and never a time."""

import numpy as np
import pytest
from adb_stand_in import arm64_root
from conftest import FEW_LAYERS
from fetch import EMULATORS
from filelock import FileLock

from scarlet_zoo.deployment.to_target import export_network
from scarlet_zoo.deployment.trace import Recipe
from scarlet_zoo.errors import ScarletError
from scarlet_zoo.evidence.emulation import Case, Processor, other_processors, prove, this_processor
from scarlet_zoo.evidence.int8_files import quantised_on, quantising_processors
from scarlet_zoo.graph.artifact import read_artifact
from scarlet_zoo.graph.quantization.quantize import Int8
from scarlet_zoo.graph.session import OnnxClassifier
from scarlet_zoo.latency import EMULATED, MeasurementError, measure
from scarlet_zoo.measurement.phone.sysroot import CPUS
from scarlet_zoo.models.loading import load_network


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """A small network as float and as integers for three instruction sets."""
    folder = tmp_path_factory.mktemp("files")
    network = load_network(FEW_LAYERS)
    images = np.random.default_rng(0).standard_normal((4, 3, 32, 32)).astype(np.float32)
    made = {"float": export_network(network, folder / "float", "native", Recipe()).path}
    for isa in ("arm64", "x64-avx2", "x64"):
        made[isa] = export_network(network, folder / isa, "ort-int8", Recipe(), lambda: images,
                                   Int8(isa=isa, method="minmax")).path  # fmt: skip
    truth = OnnxClassifier(made["float"]).logits(images, 1)
    return [Case(name, read_artifact(path), images, truth) for name, path in made.items()]


@pytest.fixture
def sysroot():
    """The arm64 root, for one test at a time: it presents one processor, and pytest's workers share it."""
    root = arm64_root()
    with FileLock(f"{root.folder}.lock"):
        yield root


def keys_of(value):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from keys_of(inner)


@pytest.mark.slow
@pytest.mark.skipif(not EMULATORS, reason="needs Debian's apt and qemu-user-static")
def test_arm64_and_old_x64_answer_as_this_machine_does(cases, sysroot, tmp_path):
    rows = prove(cases, [this_processor(), *other_processors(sysroot)], tmp_path)
    assert len(rows) == 4 * (2 + len(CPUS))
    by = {(row["file"], row["processor"]): row for row in rows}
    assert [row["error"] for row in rows] == [None] * len(rows)
    for cpu in CPUS:
        assert by["float", cpu]["answers"]["max_rel_diff"] < 1e-5
        assert by["float", cpu]["machine"] == "aarch64"
        for isa in ("arm64", "x64-avx2", "x64"):
            assert by[isa, cpu]["golden"]["exact"] is True
            assert by[isa, cpu]["answers"]["same_bits"] is True
        assert by["float", cpu]["fusion"]["unblocked"] == by["float", cpu]["fusion"]["convolutions"]
    # Weights of seven bits, or of uint8, are what an x64 without a product of bytes needs: the same bits there.
    for isa in ("x64-avx2", "x64"):
        assert by[isa, "Haswell"]["golden"]["exact"] is True
        assert by[isa, "Haswell"]["answers"]["same_bits"] is True
    assert by["arm64", "Haswell"]["golden"]["exact"] is None, "nothing is promised there"
    words = {word for row in rows for key in keys_of(row) for word in key.split("_")}
    assert not words & {"ms", "seconds", "s", "time", "latency", "p50"}


@pytest.mark.slow
@pytest.mark.skipif(not EMULATORS, reason="needs qemu-user-static")
def test_other_processors_write_the_same_int8_files(cases, sysroot, tmp_path):
    """Ranges, biases and golden outputs do not depend on the processor that makes the file."""
    np.save(tmp_path / "images.npy", cases[0].images)
    processors = quantising_processors(sysroot)
    written = quantised_on(processors, cases[0].artifact.path, tmp_path / "images.npy", tmp_path)
    assert [(processor.isa, processor.emulated) for processor in processors[1:]] == [("x64", True), ("arm64", True)]
    assert len(written) == 3
    assert len(set(written.values())) == 1


@pytest.mark.slow
def test_a_planted_difference_is_seen(cases, tmp_path):
    """A processor that answers with another network's bits."""
    here, other = this_processor(), tmp_path / "other.py"
    other.write_text(
        "import runpy, sys, numpy as np\n"
        "save = np.save\n"
        "np.save = lambda path, value: save(path, value + 0.5)\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    wrong = Processor("wrong", here.isa, (*here.command, str(other)), emulated=False)
    rows = [row for row in prove(cases, [here, wrong], tmp_path) if row["processor"] == "wrong"]
    assert all(row["answers"]["max_rel_diff"] > 1e-3 and not row["answers"]["same_bits"] for row in rows)
    assert not any(row["golden"]["passed"] for row in rows if row["golden"])


def test_a_processor_that_does_not_run_is_told(cases, tmp_path):
    with pytest.raises(ScarletError, match="processor none: "):
        prove(cases[:1], [Processor("none", "x64", ("/bin/false",))], tmp_path)


def test_nothing_is_measured_on_an_emulated_processor(two_files, monkeypatch):
    monkeypatch.setenv(EMULATED, "cortex-a57")
    with pytest.raises(MeasurementError, match="got an emulated cortex-a57, whose times mean nothing"):
        measure(two_files[:1])


def test_the_environment_of_an_emulated_processor_says_that_it_is_one(tmp_path):
    if not EMULATORS:
        pytest.skip("needs qemu-user-static")
    from scarlet_zoo.measurement.phone.sysroot import Sysroot

    command, environment = Sysroot(tmp_path, "usr/bin/python3", {}).emulated("cortex-a57")
    assert environment[EMULATED] == "cortex-a57"
    assert command[1:3] == ["-cpu", "cortex-a57"]
    assert "0xd07" in (tmp_path / "proc" / "cpuinfo").read_text()
    with pytest.raises(ScarletError, match="processor 'm1': unknown"):
        Sysroot(tmp_path, "usr/bin/python3", {}).emulated("m1")
