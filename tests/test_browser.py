"""The page in a real browser: it measures, checks, classifies, survives, and its records come back."""

import gzip
import json
import re

import numpy as np
import pytest
from conftest import FASHION, program
from PIL import Image
from serving_parts import CHROMIUM, browser, installed_web_runtime, page_of, served, wait_for_done, wait_until

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.data.sample_images import photos
from scarlet_zoo.inference.load import load
from scarlet_zoo.measurement.lut.table import read_table
from scarlet_zoo.measurement.records import read_records

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None or program("npm") is None, reason="needs chromium and npm"),
    pytest.mark.slow,
]
QUICK = ("--runs", 20, "--seconds", 0.1)
PHONE = "phone.test"  # a name for this machine that a browser takes for another one: no secure context


@pytest.fixture(scope="module", autouse=True)
def runtime():
    return installed_web_runtime()


@pytest.fixture(scope="module")
def chromium():
    camera = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    with browser(f"--host-resolver-rules=MAP {PHONE} 127.0.0.1", *camera) as opened:
        yield opened


@pytest.fixture(scope="module")
def run(tmp_path_factory, two_files):
    """A server for all tests, with two small networks and one that classifies images."""
    out = tmp_path_factory.mktemp("devices")
    with served(*two_files, *QUICK, "--host", PHONE, "--out", out) as running:
        running.out = out
        yield running
    assert len(running.told) == len([row for file in out.glob("*.json") for row in read_records(file)])


def records_of(run, device):
    return {record.file.split("/")[-1]: record for record in read_records(run.out / f"{device}.json")}


def measure(page, device, threads=None):
    page.fill("#device", device)
    if threads is not None:
        page.select_option("#threads", str(threads))
    page.click("#start")
    wait_for_done(page)


@pytest.mark.parametrize("threads", [1, 2])
def test_networks_are_measured_with_as_many_threads_as_asked_for(run, chromium, threads, tmp_path):
    with page_of(chromium, run.url) as page:
        measure(page, f"isolated-{threads}", threads)
        assert page.locator(".card .big").count() == 2
        assert page.locator(".card.bad").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    records = records_of(run, f"isolated-{threads}")
    assert set(records) == {"small.onnx", "large.onnx"}
    for record in records.values():
        told = record.conditions
        assert told.threads == threads
        assert told.model_extra["golden_error"] < 1e-3
        assert told.model_extra["runs_per_sample"] == 1
        assert told.model_extra["browser"]["cross_origin_isolated"]
        assert len(record.samples_ms) >= 20
    assert records["small.onnx"].p50_ms < records["large.onnx"].p50_ms


def test_over_plain_http_one_thread_and_several_runs_at_a_time(run, chromium):
    with page_of(chromium, run.url.replace("127.0.0.1", PHONE), width=1280) as page:
        assert page.locator("#threads option").all_inner_texts() == ["1"]
        assert page.locator("#camera").is_hidden()
        assert "because it is not secure" in page.inner_text("#where")
        measure(page, "plain")
    for record in records_of(run, "plain").values():
        told = record.conditions.model_extra
        assert not told["browser"]["secure_context"]
        assert told["browser"]["hash"] == "script"
    # A clock of a tenth of a millisecond times several runs at once, unless a busy machine makes one of them long.
    assert max(record.conditions.model_extra["runs_per_sample"] for record in records_of(run, "plain").values()) > 1


def slowly(route):
    told = route.fetch().json()
    told["settings"]["runs"] = 1500
    route.fulfill(json=told)


def test_a_reload_in_the_middle_goes_on(run, chromium):
    with page_of(chromium, run.url) as page:
        page.route("**/catalog", slowly)
        page.reload()
        page.wait_for_selector("#start:not([disabled])")
        page.fill("#device", "reloaded")
        page.click("#start")
        wait_until(page, "Object.keys(JSON.parse(sessionStorage.kept).samples).length > 0", 60)
        page.reload()
        wait_for_done(page)
    records = records_of(run, "reloaded")
    assert set(records) == {"small.onnx", "large.onnx"}
    assert max(max(record.opening_of_sample) for record in records.values()) >= 1


def test_a_network_that_does_not_load_is_told_and_the_others_are_measured(run, chromium):
    context = chromium.new_context()
    page = context.new_page()
    page.route("**/models/0/file", lambda route: route.fulfill(status=200, body="no network"))
    page.goto(run.url)
    page.wait_for_selector("#start:not([disabled])")
    measure(page, "broken")
    assert "another hash than the catalog names" in page.inner_text(".card.bad")
    context.close()
    assert set(records_of(run, "broken")) == {"large.onnx"}


def test_wrong_answers_are_no_measurement(run, chromium):
    context = chromium.new_context()
    page = context.new_page()

    def another_answer(route):
        told = route.fetch().json()
        told["models"][1]["outputs"]["logits"][0] += 1.0
        route.fulfill(json=told)

    page.route("**/catalog", another_answer)
    page.goto(run.url)
    page.wait_for_selector("#start:not([disabled])")
    measure(page, "wrong")
    assert "its outputs differ" in page.inner_text(".card.bad")
    context.close()
    assert set(records_of(run, "wrong")) == {"small.onnx"}


def test_two_phones_at_once(run, chromium):
    with page_of(chromium, run.url) as one, page_of(chromium, run.url) as other:
        for page in (one, other):
            page.fill("#device", "twin")
            page.click("#start")
        for page in (one, other):
            wait_for_done(page)
    assert set(records_of(run, "twin")) == set(records_of(run, "twin-2")) == {"small.onnx", "large.onnx"}


def test_without_the_token_the_page_says_what_it_needs(run, chromium):
    context = chromium.new_context()
    page = context.new_page()
    page.goto(run.url.split("#")[0])
    wait_until(page, "document.getElementById('state').textContent.includes('whole')")
    assert page.is_disabled("#start")
    context.close()


def classified(page, file):
    """The result card of an image: the three likeliest labels with their shares, and the line below them."""
    page.evaluate("document.getElementById('answers').replaceChildren()")
    page.set_input_files("#picture", file)
    wait_until(page, "document.querySelectorAll('#answers li').length === 3", 30)
    return [line.split(", ") for line in page.inner_text("#answers").splitlines() if line], page.inner_text("#took")


def test_a_photograph_is_classified_as_by_the_network_itself(run, chromium, tmp_path):
    network = load("scarlet_cifar_s")
    with page_of(chromium, run.url) as page:
        assert page.is_hidden("#result")
        for number, photo in enumerate(photos(8)):
            file = tmp_path / f"{number}.png"
            Image.fromarray(np.asarray(photo)).save(file)  # without a colour profile, which a browser applies
            answers, took = classified(page, file)
            (wanted,) = network.predict(file, top=1)[0].guesses
            assert answers[0][0] == wanted.label
            # The page first shrinks what is larger than 1,024 pixels.
            near = 0.1 if max(photo.size) <= 1024 else 5
            assert float(answers[0][1].rstrip(" %")) == pytest.approx(100 * wanted.score, abs=near)
            assert re.fullmatch(r"[\d.]+ ms on this device, scarlet_cifar_s", took)
        assert page.evaluate("document.querySelector('#seen').width") == 32
        assert page.is_visible("#result")


def test_what_is_dark_on_white_is_inverted_for_a_grey_network(chromium, tmp_path):
    pixels = np.frombuffer(gzip.decompress((FASHION / "t10k-images-idx3-ubyte.gz").read_bytes())[16:], np.uint8)
    labels = gzip.decompress((FASHION / "t10k-labels-idx1-ubyte.gz").read_bytes())[8:]
    names = ["T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"]
    with served("scarlet_mini_s", *QUICK, "--out", tmp_path / "out") as running, page_of(chromium, running.url) as page:
        for number, picture in enumerate(pixels.reshape(-1, 28, 28)[:4]):
            # As a camera sees them: dark on white, and large.
            file = tmp_path / f"{number}.png"
            Image.fromarray(255 - picture).resize((280, 280), Image.Resampling.BILINEAR).save(file)
            assert classified(page, file)[0][0][0] == names[labels[number]]


def test_the_camera_is_classified_as_it_looks(run, chromium):
    with page_of(chromium, run.url) as page:
        page.click("#camera")
        wait_until(page, "document.querySelectorAll('#answers li').length === 3", 30)
        assert page.is_visible("#video")
        assert "ms on this device" in page.inner_text("#took")


def test_https_gives_a_page_of_the_network_threads(chromium, two_files, tmp_path):
    with served(two_files[0], *QUICK, "--https", "--host", PHONE, "--out", tmp_path / "out") as running:
        context = chromium.new_context(ignore_https_errors=True)
        page = context.new_page()
        page.goto(running.url.replace("127.0.0.1", PHONE))
        page.wait_for_selector("#start:not([disabled])")
        assert page.evaluate("isSecureContext && crossOriginIsolated")
        measure(page, "secure", 2)
        context.close()
    (record,) = read_records(tmp_path / "out" / "secure.json")
    assert record.conditions.threads == 2
    assert running.told[0]["p50_ms"] == record.p50_ms


def test_what_is_no_picture_is_said_to_be_none(run, chromium, tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with page_of(chromium, run.url) as page:
        page.set_input_files("#picture", tmp_path / "a.png")
        wait_until(page, "document.getElementById('answers').textContent.includes('not an image')")


SPACE = """
name = "few"
in_chans = 1
input_size = 28
num_classes = 10
stem_width = 8
first_width = 8
head_width = 16
stages = [[8, 2, 2], [16, 1, 2]]
kernel_sizes = [3]
expand_ratios = [1, 3]
"""


def test_a_latency_table_is_built_block_by_block_and_predicts(chromium, tmp_path, scarlet):
    space = tmp_path / "few.toml"
    space.write_text(SPACE)
    out = tmp_path / "out"
    command = ("--space", space, "--networks", 8, "--held-out", 4, "--sittings", 2, "--out", out)
    with served(*command) as running, page_of(chromium, running.url) as page:
        page.fill("#device", "tabled")
        page.click("#table-start")
        wait_until(page, "document.getElementById('table-progress').value > 0.3", 60)
        page.reload()
        wait_until(page, "document.getElementById('table-state').textContent.startsWith('Done')", 120)
    table = read_table(out / "tabled-few.lut.json")
    assert table.stamp.device == "tabled"
    assert table.stamp.runtime == "onnxruntime-web"
    archs = [row.arch for row in table.held_out.networks]
    assert len(archs) == 4
    code, said, _ = scarlet("lut", "predict", *archs, "--lut", out / "tabled-few.lut.json", "--json")
    assert code == 0
    assert all(row["low_ms"] <= row["p50_ms"] <= row["high_ms"] for row in json.loads(said))
    assert Arch.parse(archs[0], table.search_space)
