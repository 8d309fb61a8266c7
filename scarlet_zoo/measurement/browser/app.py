"""The web application: it serves the page, its runtime and the networks to measure, and receives records.

It serves nothing else, whatever path is asked for: every name is looked up in a table, none is joined to a folder.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import re
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from scarlet_zoo.errors import RecordError, ScarletError
from scarlet_zoo.measurement.browser.catalog import Served
from scarlet_zoo.measurement.browser.posts import Asker, Posted, read_post, record_of_post
from scarlet_zoo.measurement.browser.table_run import TableRun
from scarlet_zoo.measurement.browser.web_runtime import FILES, WebRuntime
from scarlet_zoo.measurement.record_folder import Results

_PAGE = Path(__file__).parent / "page"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".mjs": "text/javascript",
          ".wasm": "application/wasm", ".svg": "image/svg+xml"}  # fmt: skip
# The page may load nothing from other servers. _HEADERS also isolate it, which threads need.
_ALWAYS = {
    "Content-Security-Policy": "; ".join((
        "default-src 'none'", "script-src 'self' 'wasm-unsafe-eval' blob:", "worker-src 'self' blob:",
        "connect-src 'self' blob:", "style-src 'self'", "img-src 'self' blob: data:", "media-src blob:",
        "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'")),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}  # fmt: skip
_HEADERS = _ALWAYS | {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
}
Answer = Callable[[Request], Awaitable[Response]]
MOST_BYTES = 2**21  # in the body of a request
MOST_POSTS, _WINDOW_S = 240, 60.0  # from one address in so many seconds


LOCAL = frozenset({"localhost", "127.0.0.1"})
_HOST = re.compile(r"([A-Za-z0-9.-]{1,253})(?::[0-9]{1,5})?")
_BODY_S = 30.0  # in which the body of a request has arrived


@dataclass
class Desk:
    """Everything that the application serves, and where it writes records.

    Attributes:
        token: secret of this run; requests without it get only the page and its runtime.
        models: the networks to serve.
        runtime: the installed onnxruntime-web.
        results: the folder that records are written to.
        settings: settings of the page's measurement.
        table: the latency table that pages measure for; None for none.
        done: called after each record or table that is received.
        posts: times of the recent posts from each address.
        hosts: the names and addresses under which this server is asked for; requests for others are refused.
    """

    token: str
    models: Sequence[Served]
    runtime: WebRuntime
    results: Results
    settings: dict[str, Any]
    table: TableRun | None = None
    done: Callable[[], None] = lambda: None
    posts: dict[str, deque[float]] = field(default_factory=lambda: defaultdict(deque))
    hosts: frozenset[str] = LOCAL


def make_app(desk: Desk) -> Starlette:
    """Make the ASGI application that serves what the desk holds."""
    pages = {path.name: path for path in _PAGE.iterdir() if path.suffix in _TYPES}
    answers = _Answers(desk)
    routes = [
        Route("/", _from_table(pages)),
        Route("/page/{name}", _from_table(pages)),
        Route("/ort/{name}", _from_table({name: desk.runtime.folder / name for name in FILES})),
        Route("/catalog", answers.catalog),
        Route("/models/{id}/{part}", answers.model),
        Route("/records", answers.record, methods=["POST"]),
        Route("/table", answers.table_state),
        Route("/table/files/{name}", answers.table_file),
        Route("/table/groups", answers.table_group, methods=["POST"]),
    ]
    refusals = {ScarletError: _refused, _TooLong: _too_long, TimeoutError: _too_slow}
    guards = [Middleware(BaseHTTPMiddleware, dispatch=_guard(desk))]
    return Starlette(routes=routes, middleware=guards, exception_handlers=refusals)


def _from_table(table: Mapping[str, Path]) -> Answer:
    async def give(request: Request) -> Response:
        path = table.get(request.path_params.get("name", "index.html"))
        return FileResponse(path, media_type=_TYPES[path.suffix]) if path else _error("no such file", 404)

    return give


class _Answers:
    """The answers to requests that have the token."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.models = {model.id: model for model in desk.models}
        # When each page first asked for each network: a measurement cannot have taken longer than since then.
        self.asked_at: dict[tuple[str, str], float] = {}

    async def catalog(self, _: Request) -> Response:
        desk = self.desk
        return JSONResponse({
            "models": [model.to_dict() for model in desk.models], "settings": desk.settings,
            "runtime_version": desk.runtime.version, "table": desk.table is not None,
        })  # fmt: skip

    async def model(self, request: Request) -> Response:
        found = self.models.get(request.path_params["id"])
        if found is None:
            return _error("no such network", 404)
        if request.path_params["part"] == "input":
            return Response(found.input.tobytes(), media_type="application/octet-stream")
        if request.path_params["part"] != "file":
            return _error("no such part, wanted file or input", 404)
        self.asked_at.setdefault((request.headers.get("x-client", ""), found.id), time.monotonic())
        return FileResponse(found.artifact.path, media_type="application/octet-stream")

    async def record(self, request: Request) -> Response:
        posted = read_post(Posted, await _body(request))
        found, begun = self.models.get(posted.model), self.asked_at.get((posted.client, posted.model))
        if found is None or begun is None:
            raise RecordError(f"post: model: got {posted.model!r}, wanted a network that this page has downloaded")
        device = self.desk.results.name_of(posted.client, posted.device)
        record = record_of_post(posted, found, self.desk.runtime.version, time.monotonic() - begun, device)
        path = await run_in_threadpool(self.desk.results.add, record)
        self.desk.done()
        return JSONResponse({"device": device, "file": path.name, "p50_ms": record.p50_ms}, 201)

    async def table_state(self, request: Request) -> Response:
        asked = read_post(Asker, json.dumps(dict(request.query_params)).encode())
        return JSONResponse(self.table.state(asked.client, asked.device))

    async def table_file(self, request: Request) -> Response:
        path = self.table.files.get(request.path_params["name"])
        return FileResponse(path) if path else _error("no such file", 404)

    async def table_group(self, request: Request) -> Response:
        state = await run_in_threadpool(self.table.take, await _body(request), self.desk.runtime.version)
        if state["finished"]:
            self.desk.done()
        return JSONResponse(state, 201)

    @property
    def table(self) -> TableRun:
        if self.desk.table is None:
            raise ScarletError("table: this server measures no latency table, wanted serve --space")
        return self.desk.table


def _guard(desk: Desk) -> Callable[[Request, Answer], Awaitable[Response]]:
    async def guard(request: Request, answer: Answer) -> Response:
        response = _barred(desk, request) or await answer(request)
        response.headers.update(_HEADERS if _may_be_isolated(request) else _ALWAYS)
        return response

    return guard


def _may_be_isolated(request: Request) -> bool:
    """Whether a browser treats the page as secure; elsewhere it ignores the isolation headers and warns of them."""
    return request.scope["scheme"] == "https" or _host_of(request) in LOCAL


def _host_of(request: Request) -> str | None:
    """The name or address that a request is for; None if its header is missing, given twice, or no such name."""
    given = request.headers.getlist("host")
    found = _HOST.fullmatch(given[0]) if len(given) == 1 else None
    return found[1].lower() if found else None


def _barred(desk: Desk, request: Request) -> Response | None:
    # The path that the router reads, not that of the URL, which is put together from the Host header.
    path = request.scope["path"]
    if _host_of(request) not in desk.hosts:
        return _error(f"got a request for another host, wanted one of {' '.join(sorted(desk.hosts))}", 421)
    if path == "/" or path.startswith(("/page/", "/ort/")):
        return None
    given = request.headers.get("authorization", "")
    if not hmac.compare_digest(given.encode(), f"Bearer {desk.token}".encode()):
        return _error("got no token or a wrong one, wanted the token of this run", 401)
    if request.method == "POST":
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return _error("got another content type, wanted application/json", 415)
        own, now = desk.posts[request.client.host if request.client else ""], time.monotonic()
        while own and own[0] < now - _WINDOW_S:
            own.popleft()
        if len(own) >= MOST_POSTS:
            return _error(f"got more than {MOST_POSTS} posts in a minute from this address", 429)
        own.append(now)
    return None


class _TooLong(Exception):  # noqa: N818 - it never leaves this file
    pass


async def _body(request: Request) -> bytes:
    parts, size = [], 0
    async with asyncio.timeout(_BODY_S):
        async for part in request.stream():
            size += len(part)
            if size > MOST_BYTES:
                raise _TooLong
            parts.append(part)
    return b"".join(parts)


def _error(reason: str, status: int) -> Response:
    return JSONResponse({"error": reason}, status)


def _refused(_: Request, error: Exception) -> Response:
    return _error(str(error), 422)


def _too_slow(_: Request, __: Exception) -> Response:
    return _error(f"got a body that took longer than {_BODY_S:g} s", 408)


def _too_long(_: Request, __: Exception) -> Response:
    return _error(f"got a body of more than {MOST_BYTES} bytes", 413)
