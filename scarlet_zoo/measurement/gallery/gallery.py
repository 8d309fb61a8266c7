"""Write the gallery: a folder that any static host serves, with networks that run in the visitor's browser."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scarlet_zoo.arch.zoo import ZOO
from scarlet_zoo.deployment.image_feed import AnyPreprocessing
from scarlet_zoo.deployment.targets import get_target
from scarlet_zoo.errors import ScarletError
from scarlet_zoo.graph.artifact import read_artifact
from scarlet_zoo.measurement.browser.web_runtime import SCRIPT, WASM, WebRuntime, web_runtime
from scarlet_zoo.measurement.gallery.entries import Evidence, entry_of_file, entry_of_name
from scarlet_zoo.measurement.gallery.entry import Entry
from scarlet_zoo.measurement.gallery.latencies import latencies_in, packaged_latencies
from scarlet_zoo.measurement.gallery.render import MARK, page_html
from scarlet_zoo.measurement.own_accuracies import read_accuracies
from scarlet_zoo.measurement.workloads import Workload, gather, is_file_name, whole_files
from scarlet_zoo.utils.files import replacing, write_text
from scarlet_zoo.utils.names import as_file_name, folded, in_utf8, visible
from scarlet_zoo.utils.ownership import owned_folder
from scarlet_zoo.utils.reading import bounded_text

_PAGE = Path(__file__).parent / "page"
_OF_SERVE = Path(__file__).parents[1] / "browser" / "page"
_OWN_FILES = ("style.css", "gallery.js", "scatter.js", "run.js", "worker.js")
# They import nothing, so the page that serve sends and this one have them in common.
_SHARED_FILES = ("picture.js", "numbers.js", "sha256.js")
_LICENCE = "onnxruntime-LICENSE.txt"
# Many hosts do not know .mjs and send it as something else than a script, which browsers refuse.
_RUNTIME_FILES = {SCRIPT: "ort.wasm.bundle.min.js", WASM: WASM}


@dataclass(frozen=True)
class Gallery:
    """A gallery that was written.

    Attributes:
        folder: its folder.
        entries: its networks, in order.
        files: size in bytes of each of its files, by path in the folder.
        runtime_version: version of onnxruntime-web in it.
    """

    folder: Path
    entries: tuple[Entry, ...]
    files: dict[str, int]
    runtime_version: str

    @property
    def bytes(self) -> int:
        """The size of all its files."""
        return sum(self.files.values())

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return {"folder": str(self.folder), "index": str(self.folder / "index.html"), "bytes": self.bytes,
                "files": self.files, "onnxruntime_web": self.runtime_version,
                "networks": [entry.to_dict() for entry in self.entries]}  # fmt: skip


def gallery(
    out: str | Path,
    models: Sequence[str | Path] = (),
    *,
    targets: Sequence[str] = ("native",),
    weights: str = "auto",
    calibration: str | None = None,
    records: Sequence[str | Path] = (),
    accuracies: Sequence[str | Path] = (),
    preprocessing: AnyPreprocessing | None = None,
    labels: Sequence[str] | None = None,
    title: str = "Networks",
    stage: Callable[[str], None] = lambda _: None,
) -> Gallery:
    """Write a static page of networks, in which they can be compared, downloaded and tried.

    The folder needs no server of ours and no other host. From a folder that is opened as a file, the networks can be
    compared and downloaded; a browser runs them only if the page comes from a host. The same call gives the same bytes.

    Args:
        out: the folder; its files of an earlier gallery are replaced.
        models: ONNX files of any exporter, registered names, identity strings, timm names, or weights files that state
            their network. When left out, all networks of the zoo: those whose weights are on this machine with their
            files, the others with their figures alone.
        targets: the targets that networks given by name are exported for; of ONNX Runtime.
        weights: weights of networks given by name, as for :func:`scarlet_zoo.models.loading.load_to_time`.
        calibration: calibration images for integer targets: a folder, or ``random``.
        records: files of records of ``bench``, ``serve`` or ``device run``, or folders of them. The package's own are
            always there.
        accuracies: files with accuracies that were measured on own images, see
            :func:`scarlet_zoo.measurement.own_accuracies.read_accuracies`.
        preprocessing, labels: for files that do not state their own.
        title: heading of the page.
        stage: called with a description of each step as it begins.

    Returns:
        What was written, with sizes in bytes.

    Raises:
        ScarletError: a file is no ONNX network, a name is unknown, onnxruntime-web is not installed, or the folder
            holds a page that is none of this function's.
    """
    folder, runtime = Path(out), web_runtime()
    _check_index(folder / "index.html")
    evidence = Evidence(
        latencies=(*packaged_latencies(), *(one for path in records for one in latencies_in(Path(path)))),
        accuracies=tuple(one for path in accuracies for one in read_accuracies(Path(path))),
        preprocessing=preprocessing, labels=None if labels is None else tuple(labels),
    )  # fmt: skip
    given = [str(model) for model in models]
    _check_given([name for name in given if is_file_name(name)], evidence, targets)
    with tempfile.TemporaryDirectory(prefix="scarlet-zoo-") as temporary, owned_folder(folder):
        scratch = Path(temporary)
        names = given or _with_weights()
        workloads = gather(names, scratch, targets, weights, calibration, stage)
        entries = list(_staged(whole_files(workloads, scratch), scratch / "staged", evidence, len(targets) > 1))
        entries += [entry_of_name(name, evidence) for name in ZOO if not given and name not in names]
        files = dict(_written(folder, entries, scratch / "staged", runtime, title))
    return Gallery(folder, tuple(entries), files, runtime.version)


def _check_index(index: Path) -> None:
    if index.is_file() and MARK not in bounded_text(index):
        raise ScarletError(f"{index}: is another page, wanted a folder without one, or with an earlier gallery")


def _check_given(files: Sequence[str], evidence: Evidence, targets: Sequence[str]) -> None:
    """Refuse what would be ignored, and targets whose files no browser runs."""
    described = [read_artifact(Path(file)) for file in files if file.endswith(".onnx")]
    for name, value, lacks in (
        ("preprocessing", evidence.preprocessing, any(one.preprocessing is None for one in described)),
        ("labels", evidence.labels, any(one.labels is None for one in described)),
    ):
        if value is not None and not lacks:
            raise ScarletError(f"--{name} {value}: would be ignored, it only applies to ONNX files that do not state "
                               "their own")  # fmt: skip
    for name in [*files, *targets]:
        suffix = Path(name).suffix if name in files else get_target(name).suffix
        if suffix != ".onnx":
            what = name if name in files else f"target {name}"
            raise ScarletError(f"{what}: is not an ONNX file, wanted one: a browser runs only those")


def _with_weights() -> list[str]:
    from scarlet_zoo.models.weights.store import local_weights

    return [name for name in ZOO if local_weights(name) is not None]


def _staged(workloads: Sequence[Workload], staged: Path, evidence: Evidence, several: bool) -> Iterator[Entry]:
    """The entries of files, which are copied under their names in the gallery."""
    staged.mkdir()
    taken = set[str]()
    for workload in workloads:
        title = workload.label if several or not workload.name else workload.name
        title = title if workload.name else Path(workload.label).stem
        stem = as_file_name(title.removesuffix(".safetensors"), "network")
        unique, number = stem, 1
        while folded(unique) in taken:
            number += 1
            unique = f"{stem}-{number}"
        taken.add(folded(unique))
        path = staged / f"{unique}.onnx"
        shutil.copyfile(workload.path, path)
        shown = visible(in_utf8(title if workload.name else Path(title).name))
        yield entry_of_file(path, workload, shown if number == 1 else f"{shown} ({number})", evidence)


def _written(folder: Path, entries: Sequence[Entry], staged: Path, runtime: WebRuntime,
             title: str) -> Iterator[tuple[str, int]]:  # fmt: skip
    """Write all files, the page itself last, and yield the path and the size of each."""
    copies = {name: _PAGE / name for name in _OWN_FILES} | {name: _OF_SERVE / name for name in _SHARED_FILES}
    copies |= {f"runtime/{there}": runtime.folder / here for here, there in _RUNTIME_FILES.items()}
    copies["runtime/LICENSE.txt"] = _PAGE / _LICENCE
    copies |= {entry.file: staged / Path(entry.file).name for entry in entries if entry.file is not None}
    for name, source in copies.items():
        with replacing(folder / name) as path:
            shutil.copyfile(source, path)
    texts = {f"networks/{entry.id}.json": entry.run_json() for entry in entries if entry.run}
    texts["index.html"] = page_html(title, entries, runtime.version)
    for name, text in texts.items():
        write_text(folder / name, text)
    for name in (*copies, *texts):
        yield name, (folder / name).stat().st_size
