"""Parts of the gallery's tests: networks of others, an installed runtime, a static host and a page on it."""

import functools
import http.server
import json
import threading
from contextlib import contextmanager

import onnx
import torch
from foreign_files import network, torch_file
from torch import nn

HOSTILE = "<img src=x onerror=alert(1)>"
LABELS = ["<b>one</b>", "</script><script>alert(1)</script>", "three \u202e turned", "four", "fünf"]


def stated(path, **metadata):
    """The same file with these metadata."""
    model = onnx.load(path)
    for key, value in metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value if isinstance(value, str) else json.dumps(value)
    onnx.save(model, path)
    return path


def preprocessing(interpolation="bicubic", size=(40, 48), channels=3):
    mean, std = [0.5] * channels, [0.25] * channels
    return {"size": size, "mean": mean, "std": std, "interpolation": interpolation, "crop": 0.9}


class ChannelsLast(nn.Module):
    """As TensorFlow's files take images."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x.permute(0, 3, 1, 2))


def foreign_files(folder):
    """Files of exporters that are not ours, by what is special about them."""
    image, free = torch.zeros(1, 3, 40, 48), {"x": {0: "n", 2: "h", 3: "w"}}
    softmax = nn.Sequential(network(), nn.Softmax(1))
    return {
        "plain": torch_file(network(), folder / "plain.onnx", image),
        "hostile": stated(torch_file(softmax, folder / f"{HOSTILE}.onnx", image, dynamic_axes=free), labels=LABELS,
                          preprocessing=preprocessing(), weights="<i>mine</i>", data="/home/somebody/secret/birds"),
        "last": stated(torch_file(ChannelsLast(network()), folder / "last.onnx", torch.zeros(1, 40, 48, 3)),
                       preprocessing=preprocessing("lanczos")),
        "nearest": stated(torch_file(network(), folder / "nearest.onnx", image),
                          preprocessing=preprocessing("nearest")),
        "grey": stated(torch_file(network(1), folder / "grey.onnx", torch.zeros(1, 1, 40, 48)),
                       preprocessing=preprocessing("bilinear", channels=1)),
    }  # fmt: skip


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextmanager
def hosted(folder):
    """A static host of the standard library's, which sends no special headers; yields the address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def visited(chromium, url, width=390, complaints=(), **context):
    """A page that has nothing to complain of but what is expected, and that asks no other host."""
    opened = chromium.new_context(viewport={"width": width, "height": 844}, **context)
    page, told, asked = opened.new_page(), [], []
    page.on("console", lambda message: told.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("dialog", lambda dialog: told.append(f"dialog {dialog.message}"))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(url)
    page.wait_for_selector("#rows tr")
    yield page
    opened.close()
    assert all(any(part in line for part in complaints) for line in told), told
    here = url.rpartition("/")[0]
    assert all(address.startswith((here, "blob:", "data:")) for address in asked), asked
