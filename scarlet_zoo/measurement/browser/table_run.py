"""A latency table that a page measures group by group, so that a reload loses at most one group."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Lock
from typing import Annotated, Any

from pydantic import Field, PositiveInt

from scarlet_zoo.errors import RecordError
from scarlet_zoo.latency import make_conditions
from scarlet_zoo.measurement.browser.posts import Asker, Browser, read_post, web_runtime_conditions
from scarlet_zoo.measurement.lut.build import build_table
from scarlet_zoo.measurement.lut.bundle import Bundle
from scarlet_zoo.measurement.record_folder import Results, file_name
from scarlet_zoo.measurement.records import Milliseconds
from scarlet_zoo.utils.files import file_sha256, make_folder, write_text

_Samples = Annotated[list[Milliseconds], Field(min_length=3, max_length=2000)]


class PostedGroup(Asker):
    """The samples of one group of a bundle in one round, as the page posts them.

    Attributes:
        browser: the browser that measured.
        threads: its number of threads.
        sitting, group: numbers of the round and of the group, from 0.
        samples_ms: latencies in milliseconds, (files of the group, runs).
        sha256: hashes of the files that the page received.
    """

    browser: Browser
    threads: Annotated[PositiveInt, Field(le=64)]
    sitting: Annotated[int, Field(ge=0)]
    group: Annotated[int, Field(ge=0)]
    samples_ms: Annotated[list[_Samples], Field(min_length=1, max_length=200)]
    sha256: Annotated[list[Annotated[str, Field(pattern="^[0-9a-f]{64}$")]], Field(min_length=1, max_length=200)]


class TableRun:
    """The measurement of a bundle by pages.

    What a page has measured is written to the results folder, under the name of its device. The next group to measure
    follows from these files, so the page and the server can be restarted in between.

    Args:
        bundle: the bundle to measure.
        sittings: number of rounds through all groups.
        results: the results folder.

    Attributes:
        files: paths of the bundle's files, by name.
    """

    def __init__(self, bundle: Bundle, sittings: int, results: Results) -> None:
        self.bundle, self.sittings, self.results = bundle, sittings, results
        self.files = {path.name: path for group in bundle.paths for path in group}
        self._sha256 = {name: file_sha256(path) for name, path in self.files.items()}
        self._lock = Lock()

    def state(self, client: str, device: str) -> dict[str, Any]:
        """What a page must measure next: ``sitting`` (the number of the round), ``group`` and ``files``.

        ``done`` of ``all`` groups are measured; ``finished`` says whether all are, and then nothing is next.
        """
        return self._next(self._done(self._folder(self.results.name_of(client, device))))

    def _next(self, done: int) -> dict[str, Any]:
        groups = len(self.bundle.groups)
        whole = {"done": done, "all": groups * self.sittings, "finished": done == groups * self.sittings}
        if whole["finished"]:
            return whole
        number, group = divmod(done, groups)
        return {**whole, "sitting": number, "group": group, "files": [*self.bundle.groups[group].files.values()]}

    def take(self, body: bytes, runtime_version: str) -> dict[str, Any]:
        """Write a group's samples; after the last group of the last round, write the table.

        Returns:
            The next state, as of :meth:`state`; with ``table``, the name of the table's file, once it is written.

        Raises:
            RecordError: the post is not valid, or is not of the group that was wanted.
        """
        posted = read_post(PostedGroup, body)
        with self._lock:  # two posts of one group must not both be the next
            return self._taken(posted, runtime_version)

    def _taken(self, posted: PostedGroup, runtime_version: str) -> dict[str, Any]:
        device = self.results.name_of(posted.client, posted.device)
        folder = self._folder(device)
        done = self._done(folder)
        wanted = self._next(done)
        if wanted["finished"] or (posted.sitting, posted.group) != (wanted["sitting"], wanted["group"]):
            due = "none" if wanted["finished"] else f"group {wanted['group']} of round {wanted['sitting']}"
            raise RecordError(f"post: got group {posted.group} of round {posted.sitting}, wanted {due}")
        if posted.sha256 != [self._sha256[name] for name in wanted["files"]]:
            raise RecordError("post: sha256: got other hashes, wanted those of the group's files")
        if len(posted.samples_ms) != len(wanted["files"]):
            raise RecordError(f"post: samples_ms: got {len(posted.samples_ms)} files, wanted {len(wanted['files'])}")
        write_text(folder / f"group-{done:05d}.json", posted.model_dump_json())
        state = self._next(done + 1)
        if not state["finished"]:
            return state
        return {**state, "table": self._finish(folder, device, runtime_version).name}

    def _folder(self, device: str) -> Path:
        return self.results.folder / f"{file_name(device)}-{self.bundle.space.name}"

    @staticmethod
    def _done(folder: Path) -> int:
        return len(list(folder.glob("group-*.json"))) if folder.is_dir() else 0

    def _finish(self, folder: Path, device: str, runtime_version: str) -> Path:
        """Write the rounds as ``latency.py --groups`` does, and the table that they give; gives the table's path."""
        groups = [PostedGroup.model_validate_json(path.read_bytes()) for path in sorted(folder.glob("group-*.json"))]
        make_folder(folder)
        count, files = len(self.bundle.groups), []
        for number in range(self.sittings):
            own = groups[number * count : (number + 1) * count]
            measured = {
                "conditions": self._conditions(own[0], device, runtime_version),
                "samples_ms": [group.samples_ms for group in own],
                "sha256": [group.sha256 for group in own],
            }
            files.append(folder / f"sitting-{number}.json")
            write_text(files[-1], json.dumps(measured) + "\n")
        path = self.results.folder / f"{folder.name}.lut.json"
        build_table(self.bundle, files).write(path)
        return path

    @staticmethod
    def _conditions(group: PostedGroup, device: str, runtime_version: str) -> dict[str, Any]:
        # A table's stamp lists instruction sets; a browser names none.
        machine = {**group.browser.machine(device), "cpu_features": []}
        method = {"mode": "hot", "threads": group.threads, "spin": True, "affinity": None}
        return make_conditions(
            machine, method, web_runtime_conditions(runtime_version), browser=group.browser.model_dump()
        )
