"""The server's door: what it hands out, to whom, and what it believes."""

import asyncio
import json
import socket
import sys
import threading
import time
from dataclasses import replace

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from scarlet_zoo.errors import RecordError, ScarletError
from scarlet_zoo.measurement.browser import app, patience
from scarlet_zoo.measurement.browser.app import Desk, make_app
from scarlet_zoo.measurement.browser.catalog import catalog
from scarlet_zoo.measurement.browser.certificate import write_certificate
from scarlet_zoo.measurement.browser.posts import Posted, read_post
from scarlet_zoo.measurement.browser.server import Place, qr_code, run_server
from scarlet_zoo.measurement.browser.web_runtime import FILES, WebRuntime
from scarlet_zoo.measurement.compare import compare
from scarlet_zoo.measurement.record_folder import Results, file_name
from scarlet_zoo.measurement.records import read_records
from scarlet_zoo.measurement.workloads import Workload

TOKEN = "the-token-of-this-run"
CLIENT = "0123456789abcdef" * 2
HEADERS = {"Authorization": f"Bearer {TOKEN}", "X-Client": CLIENT}
JSON = {**HEADERS, "Content-Type": "application/json"}


@pytest.fixture(scope="module")
def models(two_files):
    return catalog([Workload(path.stem, path, path.stem) for path in two_files])


@pytest.fixture
def desk(models, tmp_path):
    for name in FILES:
        (tmp_path / name).write_bytes(b"runtime")
    runtime = WebRuntime(tmp_path, "1.2.3", {})
    settings = {"threads": 1, "runs": 20, "seconds": 0.1, "warmup": 1, "burst": 5, "table_runs": 5}
    return Desk(token=TOKEN, models=models, runtime=runtime, results=Results(tmp_path / "out"), settings=settings)


@pytest.fixture
def client(desk):
    return TestClient(make_app(desk), base_url="http://localhost")


def posted(own, **changes):
    browser = {"user_agent": "Browser/1", "platform": "Phone", "cores": 4, "secure_context": True,
               "cross_origin_isolated": True, "timer_ms": 0.005, "hash": "subtle"}  # fmt: skip
    method = {"threads": 1, "warmup": 1, "burst": 5, "runs": 20, "seconds": 0.1, "runs_per_sample": 1, "openings": 1}
    told = {"client": CLIENT, "device": "my phone", "model": own.id, "sha256": own.artifact.sha256,
            "golden_error": 0.0, "load_ms": 5.0, "first_ms": 2.0, "samples_ms": [1.0, 1.1] * 10,
            "opening_of_sample": [0] * 20, "browser": browser, "method": method}  # fmt: skip
    for key, value in changes.items():
        *path, last = key.split("__")
        place = told
        for name in path:
            place = place[name]
        place[last] = value
    return told


def ask_for(client, model, headers=HEADERS):
    assert client.get(f"/models/{model.id}/file", headers=headers).status_code == 200


def test_a_record_lands_under_the_name_of_its_device(client, desk, models):
    ask_for(client, models[0])
    answer = client.post("/records", headers=HEADERS, json=posted(models[0]))
    assert answer.status_code == 201
    assert answer.json() == {"device": "my phone", "file": "my-phone.json", "p50_ms": pytest.approx(1.05)}
    (record,) = read_records(desk.results.folder / "my-phone.json")
    assert record.file == "small"
    assert record.p50_ms == pytest.approx(float(np.median([1.0, 1.1])))
    told = record.conditions
    assert (told.device, told.runtime, told.runtime_version, told.provider) == (
        "my phone", "onnxruntime-web", "1.2.3", "wasm")  # fmt: skip
    assert told.sha256 == models[0].artifact.sha256
    client.post("/records", headers=HEADERS, json=posted(models[0], samples_ms=[2.0, 2.2] * 10))
    both = read_records(desk.results.folder / "my-phone.json")
    assert [row.p50_ms for row in both] == pytest.approx([1.05, 2.1])
    assert compare(both[0], both[1]).ratio == pytest.approx(2)


@pytest.mark.parametrize("given", [None, "Bearer wrong", f"Bearer {TOKEN}x", TOKEN, "Bearer "])
@pytest.mark.parametrize("path", ["/catalog", "/models/0/file", "/models/0/input", "/table", "/records", "/nothing"])
def test_without_the_token_nothing_is_given_or_taken(client, desk, models, path, given):
    headers = {} if given is None else {"Authorization": given}
    for answer in (client.get(path, headers=headers), client.post(path, headers=headers, json=posted(models[0]))):
        assert answer.status_code == 401
        assert "error" in answer.json()
    assert list(desk.results.folder.iterdir()) == []


@pytest.mark.parametrize("path", ["/models/2/file", "/models/../pyproject.toml/file", "/models/0/../../secret",
                                  "/page/..%2f..%2fapp.py", "/page/app.py", "/ort/ort.all.mjs", "/ort/%2e%2e%2fout",
                                  "/models/0/sha256", "/records/my-phone.json", "/out"])  # fmt: skip
def test_nothing_but_what_was_named_is_handed_out(client, path):
    assert client.get(path, headers=HEADERS).status_code == 404


@pytest.mark.parametrize(("changes", "why"), [
    ({"sha256": "0" * 64}, "sha256: got 000000000000..., wanted"),
    ({"samples_ms": [1e-9] * 20}, "samples_ms: got 1e-09 to 1e-09, wanted"),
    ({"samples_ms": [7e4] * 20}, "samples_ms: got 7e+04"),
    ({"samples_ms": [500.0] * 20}, "samples_ms: got 10.0 s in all, wanted at most the 0."),
    ({"method__runs_per_sample": 500}, "samples_ms: got 10.5 s in all"),
    ({"samples_ms": [0.0] * 20}, "samples_ms.0: Input should be greater than 0"),
    ({"samples_ms": [-1.0] * 20}, "samples_ms.0: Input should be greater than 0"),
    ({"samples_ms": [1.0] * 9}, "samples_ms: List should have at least 10"),
    ({"samples_ms": [1.0] * 20_001}, "samples_ms: List should have at most 20000"),
    ({"samples_ms": "fast"}, "samples_ms: Input should be a valid array"),
    ({"opening_of_sample": [0] * 3}, "opening_of_sample has 3 values"),
    ({"golden_error": 0.5}, "golden_error: got 0.5, wanted 0.001 at most"),
    ({"method__threads": 2, "browser__cross_origin_isolated": False}, "threads: got 2 in a page without isolation"),
    ({"device": ""}, "device: String should have at least 1"),
    ({"device": "../../etc"}, "device: Value error, a name with hidden characters"),
    ({"device": "a\nb"}, "device: Value error, a name with hidden characters"),
    ({"client": "x"}, "client: String should match"),
    ({"model": "7"}, "model: got '7', wanted a network that this page has downloaded"),
    ({"extra": 1}, "extra: Extra inputs are not permitted"),
    ({"browser__cores": 0}, "browser.cores: Input should be greater than or equal to 1"),
    ({"provider": "cuda"}, "provider: Input should be 'wasm' or 'webgpu'"),
    ({"provider": "webgpu"}, "provider_nodes: got no provider for webgpu, wanted WebGpuExecutionProvider"),
    ({"provider": "webgpu", "provider_nodes": {"CPUExecutionProvider": 3}, "browser__gpu": "g"},
     "provider_nodes: got CPUExecutionProvider for webgpu"),
    ({"provider_nodes": {"WebGpuExecutionProvider": 3}}, "got WebGpuExecutionProvider for wasm"),
    ({"provider": "webgpu", "provider_nodes": {"WebGpuExecutionProvider": 3}}, "browser.gpu: got none for webgpu"),
    ({"provider": "webgpu", "provider_nodes": {"WebGpuExecutionProvider": 0}}, "greater than or equal to 1"),
])  # fmt: skip
def test_what_cannot_be_is_refused_and_nothing_is_written(client, desk, models, changes, why):
    ask_for(client, models[0])
    answer = client.post("/records", headers=HEADERS, json=posted(models[0], **changes))
    assert answer.status_code == 422, answer.json()
    assert answer.json()["error"].count("\n") == 0
    assert why in answer.json()["error"]
    assert list(desk.results.folder.iterdir()) == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b'{"samples_ms": [NaN]}', b"null", b"[" * 5000])
def test_a_body_that_is_no_record_is_refused_in_a_line(client, desk, body):
    answer = client.post("/records", headers=JSON, content=body)
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("post: ")
    assert list(desk.results.folder.iterdir()) == []


def test_numbers_that_are_none_do_not_come_in(client, models):
    ask_for(client, models[0])
    text = json.dumps(posted(models[0])).replace("1.1", "NaN", 1)
    assert client.post("/records", headers=JSON, content=text.encode()).status_code == 422


def test_a_page_that_was_not_handed_a_network_has_not_measured_it(client, models):
    answer = client.post("/records", headers=HEADERS, json=posted(models[0]))
    wanted = "post: model: got '0', wanted a network that this page has downloaded"
    assert (answer.status_code, answer.json()["error"]) == (422, wanted)


def test_bodies_and_rates_are_bounded(client, desk, models, monkeypatch):
    too_long = client.post("/records", headers=JSON, content=b"x" * (app.MOST_BYTES + 1))
    assert too_long.status_code == 413
    ask_for(client, models[0])
    monkeypatch.setattr(app, "MOST_POSTS", 5)
    codes = [client.post("/records", headers=HEADERS, json=posted(models[0])).status_code for _ in range(8)]
    assert codes == [201] * 4 + [429] * 4  # the long one counts
    monkeypatch.setattr(app, "_WINDOW_S", 0.0)
    time.sleep(0.01)
    assert client.post("/records", headers=HEADERS, json=posted(models[0])).status_code == 201


def test_two_phones_of_one_name_are_told_apart(client, desk, models):
    other = "f" * 32
    for who in (CLIENT, other):
        ask_for(client, models[0], {**HEADERS, "X-Client": who})
    names = [client.post("/records", headers=HEADERS, json=posted(models[0], client=who)).json()["device"]
             for who in (CLIENT, other, CLIENT, other)]  # fmt: skip
    assert names == ["my phone", "my phone 2"] * 2
    assert sorted(path.name for path in desk.results.folder.iterdir()) == ["my-phone-2.json", "my-phone.json"]


def test_the_page_may_have_threads_and_asks_nobody_else(client):
    for path in ("/", "/page/main.js", "/ort/ort.wasm.bundle.min.mjs", "/catalog", "/models/0/file"):
        answer = client.get(path, headers=HEADERS)
        assert answer.status_code == 200
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["cross-origin-embedder-policy"] == "require-corp"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert client.get("/page/main.js").headers["content-type"].startswith("text/javascript")


def test_the_input_and_the_answers_are_those_of_the_host(client, models):
    told = client.get("/catalog", headers=HEADERS).json()["models"]
    fed = np.frombuffer(client.get("/models/1/input", headers=HEADERS).content, dtype=np.float32)
    assert fed.reshape(told[1]["input"]["shape"]) == pytest.approx(models[1].input)
    assert told[1]["outputs"]["logits"] == pytest.approx(models[1].outputs["logits"].reshape(-1).tolist())


def test_a_network_that_does_not_run_is_not_served(tmp_path, two_files):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(two_files[0].read_bytes()[:-300])
    with pytest.raises(ScarletError, match=r"broken\.onnx"):
        catalog([Workload("broken", broken, "broken")])
    with pytest.raises(ScarletError, match="is not an ONNX file, wanted one"):
        catalog([Workload("other", tmp_path / "other.tflite", "other")])


@given(st.binary(max_size=400))
def test_no_body_breaks_the_reader(body):
    with pytest.raises(RecordError, match=r"^post: "):
        read_post(Posted, body)


@given(st.text(min_size=1, max_size=80))
def test_a_devices_name_is_one_file_in_the_folder(name):
    kept = file_name(name)
    assert kept
    assert "/" not in kept
    assert not kept.startswith(".")


def test_a_certificate_is_for_its_hosts_and_its_key_is_private(tmp_path):
    from cryptography import x509

    key, certificate, fingerprint = write_certificate(tmp_path, ["192.0.2.7", "localhost"])
    made = x509.load_pem_x509_certificate(certificate.read_bytes())
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in names] == ["192.0.2.7", "localhost"]
    assert key.stat().st_mode & 0o077 == 0
    assert len(fingerprint) == 32 * 3 - 1


def test_without_a_qr_library_the_address_is_shown_alone(monkeypatch):
    monkeypatch.setitem(sys.modules, "segno", None)
    assert qr_code("http://127.0.0.1:1/#x") is None


def test_a_code_for_the_camera_is_as_wide_as_a_terminal_is():
    lines = qr_code("http://192.168.178.123:12345/#" + "x" * 24).splitlines()
    assert len(lines) <= 24
    assert len({len(line) for line in lines}) <= 2


def test_serve_without_the_runtime_says_what_to_do(scarlet, two_files, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code, _, err = scarlet("serve", two_files[0])
    assert code == 2
    assert err == "error: onnxruntime-web 1.30.0 is not installed; install it with: scarlet-zoo web install\n"
    assert scarlet("serve")[0] == 2


def test_a_served_network_that_is_not_measured_is_no_other(models):
    assert replace(models[0], measured=False).to_dict()["measured"] is False


@pytest.mark.parametrize("host", ["x/page/", "x/page/?", "evil.example", "localhost:80/page/", "localhost@evil",
                                  "[::1]", "127.0.0.2", "", "localhost:99999999"])  # fmt: skip
def test_a_host_of_ones_own_making_opens_nothing(host, client, models):
    for path in ("/catalog", f"/models/{models[0].id}/file", "/", "/page/main.js"):
        answer = client.get(path, headers={"Host": host})
        assert answer.status_code == 421, (path, answer.text)
    assert client.get("/catalog", headers={**HEADERS, "Host": "LOCALHOST:1234"}).status_code == 200


def test_the_guard_reads_the_path_that_the_router_reads(desk):
    """As an old starlette does: the URL says /page/, the path says /catalog."""
    app, said = make_app(desk), []

    async def send(message):
        said.append(message)

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    desk.hosts = frozenset({"x"})
    scope = {"type": "http", "method": "GET", "path": "/catalog", "raw_path": b"/catalog", "query_string": b"",
             "scheme": "http", "server": ("x/page", 80), "root_path": "", "http_version": "1.1",
             "headers": [(b"host", b"x")], "client": ("1.2.3.4", 5)}  # fmt: skip
    asyncio.run(app(scope, receive, send))
    assert said[0]["status"] == 401


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonp"])
def test_what_is_no_json_is_not_read(kind, client, desk, models):
    ask_for(client, models[0])
    body = json.dumps(posted(models[0])).encode()
    answer = client.post("/records", headers={**HEADERS, "Content-Type": kind}, content=body)
    assert answer.status_code == 415
    assert not desk.results.received
    again = client.post(
        "/records", headers={**HEADERS, "Content-Type": "application/json; charset=utf-8"}, content=body
    )
    assert again.status_code == 201


@pytest.mark.parametrize(("changes", "why"), [
    ({"method__threads": 8}, "threads: got 8 on 4 cores"),
    ({"method__runs": 10**400}, "method.runs: Input should be less than or equal to 1000000"),
    ({"browser__cores": 10**400}, "browser.cores: Input should be less than or equal to 4096"),
    ({"method__seconds": 1e300}, "method.seconds: Input should be less than or equal to 86400"),
    ({"method__runs": 21}, "samples_ms: got 20 runs, wanted 21 or more"),
    ({"load_ms": 1e300}, "load_ms: Input should be less than or equal to 1000000000000"),
    ({"first_ms": 1e6}, "load_ms: got 1e+03 s with the first run, wanted at most"),
    ({"golden_error": 1e400}, "golden_error: Input should be a finite number"),
    ({"device": "\N{SNOWMAN}" * 40}, "device: Value error, a name of 120 bytes, wanted at most 80"),
    ({"device": "a\N{RIGHT-TO-LEFT OVERRIDE}b"}, "device: Value error, a name with hidden characters"),
    ({"device": "a\N{ZERO WIDTH JOINER}b"}, "device: Value error, a name with hidden characters"),
])  # fmt: skip
def test_impossible_records_are_refused(changes, why, client, desk, models):
    ask_for(client, models[0])
    body = json.dumps(posted(models[0], **changes)).replace("Infinity", "1e999")
    answer = client.post("/records", headers=JSON, content=body)
    assert answer.status_code == 422, answer.text
    assert why in answer.json()["error"]
    assert not desk.results.received


@pytest.mark.slow
def test_half_requests_are_closed_and_others_are_answered_meanwhile(monkeypatch, desk):
    monkeypatch.setattr(patience, "REQUEST_S", 1.0)
    monkeypatch.setattr(patience, "MOST_CONNECTIONS", 220)
    halves, begun = [], threading.Event()
    where = {}

    def tell(url, _):
        where["port"] = int(url.split(":")[2].split("/")[0])
        begun.set()

    server = threading.Thread(target=run_server, args=(desk, Place(), tell, 1), daemon=True)
    server.start()
    assert begun.wait(10)
    for part in (b"GET / HT", b"GET / HTTP/1.1\r\nHost: loc", b"") * 70:
        half = socket.create_connection(("127.0.0.1", where["port"]))
        half.sendall(part)
        halves.append(half)
    answer = httpx.get(f"http://127.0.0.1:{where['port']}/")
    assert answer.status_code == 200
    end = time.monotonic() + 10
    for half in halves:
        half.settimeout(max(end - time.monotonic(), 0.1))
        assert half.recv(100) in (b"", None)  # closed by the server
    # A request that begins after an answer on the same connection is timed as well.
    with socket.create_connection(("127.0.0.1", where["port"])) as kept:
        kept.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        kept.settimeout(5)
        assert kept.recv(20).startswith(b"HTTP/1.1 200")
        kept.sendall(b"GET / HT")
        received = b"x"
        while received:
            received = kept.recv(65536)
    # So is one whose first part comes with the request before, that is, while that is answered.
    with socket.create_connection(("127.0.0.1", where["port"])) as kept:
        kept.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET / HT")
        kept.settimeout(5)
        received = b"x"
        while received:
            received = kept.recv(65536)
    model = desk.models[0]
    with httpx.Client(base_url=f"http://127.0.0.1:{where['port']}", headers=HEADERS) as last:
        assert last.get(f"/models/{model.id}/file").status_code == 200
        assert last.post("/records", json=posted(model)).status_code == 201
    server.join(20)
    assert not server.is_alive()


@pytest.mark.slow
def test_there_are_not_more_connections_than_are_allowed(monkeypatch, desk):
    monkeypatch.setattr(patience, "MOST_CONNECTIONS", 5)
    begun, where = threading.Event(), {}

    def tell(url, _):
        where["port"] = int(url.split(":")[2].split("/")[0])
        begun.set()

    threading.Thread(target=run_server, args=(desk, Place(), tell, 1), daemon=True).start()
    assert begun.wait(10)
    held = [socket.create_connection(("127.0.0.1", where["port"])) for _ in range(5)]
    time.sleep(0.2)
    with socket.create_connection(("127.0.0.1", where["port"])) as more:
        more.settimeout(5)
        assert more.recv(1) == b""
    for one in held:
        one.close()
    time.sleep(0.2)
    model = desk.models[0]
    with httpx.Client(base_url=f"http://127.0.0.1:{where['port']}", headers=HEADERS) as last:
        last.get(f"/models/{model.id}/file")
        assert last.post("/records", json=posted(model)).status_code == 201
