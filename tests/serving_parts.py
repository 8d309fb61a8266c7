"""Parts of the server's tests: a desk, a served command line, a browser."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from scarlet_zoo.errors import ScarletError
from scarlet_zoo.measurement.browser.web_runtime import install_web_runtime, web_runtime

CHROMIUM = shutil.which("chromium")


def installed_web_runtime():
    """onnxruntime-web, installed once for all tests of a process; they are skipped where it cannot be had."""
    try:
        return web_runtime()
    except ScarletError:
        pass
    try:
        return install_web_runtime()
    except ScarletError as error:
        pytest.skip(f"onnxruntime-web is not to be had here: {error}")


@contextmanager
def served(*arguments):
    """``scarlet-zoo serve`` in a process of its own: yields its URL; then ``told`` has what it said with ``--json``."""
    command = [sys.executable, "-m", "scarlet_zoo", "serve", *map(str, arguments), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ})
    url, said = None, []
    for line in process.stderr:
        said.append(line)
        if found := re.match(r"open (\S+)", line):
            url = found.group(1)
            break
    assert url, "".join(said)
    run = Served(url)
    try:
        yield run
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert "Traceback" not in err, err
    assert process.returncode == 0, err
    run.told = json.loads(out)


class Served:
    def __init__(self, url):
        self.url, self.told = url, None
        self.port = int(re.search(r":(\d+)/", url).group(1))


@contextmanager
def browser(*arguments):
    """Debian's Chromium, driven by playwright."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *arguments])
        yield chromium
        chromium.close()


@contextmanager
def page_of(chromium, url, width=390, height=844):
    """A page, as large as a phone, that has nothing to complain of."""
    context = chromium.new_context(viewport={"width": width, "height": height})
    page = context.new_page()
    complaints = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(url)
    page.wait_for_selector("#start:not([disabled])")
    yield page
    context.close()
    assert complaints == []


def wait_until(page, expression, timeout_s=90):
    """Until JavaScript says so. (Playwright's own wait evaluates text in the page, which the page does not allow.)"""
    deadline = time.monotonic() + timeout_s
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, f"{expression}: {page.inner_text('#state')}"
        time.sleep(0.1)


def wait_for_done(page):
    wait_until(page, "document.getElementById('state').textContent === 'Done.'")
