"""Execution providers of ONNX Runtime: how they are named, what a record says of them, and what is refused.

The wheel of ONNX Runtime that tests use has the CPU's provider and Azure's. Azure's takes no node of a usual network,
as a provider for hardware that takes none of its operators. ``tests/data/openvino_profile.json`` is what ONNX Runtime
1.24.1 wrote of a run in which OpenVINO's provider took two of four nodes, as one.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from adb_stand_in import standing_in
from conftest import ROOT
from device_outputs import PERF_TEST
from foreign_files import network, torch_file
from onnx import TensorProto, helper

from scarlet_zoo import Settings, bench, load, measure, verify
from scarlet_zoo.errors import RecordError
from scarlet_zoo.graph.onnx_file import OnnxFile
from scarlet_zoo.graph.provider import ProviderError, as_provider
from scarlet_zoo.latency import CPU, MeasurementError, Provider, nodes_of_profile
from scarlet_zoo.measurement.compare import compare
from scarlet_zoo.measurement.recommend import recommend
from scarlet_zoo.measurement.records import check_record, read_records

PROFILE = Path(__file__).parent / "data" / "openvino_profile.json"


@pytest.mark.parametrize(("text", "name"), [
    ("cpu", "CPU"), ("XNNPACK", "Xnnpack"), ("xnnpack", "Xnnpack"), ("XnnpackExecutionProvider", "Xnnpack"),
    ("CoreML", "CoreML"), ("QNN", "QNN"), ("cuda", "CUDA"), ("openvinoexecutionprovider", "OpenVINO"),
])  # fmt: skip
def test_a_provider_is_named_as_people_name_it(text, name):
    found = Provider.parse(text)
    assert (found.name, found.short, str(found)) == (f"{name}ExecutionProvider", name, f"{name}ExecutionProvider")
    assert found.name in ort.get_all_providers()


def test_a_provider_has_options_of_its_own():
    found = Provider.parse("qnn:backend_path=libQnnHtp.so, htp_performance_mode = burst")
    assert dict(found.options) == {"backend_path": "libQnnHtp.so", "htp_performance_mode": "burst"}
    assert Provider.parse(str(found)) == found
    assert Settings(provider="qnn:backend_path=a").provider == "QNNExecutionProvider:backend_path=a"


@pytest.mark.parametrize(("text", "why"), [
    ("abacus", "got 'abacus', wanted one of those here: CPU"), ("", "got '', wanted one of those here: CPU"),
    ("CUDA:device_id", "got the options 'device_id', wanted KEY=VALUE"), ("CUDA:=1", "wanted KEY=VALUE,KEY=VALUE"),
])  # fmt: skip
def test_a_name_that_no_provider_has_is_refused(text, why):
    with pytest.raises(MeasurementError, match=why):
        Settings(provider=text)


def missing():
    """A provider that this build of ONNX Runtime knows and lacks."""
    return next(name for name in ort.get_all_providers() if name not in ort.get_available_providers())


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """Somebody else's classifier, with its preprocessing in no metadata."""
    return torch_file(network(), tmp_path_factory.mktemp("theirs") / "theirs.onnx", torch.zeros(1, 3, 8, 8))


def verbs(file, photo, folder):
    return {
        "bench": ("bench", file), "predict": ("predict", file, photo, "--preprocessing", "imagenet"),
        "validate": ("validate", file, folder, "--preprocessing", "imagenet", "--class-folders", "index"),
        "verify": ("verify", file, file, "--preprocessing", "imagenet"),
    }  # fmt: skip


@pytest.fixture
def photo(tmp_path):
    from scarlet_zoo.data.sample_images import photos

    path = tmp_path / "images" / "0" / "photo.png"
    path.parent.mkdir(parents=True)
    photos(1)[0].resize((16, 16)).save(path)
    return path


@pytest.mark.parametrize("verb", ["bench", "predict", "validate", "verify"])
def test_every_verb_refuses_what_is_not_there_or_takes_no_node(verb, classifier, photo, scarlet):
    command = verbs(classifier, photo, photo.parent.parent)[verb]
    for provider, why in (
        (missing(), f"which this ONNX Runtime ({ort.__version__}) lacks, wanted one of: CPU"),
        ("abacus", "provider: got 'abacus', wanted one of those here: CPU"),
        ("Azure", "theirs.onnx: no node ran on the provider Azure, wanted one or more; "),
    ):
        if provider == "Azure" and "AzureExecutionProvider" not in ort.get_available_providers():
            continue
        code, out, err = scarlet(*command, "--provider", provider)
        assert (code, out, err.count("\n")) == (2, "", 1), err
        assert why in err


@pytest.mark.slow
def test_the_cpu_may_be_asked_for(classifier, photo, scarlet, brief_measurements):
    for command in verbs(classifier, photo, photo.parent.parent).values():
        code, out, err = scarlet(*command, "--provider", "cpu", "--json")
        assert code == 0, err
        told = json.loads(out)
        told = told[0] if isinstance(told, list) else told
        assert told.get("provider", told.get("conditions", {}).get("provider")) == CPU
        assert not told.get("provider_nodes")


def test_the_functions_take_a_provider(classifier, brief_measurements):
    settings = Settings(provider="Azure", runs=10, seconds=0.01)
    for run in (lambda: measure([classifier], settings), lambda: bench(classifier, settings=settings, repeats=0)):
        with pytest.raises(MeasurementError, match="no node ran on the provider Azure"):
            run()
    with pytest.raises(ProviderError, match="no node ran on the provider Azure"):
        load(classifier, preprocessing="imagenet", provider="Azure")
    with pytest.raises(ProviderError, match="no node ran on the provider Azure"):
        verify(classifier, classifier, provider="Azure")
    with pytest.raises(ProviderError, match="got the provider Azure, which only applies to ONNX files"):
        load("scarlet_mini_s", provider="Azure")
    assert load(classifier, preprocessing="imagenet", provider="CPU").provider == CPU
    parity = verify(classifier, classifier, provider="CPU")
    assert (parity.provider, parity.provider_nodes) == (CPU, {})


def test_any_network_of_several_inputs_too(tmp_path):
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "add", [x], [y])
    path = tmp_path / "add.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    file = OnnxFile(path, provider=as_provider("Azure"))
    with pytest.raises(ProviderError, match="no node ran on the provider Azure, wanted one or more; 1 on CPU"):
        file.run({"x": np.ones((2, 3), np.float32)})
    assert OnnxFile(path).provider_nodes == {}


def test_the_nodes_of_a_real_profile_are_counted():
    assert nodes_of_profile(PROFILE) == {"CPUExecutionProvider": 2, "OpenVINOExecutionProvider": 1}
    Provider.parse("OpenVINO").check_nodes(nodes_of_profile(PROFILE), Path("mix.onnx"))
    with pytest.raises(MeasurementError, match="2 on CPUExecutionProvider, 1 on OpenVINOExecutionProvider"):
        Provider.parse("XNNPACK").check_nodes(nodes_of_profile(PROFILE), Path("mix.onnx"))


@pytest.mark.parametrize("text", [
    "", "{", "5", "[5]", '[{"cat": "Node"}]', '[{"cat": "Node", "name": 5, "args": {}}]', "[" * 9999,
    '[{"cat": "Node", "name": "a_kernel_time", "args": {"provider": "P", "node_index": []}}]',
])  # fmt: skip
def test_what_is_no_profile_is_refused(text, tmp_path):
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(MeasurementError, match=r"p\.json: is no profile of ONNX Runtime"):
        nodes_of_profile(tmp_path / "p.json")


@pytest.fixture(scope="module")
def record():
    (found,) = json.loads((ROOT / "tests" / "data" / "v0_1_0" / "record.json").read_text())
    return found


def on(record, provider, **more):
    changed = json.loads(json.dumps(record))
    changed["conditions"] |= {"provider": provider, "measurement": "a" if provider == CPU else "b", **more}
    return changed


def test_records_of_two_providers_are_not_compared(record):
    one = check_record(on(record, CPU))
    other = on(record, "QNNExecutionProvider", provider_nodes={"QNNExecutionProvider": 3, CPU: 1})
    for different in (other, on(record, CPU, provider_options={"use_arena": "0"}, measurement="b")):
        with pytest.raises(RecordError, match=r"cannot be compared: provider(_options)?: "):
            compare(one, different)
    assert compare(one, on(record, CPU)).verdict == "no difference"
    with pytest.raises(RecordError, match="provider_nodes"):
        check_record(on(record, CPU, provider_nodes={CPU: 0}))


def test_a_record_is_measured_again_on_its_own_provider(record, brief_measurements):
    found = check_record(on(record, "QNNExecutionProvider", provider_options={"backend_path": "a.so"}))
    assert found.settings.provider == "QNNExecutionProvider:backend_path=a.so"
    assert check_record(on(record, "wasm", runtime="onnxruntime-web")).settings.provider == CPU


def test_recommend_names_the_provider_and_keeps_providers_apart(record, scarlet, tmp_path):
    file = tmp_path / "records.json"
    file.write_text(json.dumps([on(record, CPU), on(record, "XnnpackExecutionProvider")]))
    for provider in ("xnnpack", "CPU"):
        found = recommend([file], 1000.0, provider=provider)
        assert found.choice.provider == as_provider(provider).name
        assert ("(XnnpackExecutionProvider)" in found.reason) == (provider == "xnnpack")
    assert recommend([file], 1000.0, provider="CUDA").choice is None
    code, out, _ = scarlet("recommend", "--records", file, "--budget-ms", 1000, "--provider", "xnnpack", "--json")
    assert (code, json.loads(out)["choice"]["provider"]) == (0, "XnnpackExecutionProvider")


@pytest.mark.slow
def test_a_providers_files_on_a_phone_are_counted(tmp_path, monkeypatch, two_files, scarlet):
    """The program of the user's writes a profile, as with -p, and runs with the provider's own name."""
    program = tmp_path / "perf_test"
    keep = f'for word in "$@"; do test "$last" = -p && cp {PROFILE} "${{word}}_2026-11-27.json"; last=$word; done\n'
    program.write_text(PERF_TEST.replace("#!/bin/sh\n", f"#!/bin/sh\n{keep}"))
    command = ("device", "run", two_files[0], "--perf-test", program, "--settle", 0, "--out", tmp_path / "out")
    with standing_in(tmp_path) as phone:
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(phone.port))
        code, _, err = scarlet(*command, "--provider", "OpenVINO:device_type=CPU")
        assert code == 0, err
        (found,) = read_records(tmp_path / "out" / "Stand-in-Phone-1.json")
        assert found.conditions.provider == "OpenVINOExecutionProvider"
        assert found.conditions.provider_options == {"device_type": "CPU"}
        assert found.conditions.provider_nodes == {CPU: 2, "OpenVINOExecutionProvider": 1}
        assert any("-e openvino" in line and "-i 'device_type|CPU'" in line for line in phone.commands)
        code, _, err = scarlet(*command, "--provider", "XNNPACK")
        assert (code, "no node ran on the provider Xnnpack" in err) == (2, True)
        program.write_text(PERF_TEST)
        code, _, err = scarlet(*command, "--provider", "XNNPACK")
        assert (code, "wrote no profile, wanted one of -p" in err) == (2, True)
    shutil.rmtree(tmp_path / "out")
