"""Get pretrained weights from the Hugging Face hub or an address, and give up when nothing arrives."""

from __future__ import annotations

import contextlib
import logging
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from scarlet_zoo.errors import PretrainedError, ScarletError

# A download is given up when this many seconds pass in which not one byte arrives.
PATIENCE_S = 12.0
_LOOK_EVERY_S = 0.25
# The hub is given this many seconds to answer a question about a file.
_ANSWER_S = 6.0
# The names of weights on the hub, in the order in which timm looks for them.
_HUB_FILES = ("model.safetensors", "pytorch_model.bin")


def fetch_repository(name: str, *, weights: bool) -> Path:
    """Return the folder with the files of a model repository, downloaded where needed.

    Args:
        name: ``owner/name``, or ``owner/name@revision``.
        weights: whether the weights are wanted, too, or the configuration only.

    Raises:
        ScarletError: the configuration cannot be got.
        PretrainedError: the weights cannot be got.
    """
    spelled, folders = f"hf-hub:{name}", _hub_folders(name)
    try:
        config = _attempt(lambda: _from_hub(name, ("config.json",), newest=True), folders)
    except _FailedError as error:
        raise ScarletError(f"{spelled}: its configuration cannot be got: {error}; wanted a connection") from error
    if weights:
        _weights(spelled, lambda: _from_hub(name, _HUB_FILES, newest=True), folders)
    return config.parent


def fetch_weights(name: str, config: Mapping[str, Any]) -> Path:
    """Return the file of the weights that timm has registered for a name, downloaded where needed.

    Args:
        name: the network's name, for the error message.
        config: timm's configuration of its pretrained weights.

    Raises:
        PretrainedError: the weights cannot be got.
    """
    repository, file = config.get("hf_hub_id"), config.get("hf_hub_filename")
    if repository:
        files = (str(file),) if file else _HUB_FILES
        return _weights(name, lambda: _from_hub(str(repository), files, newest=False), _hub_folders(str(repository)))
    return _weights(name, lambda: _from_address(str(config["url"])), [Path(torch.hub.get_dir())])


def _from_hub(repository: str, files: tuple[str, ...], *, newest: bool) -> Path:
    """Return the first of these files that a repository has.

    A file in the hub's cache is used if it is not to be the newest, or if the hub does not answer. Without one the
    hub is asked once first, because a download tries for 23 seconds to connect.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError

    owner, _, tag = repository.partition("@")
    revision = tag or None
    for position, file in enumerate(files):
        cached = try_to_load_from_cache(owner, file, revision=revision)
        found = isinstance(cached, str)
        if isinstance(cached, str) and not newest:
            return Path(cached)
        try:
            if not found and not _offline():
                get_hf_file_metadata(hf_hub_url(owner, file, revision=revision), timeout=_ANSWER_S)
            return Path(hf_hub_download(owner, file, revision=revision, etag_timeout=_ANSWER_S))
        except EntryNotFoundError:
            if position == len(files) - 1:
                raise
    raise AssertionError("unreachable: no file names")


def _from_address(url: str) -> Path:
    from timm.models._hub import check_cached_file, download_cached_file

    if _offline() and not check_cached_file(url, check_hash=False):
        raise ConnectionError("this machine is set to be offline (HF_HUB_OFFLINE)")
    return Path(download_cached_file(url))


def _offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _hub_folders(repository: str) -> list[Path]:
    from huggingface_hub import constants

    owner = repository.partition("@")[0]
    return [Path(constants.HF_HUB_CACHE) / f"models--{owner.replace('/', '--')}", Path(constants.HF_XET_CACHE)]


class _FailedError(Exception):
    """A download that failed, with the reason in one line."""


def _weights(name: str, fetch: Callable[[], Path], folders: list[Path]) -> Path:
    try:
        return _attempt(fetch, folders)
    except _FailedError as error:
        raise PretrainedError(
            f"pretrained weights of {name!r}: cannot be got: {error}; wanted a connection, --weights FILE, or "
            "--weights random"
        ) from error


def _attempt(fetch: Callable[[], Path], folders: list[Path]) -> Path:
    """Run a download in a thread that is left behind when nothing arrives in the folders it writes to."""
    done: queue.SimpleQueue[Path | Exception] = queue.SimpleQueue()

    def work() -> None:
        try:
            done.put(fetch())
        except Exception as error:
            # The hub's client, its transport and the file system have no common class of errors.
            done.put(error)

    with _quiet():
        threading.Thread(target=work, daemon=True, name="download of weights").start()
        found = _wait(done, folders)
    if found is None:
        raise _FailedError(f"nothing arrived for {PATIENCE_S:g} seconds")
    if isinstance(found, Exception):
        raise _FailedError(_reason(found)) from found
    return found


def _wait(done: queue.SimpleQueue[Path | Exception], folders: list[Path]) -> Path | Exception | None:
    """The download's result; None once no byte has arrived for :data:`PATIENCE_S` seconds."""
    size, last = _size(folders), time.monotonic()
    while time.monotonic() - last < PATIENCE_S:
        with contextlib.suppress(queue.Empty):
            return done.get(timeout=_LOOK_EVERY_S)
        now = _size(folders)
        if now != size:
            size, last = now, time.monotonic()
    return None


def _size(folders: list[Path]) -> int:
    """Bytes in all files of folders; files that vanish meanwhile count nothing."""
    total = 0
    for folder in folders:
        for path in folder.rglob("*"):
            with contextlib.suppress(OSError):
                total += path.stat().st_size
    return total


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the log of the hub's client, and its progress bars where nobody watches, off stderr."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    logger = logging.getLogger("huggingface_hub")
    level, hide = logger.level, not sys.stderr.isatty() and not are_progress_bars_disabled()
    logger.setLevel(logging.CRITICAL)
    if hide:
        disable_progress_bars()
    try:
        yield
    finally:
        logger.setLevel(level)
        if hide:
            enable_progress_bars()


def _reason(error: Exception) -> str:
    if _offline():
        return "this machine is set to be offline (HF_HUB_OFFLINE)"
    return str(error).strip().split("\n")[0].strip().rstrip(".") or type(error).__name__
