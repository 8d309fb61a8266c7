"""The page with WebGPU on an adapter of software: a second row for each network, and what it says without one."""

import json
import re

import pytest
from conftest import program
from serving_parts import CHROMIUM, browser, installed_web_runtime, page_of, served, wait_for_done, wait_until

from scarlet_zoo.errors import RecordError
from scarlet_zoo.measurement.compare import compare
from scarlet_zoo.measurement.records import read_records

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None or program("npm") is None, reason="needs chromium and npm"),
    pytest.mark.slow,
]
SOFTWARE = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan")
PHONE = "phone.test"
GPU = "WebGpuExecutionProvider"


@pytest.fixture(scope="module", autouse=True)
def runtime():
    return installed_web_runtime()


@pytest.fixture(scope="module")
def chromium():
    with browser(f"--host-resolver-rules=MAP {PHONE} 127.0.0.1", *SOFTWARE) as opened:
        yield opened


@pytest.fixture(scope="module")
def run(tmp_path_factory, two_files):
    out = tmp_path_factory.mktemp("devices")
    with served(two_files[0], "--runs", 20, "--seconds", 0.1, "--host", PHONE, "--out", out) as running:
        running.out = out
        yield running


def measure(page, device, providers=None):
    page.fill("#device", device)
    if providers is not None:
        page.select_option("#provider", providers)
    page.click("#start")
    wait_for_done(page)


def test_a_network_is_measured_on_the_processor_and_then_on_the_gpu(run, chromium):
    with page_of(chromium, run.url) as page:
        assert re.fullmatch(r"This browser has WebGPU on .*swiftshader.*, which is software and computes on the "
                            r"processor\.", page.inner_text("#gpu"))  # fmt: skip
        assert page.input_value("#provider") == "wasm"
        measure(page, "both", "wasm webgpu")
        assert page.locator(".card.bad").count() == 0
        titles = page.locator(".card h3").all_inner_texts()
        assert [title.split("/")[-1] for title in titles] == ["small.onnx", "small.onnx on the GPU, by WebGPU"]
        assert f"on {GPU}" in page.inner_text(".card:nth-child(2)")
    processor, gpu = read_records(run.out / "both.json")
    assert (processor.conditions.provider, gpu.conditions.provider) == ("wasm", "webgpu")
    assert processor.conditions.provider_nodes is None
    assert gpu.conditions.provider_nodes[GPU] > 10
    assert gpu.file == processor.file
    for record in (processor, gpu):
        told = record.conditions.model_extra
        assert told["golden_error"] < 1e-3
        assert "swiftshader" in told["browser"]["gpu"]
        assert told["browser"]["gpu_in_software"] is True
    assert len(gpu.samples_ms) >= 20
    with pytest.raises(RecordError, match="cannot be compared: provider: 'wasm' and 'webgpu'"):
        compare(processor, gpu)


def test_what_the_gpu_computes_wrongly_is_no_measurement(run, chromium):
    context = chromium.new_context()
    page = context.new_page()
    asked = []

    def another_answer(route):
        told = route.fetch().json()
        told["models"][0]["outputs"]["logits"][0] += 1.0
        route.fulfill(json=told)

    page.route("**/catalog", another_answer)
    page.route("**/ort/ort.wasm.bundle.min.mjs", lambda route: (asked.append(1), route.continue_()))
    page.goto(run.url)
    page.wait_for_selector("#start:not([disabled])")
    measure(page, "wrong", "wasm webgpu")
    words = page.locator(".card.bad p").all_inner_texts()
    assert [text.split(":")[0] for text in words] == ["On the processor, in WebAssembly", "On the GPU, by WebGPU"]
    assert all("its outputs differ from the host's" in text for text in words)
    context.close()
    assert asked
    assert not (run.out / "wrong.json").exists()


WITHOUT = {
    "This browser has no WebGPU": "Object.defineProperty(Navigator.prototype, 'gpu', { get: () => undefined })",
    "This browser has WebGPU but gives no adapter": "GPU.prototype.requestAdapter = async () => null",
    "This browser has WebGPU but gives no adapter, ": "GPU.prototype.requestAdapter = async () => { throw Error('') }",
}


def test_a_browser_without_it_says_so_and_measures_on_the_processor(run, chromium):
    for says, change in WITHOUT.items():
        context = chromium.new_context()
        page = context.new_page()
        page.add_init_script(change)
        page.goto(run.url)
        page.wait_for_selector("#start:not([disabled])")
        assert page.inner_text("#gpu").startswith(says)
        assert page.inner_text("#gpu").endswith("so networks run in WebAssembly only.")
        assert page.is_hidden("#provider")
        if says == next(iter(WITHOUT)):
            measure(page, "without")
        context.close()
    (record,) = read_records(run.out / "without.json")
    assert (record.conditions.provider, record.conditions.model_extra["browser"]["gpu"]) == ("wasm", None)


def test_over_plain_http_there_is_none(run, chromium):
    with page_of(chromium, run.url.replace("127.0.0.1", PHONE)) as page:
        assert page.inner_text("#gpu") == "WebGPU needs a secure page, so networks run in WebAssembly only."


def test_an_adapter_that_fails_is_one_sentence_and_the_processors_row_stays(run, chromium):
    """The page gets an adapter, and the worker none: as where a driver has crashed in between."""
    context = chromium.new_context()
    page = context.new_page()
    script = "GPU.prototype.requestAdapter = async () => null;\n"
    page.route("**/ort/ort.webgpu.bundle.min.mjs", lambda route: route.fulfill(
        body=script + route.fetch().text(), content_type="text/javascript"))  # fmt: skip
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(run.url)
    page.wait_for_selector("#start:not([disabled])")
    measure(page, "crashed", "wasm webgpu")
    assert page.locator("#cards .card").count() == 2
    assert "GPU, by WebGPU: " in page.inner_text(".card.bad p")
    assert "adapter" in page.inner_text(".card.bad p")
    context.close()
    assert complaints == []
    (record,) = read_records(run.out / "crashed.json")
    assert record.conditions.provider == "wasm"


def test_a_runtime_that_does_not_load_is_one_sentence(run, chromium):
    context = chromium.new_context()
    page = context.new_page()
    page.route("**/ort/ort.webgpu.bundle.min.mjs", lambda route: route.abort())
    page.goto(run.url)
    page.wait_for_selector("#start:not([disabled])")
    measure(page, "unloaded", "wasm webgpu")
    assert "On the GPU, by WebGPU: " in page.inner_text(".card.bad p")
    wait_until(page, "!document.getElementById('start').disabled")
    context.close()
    assert json.loads((run.out / "unloaded.json").read_text())[0]["conditions"]["provider"] == "wasm"
