"""A latency table measured by a page: group by group, so that a reload loses one group at most."""

from __future__ import annotations

import json
from pathlib import Path
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
    """Times of one group of a bundle, in one sitting.

    Attributes:
        sitting, group: numbers.
        samples_ms: (files of the group, runs).
        sha256: of the files that the page got.
    """

    browser: Browser
    threads: Annotated[PositiveInt, Field(le=64)]
    sitting: Annotated[int, Field(ge=0)]
    group: Annotated[int, Field(ge=0)]
    samples_ms: Annotated[list[_Samples], Field(min_length=1, max_length=200)]
    sha256: Annotated[list[Annotated[str, Field(pattern="^[0-9a-f]{64}$")]], Field(min_length=1, max_length=200)]


class TableRun:
    """A bundle that pages go through.

    What a page has measured is kept in the results folder, under the name of its device; the next group to measure
    is told from that, so a page, or the server, can be gone in between.

    Args:
        bundle: to measure.
        sittings: times that all groups are gone through.
        results: where it is kept.

    Attributes:
        files: of the bundle, by name.
    """

    def __init__(self, bundle: Bundle, sittings: int, results: Results) -> None:
        self.bundle, self.sittings, self.results = bundle, sittings, results
        self.files = {path.name: path for group in bundle.paths for path in group}
        self._sha256 = {name: file_sha256(path) for name, path in self.files.items()}

    def state(self, client: str, device: str) -> dict[str, Any]:
        """What a page is to measure next: ``sitting``, ``group`` and its ``files``; nothing when it is done."""
        return self._next(self._done(self._folder(self.results.name_of(client, device))))

    def _next(self, done: int) -> dict[str, Any]:
        groups = len(self.bundle.groups)
        whole = {"done": done, "all": groups * self.sittings, "finished": done == groups * self.sittings}
        if whole["finished"]:
            return whole
        sitting, group = divmod(done, groups)
        return {**whole, "sitting": sitting, "group": group, "files": [*self.bundle.groups[group].files.values()]}

    def take(self, body: bytes, runtime_version: str) -> dict[str, Any]:
        """Keep a group's times; after the last one of all, the table is made.

        Returns:
            As :meth:`state`, with ``table`` (a file's name) when it is made.

        Raises:
            RecordError: what is wrong with the post, or it is not the group that was wanted.
        """
        posted = read_post(PostedGroup, body)
        device = self.results.name_of(posted.client, posted.device)
        folder = self._folder(device)
        done = self._done(folder)
        wanted = self._next(done)
        if wanted["finished"] or (posted.sitting, posted.group) != (wanted["sitting"], wanted["group"]):
            raise RecordError(f"post: group {posted.group} of sitting {posted.sitting}, wanted {wanted}")
        if posted.sha256 != [self._sha256[name] for name in wanted["files"]]:
            raise RecordError("post: sha256: not those of the group's files")
        if len(posted.samples_ms) != len(wanted["files"]):
            raise RecordError(f"post: samples_ms: of {len(posted.samples_ms)} files, wanted {len(wanted['files'])}")
        write_text(folder / f"group-{done:05d}.json", posted.model_dump_json())
        told = self._next(done + 1)
        return {**told, "table": self._finish(folder, device, runtime_version).name} if told["finished"] else told

    def _folder(self, device: str) -> Path:
        return self.results.folder / f"{file_name(device)}-{self.bundle.space.name}"

    @staticmethod
    def _done(folder: Path) -> int:
        return len(list(folder.glob("group-*.json"))) if folder.is_dir() else 0

    def _finish(self, folder: Path, device: str, runtime_version: str) -> Path:
        """Sittings in the form that ``latency.py --groups`` writes, and the table that they give."""
        groups = [PostedGroup.model_validate_json(path.read_bytes()) for path in sorted(folder.glob("group-*.json"))]
        make_folder(folder)
        count, files = len(self.bundle.groups), []
        for number in range(self.sittings):
            own = groups[number * count : (number + 1) * count]
            told = {
                "conditions": self._conditions(own[0], device, runtime_version),
                "samples_ms": [group.samples_ms for group in own],
                "sha256": [group.sha256 for group in own],
            }
            files.append(folder / f"sitting-{number}.json")
            write_text(files[-1], json.dumps(told) + "\n")
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
