"""The page's scripts that need no page, run by node: hash, numbers, resizing and the chart."""

import hashlib
import json
import subprocess
from importlib.resources import files

import numpy as np
import pytest
from conftest import program
from PIL import Image

from scarlet_zoo.measurement import browser

pytestmark = pytest.mark.skipif(program("node") is None, reason="needs node")


def node(module, code, *values):
    """What a function body gives, in which the module's exports are ``page`` and these values ``given``."""
    source = files(browser) / "page" / f"{module}.js"
    script = f"""
      import {{ readFileSync }} from "node:fs";
      const page = await import("data:text/javascript;base64," + readFileSync({json.dumps(str(source))}, "base64"));
      const given = JSON.parse(readFileSync(0));
      console.log(JSON.stringify(await (async () => {{ {code} }})()));
    """
    done = subprocess.run([program("node"), "--input-type=module", "-e", script], input=json.dumps(values),
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_scripts_hash_is_sha256():
    sizes = [0, 1, 55, 56, 63, 64, 65, 1000, 100003]
    code = """
      const both = [];
      for (const size of given[0]) {
        const bytes = Uint8Array.from({ length: size }, (_, i) => (i * 31) % 256).buffer;
        both.push([await page.sha256(bytes), page.sha256Script(bytes)]);
      }
      return both;"""
    for size, found in zip(sizes, node("sha256", code, sizes), strict=True):
        assert found == [hashlib.sha256(bytes(i * 31 % 256 for i in range(size))).hexdigest()] * 2


def test_numbers_of_the_page_are_those_of_the_server():
    values = np.random.default_rng(0).gamma(3, 2, 57)
    code = """
      const { percentile, variation, runsPerSample, timerStep } = page;
      return [percentile(given[0], 0.5), percentile(given[0], 0.9), variation(given[0]), runsPerSample(50, 0.005),
              runsPerSample(4, 0.1), runsPerSample(0.5, 1), timerStep()];"""
    found = node("numbers", code, values.tolist())
    assert found[:3] == pytest.approx([*np.percentile(values, (50, 90)), values.std() / values.mean()])
    assert found[3:6] == [1, 3, 200]
    assert 0 < found[6] < 10


@pytest.mark.parametrize("name", ["bilinear", "bicubic", "lanczos"])
def test_pictures_are_resized_as_pillow_does(name):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 57, 3), dtype=np.uint8)
    sizes = [(28, 28), (61, 47), (57, 20), (20, 40)]
    code = """
      const [pixels, sizes, name] = given;
      return sizes.map((to) => [...page.resize(Uint8Array.from(pixels), 3, [57, 40], to, name)]);"""
    for to, found in zip(sizes, node("picture", code, pixels.reshape(-1).tolist(), sizes, name), strict=True):
        wanted = Image.fromarray(pixels).resize(to, getattr(Image.Resampling, name.upper()))
        assert np.array_equal(np.array(found).reshape(to[1], to[0], 3), np.asarray(wanted))


def test_the_chart_has_a_line_for_each_network_within_its_canvas():
    code = """
      const lines = [], texts = [];
      const pen = { scale() {}, fillRect() {}, stroke() {}, fillText: (text) => texts.push(text),
                    beginPath: () => lines.push([]), lineTo: (x, y) => lines.at(-1).push([x, y]) };
      Object.assign(globalThis, { devicePixelRatio: 2, getComputedStyle: () => ({ color: "black" }) });
      const canvas = { clientWidth: 300, clientHeight: 100, getContext: () => pen };
      page.draw(canvas, given[0]);
      return { lines, texts, size: [canvas.width, canvas.height] };"""
    found = node("chart", code, [[1, 2, 10], [5, 5]])
    assert found["size"] == [600, 200]
    assert found["texts"] == ["0.00 ms", "5.50 ms", "11.0 ms"]
    assert [[x for x, _ in line] for line in found["lines"]] == [[0, 150, 300], [0, 150]]
    heights = [y for line in found["lines"] for _, y in line]
    assert all(14 <= y <= 92 for y in heights)
    assert heights[0] > heights[1] > heights[2]
    assert heights[3] == heights[4]
