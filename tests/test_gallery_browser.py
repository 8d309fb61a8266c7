"""The gallery in a real browser: networks run on a photograph of the visitor's, and are compared within a budget."""

import base64
import json
import warnings

import numpy as np
import pytest
from conftest import program
from gallery_parts import foreign_files, hosted, visited
from PIL import Image
from serving_parts import CHROMIUM, browser, wait_until

import scarlet_zoo as zoo
from scarlet_zoo.data.sample_images import photos
from scarlet_zoo.deployment.trace import Recipe
from scarlet_zoo.errors import ScarletError, ScarletWarning
from scarlet_zoo.measurement.browser.web_runtime import install_web_runtime

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None or program("npm") is None, reason="needs chromium and npm"),
    pytest.mark.slow,
]
NAMES = ("scarlet_cifar_s", "scarlet_mini_s")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A gallery of networks of the zoo, of timm and of files of others."""
    try:
        install_web_runtime()
    except ScarletError as error:
        pytest.skip(f"onnxruntime-web is not to be had here: {error}")
    root = tmp_path_factory.mktemp("gallery")
    files = foreign_files(root)
    pixels = zoo.export("scarlet_cifar_s", out=root / "pixels.onnx", recipe=Recipe(pixels=True)).path
    models = [*NAMES, "mobilenetv3_small_050", files["hostile"], files["last"], files["grey"], files["plain"], pixels]
    accuracies = root / "own.json"
    own = {"mobilenetv3_small_050": 90, "last.onnx": 80, "pixels.onnx": 70}
    accuracies.write_text(json.dumps({name: {"top1": top1, "images": 400} for name, top1 in own.items()}))
    zoo.gallery(root / "site", models, weights="auto", accuracies=[accuracies])
    return root / "site"


@pytest.fixture(scope="module")
def address(folder):
    with hosted(folder) as url:
        yield url


@pytest.fixture(scope="module")
def chromium():
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """A photograph without a colour profile, which a browser would apply."""
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    image = next(photo for photo in photos(8) if photo.width != photo.height and max(photo.size) <= 1024)
    Image.fromarray(np.asarray(image)).save(path)
    return path


def ready(page):
    """Wait for run.js, which is loaded after the page."""
    wait_until(page, "document.getElementById('image').onchange !== null", 30)


def answered(page):
    wait_until(page, "!document.getElementById('result').hidden", 60)
    rows = [row.inner_text().split("\n") for row in page.locator("#answers li").all()]
    return [(label, float(share.rstrip(" %"))) for label, share in rows]


def check(answers, file, photo):
    """The page's answers are those of ONNX Runtime in Python, on the same file and image."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScarletWarning)  # a photograph is turned grey for a network of grey images
        guesses = zoo.load(file).predict(photo, top=5)[0].guesses
    assert [share for _, share in answers] == pytest.approx([100 * guess.score for guess in guesses], abs=0.11)
    shown = [label.replace("\\u202e", "\u202e") for label, _ in answers]
    wanted = [guess.label or f"class {guess.index}" for guess in guesses]
    # Two classes whose shares are alike to the digit shown may change places.
    assert sorted(shown) == sorted(wanted) or shown[0] == wanted[0]


def test_every_network_answers_as_in_python(address, folder, chromium, photo):
    with visited(chromium, address) as page:
        ready(page)
        options = page.locator("#network option").all()
        names = [option.get_attribute("value") for option in options]
        assert len(names) == 7
        page.set_input_files("#image", photo)
        for name in names:
            page.evaluate("document.getElementById('result').hidden = true")
            page.select_option("#network", name)
            check(answered(page), folder / "networks" / f"{name}.onnx", photo)
            assert "ms in this browser, once." in page.inner_text("#took")
            assert page.is_visible("#seen")


def test_a_photograph_that_is_dropped_is_classified(address, folder, chromium, photo):
    with visited(chromium, address) as page:
        ready(page)
        given = page.evaluate_handle("""(text) => {
          const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)), all = new DataTransfer();
          all.items.add(new File([bytes], "photo.png", { type: "image/png" }));
          return all;
        }""", base64.b64encode(photo.read_bytes()).decode())  # fmt: skip
        page.dispatch_event("#drop", "drop", {"dataTransfer": given})
        check(answered(page), folder / "networks" / f"{NAMES[0]}.onnx", photo)
        assert page.inner_text("#state").startswith(page.locator("#answers li span").first.inner_text())


def test_an_image_for_a_grey_network_can_be_inverted(address, folder, chromium, photo, tmp_path):
    Image.fromarray(255 - np.asarray(Image.open(photo).convert("L"))).save(tmp_path / "inverted.png")
    with visited(chromium, address) as page:
        ready(page)
        page.set_input_files("#image", photo)
        answered(page)
        assert page.is_hidden("#grey")
        page.select_option("#network", "grey")
        wait_until(page, "!document.getElementById('grey').hidden")
        page.evaluate("document.getElementById('result').hidden = true")
        page.check("#invert")
        check(answered(page), folder / "networks" / "grey.onnx", tmp_path / "inverted.png")


def test_what_is_no_image_is_said_to_be_none(address, chromium, tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    with visited(chromium, address) as page:
        ready(page)
        page.set_input_files("#image", tmp_path / "a.png")
        wait_until(page, "document.getElementById('state').textContent.includes('not an image')")
        assert page.is_hidden("#result")


@pytest.mark.parametrize("part", ["file", "check"])
def test_a_file_or_answers_that_are_not_those_of_the_page_are_refused(address, chromium, photo, part):
    def another(route):
        if part == "file":
            return route.fulfill(body="another file")
        told = route.fetch().json()
        told["check"][0] += 1.0
        return route.fulfill(json=told)

    says = {"file": "is not the file that this page was made for", "check": "answers differ from the checked ones"}
    with visited(chromium, address) as page:
        page.route("**/networks/*.onnx" if part == "file" else "**/networks/*.json", another)
        ready(page)
        page.set_input_files("#image", photo)
        wait_until(page, f"document.getElementById('state').textContent.includes({says[part]!r})")
        assert page.is_hidden("#result")


def shown(page):
    return page.locator("#rows th").all_inner_texts()


def test_data_sets_are_apart_and_budgets_filter(address, chromium):
    with visited(chromium, address, width=1280) as page:
        sets = page.locator("#set option").all_inner_texts()
        assert len(sets) == len(set(sets)) == 3
        by_set = {}
        for name in sets:
            page.select_option("#set", name)
            by_set[name] = shown(page)
            assert page.locator("#scatter circle").count() <= len(by_set[name])
        assert sorted(map(len, by_set.values())) == [1, 2, 3]
        assert len({network for names in by_set.values() for network in names}) == 5
        page.select_option("#set", next(name for name in sets if "own.json" in name))
        page.select_option("#axis", "macs")
        assert page.locator("#scatter circle").count() == 3
        page.fill("#most-macs", "10")
        assert set(shown(page)) == {"last", "pixels"}
        assert page.inner_text("#count") == "2 of 3 networks with this data are within the budget."
        assert page.is_hidden("#card-mobilenetv3_small_050")
        page.fill("#most-bytes", "0.5")
        assert shown(page) == ["last"]
        page.fill("#most-latency", "5")
        assert shown(page) == []  # what has no record keeps no budget
        page.click("#clear")
        assert len(shown(page)) == 3


def choose_shipped(page):
    """Compare the networks that the package ships, whose data is not that of most."""
    sets = page.locator("#set option").all_inner_texts()
    page.select_option("#set", next(name for name in sets if "own images" not in name))


def test_what_is_timed_here_is_one_more_measurement(address, chromium):
    with visited(chromium, address) as page:
        ready(page)
        choose_shipped(page)
        before = page.locator("#group option").all_inner_texts()
        page.click("#time")
        wait_until(page, "document.getElementById('state').textContent.includes('the median of')", 60)
        assert page.locator("#group option").all_inner_texts() == [*before, "this browser, now"]
        assert page.locator("#group").input_value() == "this browser, now"
        assert "ms" in page.inner_text("#rows td:nth-child(3)")


def test_from_a_file_the_networks_are_compared_and_not_run(folder, chromium):
    with visited(chromium, (folder / "index.html").as_uri()) as page:
        assert "own images" in page.input_value("#set"), "three networks have an accuracy on these, two on others"
        choose_shipped(page)
        assert page.locator("#scatter circle").count() == 2
        assert page.is_visible("#no-host")
        assert page.is_hidden("#runner")
        assert page.locator("button.try:visible").count() == 0


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_phones_and_keyboards_in_light_and_dark(address, chromium, width, scheme):
    with visited(chromium, address, width, color_scheme=scheme) as page:
        page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        unnamed = page.evaluate("""[...document.querySelectorAll("input, select, button, a, canvas, summary")].filter(
          (one) => !(one.labels?.length || one.textContent.trim() || one.getAttribute("aria-label"))).length""")
        assert unnamed == 0
        reached = set()
        for _ in range(14):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.id || document.activeElement.tagName.toLowerCase()"))
        assert {"set", "axis", "group", "most-latency", "most-macs", "most-bytes", "clear", "a"} <= reached
