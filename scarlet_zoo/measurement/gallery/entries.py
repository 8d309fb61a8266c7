"""Make the gallery's entries: of exported files of any origin, and of networks of the zoo without weights here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.cost import arch_cost
from scarlet_zoo.arch.zoo import ZOO, get_arch
from scarlet_zoo.deployment.image_feed import AnyPreprocessing
from scarlet_zoo.deployment.snippets.render import LANGUAGES, snippet
from scarlet_zoo.errors import ScarletError
from scarlet_zoo.graph.artifact import Artifact, read_artifact
from scarlet_zoo.graph.load import declared_inputs, read_onnx
from scarlet_zoo.inference.classifier import Classifier
from scarlet_zoo.inference.load import load
from scarlet_zoo.inference.right_answers import Accuracy
from scarlet_zoo.measurement.gallery.entry import MEASURED, OWN, PUBLISHED, Entry, Point
from scarlet_zoo.measurement.gallery.graph_cost import GraphCost, graph_cost
from scarlet_zoo.measurement.gallery.latencies import Latency, latencies_of
from scarlet_zoo.measurement.gallery.run_facts import run_facts
from scarlet_zoo.measurement.own_accuracies import OwnAccuracy
from scarlet_zoo.measurement.published import published_peers
from scarlet_zoo.measurement.workloads import Workload
from scarlet_zoo.models.weights.cards import RANDOM_WEIGHTS, WeightsCard, all_cards, cards_of

IMAGENET = "ImageNet-1k"
_MOST_ROWS = 120  # of a drawing
_CLOSED_FORM = "of the trained network, in closed form"
_COUNTED = "counted in the file's convolutions and matrix products"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known of the networks beside their files.

    Attributes:
        latencies: all latencies.
        accuracies: accuracies that the maker of the page measured.
        preprocessing, labels: for files that do not state their own.
    """

    latencies: tuple[Latency, ...] = ()
    accuracies: tuple[OwnAccuracy, ...] = ()
    preprocessing: AnyPreprocessing | None = None
    labels: tuple[str, ...] | None = None


def entry_of_file(staged: Path, workload: Workload, title: str, evidence: Evidence) -> Entry:
    """Make the entry of an exported file.

    Args:
        staged: the file, as one file under its name in the gallery.
        workload: where it is from.
        title: what it is called on the page.
        evidence: what else is known.

    Raises:
        ArtifactError: the file is no ONNX file.
    """
    artifact = read_artifact(staged)
    card, run, why_not, classifier = _card_of(artifact), {}, None, None
    try:
        classifier = _opened(staged, artifact, evidence)
        run = run_facts(artifact, classifier)
    except ScarletError as error:
        why_not = str(error).removeprefix(f"{staged}: ")
    arch = artifact.arch
    counted = _counted(artifact, arch, classifier)
    precision = "float32" if artifact.precision == "unknown" else artifact.precision
    network = workload.network
    names = tuple(dict.fromkeys((network, workload.path.stem, *([str(arch)] if arch else []))))
    return Entry(
        id=staged.stem, title=title, network=network, facts=tuple(_facts(artifact, card, classifier)),
        params=counted.params, macs=counted.macs, macs_note=_CLOSED_FORM if arch else _COUNTED,
        drawing=counted.layers if len(counted.layers) <= _MOST_ROWS else (),
        points=tuple(_points(artifact, card, network, precision, {*names, workload.label, workload.path.name},
                             evidence.accuracies)),
        latencies=tuple(latencies_of(evidence.latencies, sha256=artifact.sha256, names=names, precision=precision,
                                     form=artifact.form, sides=_sides_of(classifier))),
        file=f"networks/{staged.name}", bytes=staged.stat().st_size, sha256=artifact.sha256, precision=precision,
        why_not=why_not, run=run, code=dict(_code(artifact)), trained=artifact.weights != RANDOM_WEIGHTS,
    )  # fmt: skip


def entry_of_name(name: str, evidence: Evidence) -> Entry:
    """Make the entry of a network of the zoo whose weights are not on this machine: figures without a file."""
    cost, cards, space = arch_cost(get_arch(name)), cards_of(name), get_arch(name).space
    how = cards[0].how_to_get if cards else "nobody gives weights of this network out"
    facts = [("architecture", ZOO[name].arch), *(row for card in cards for row in _of_card(card)),
             ("how to get the weights", how)]  # fmt: skip
    latencies = latencies_of(evidence.latencies, sha256=None, names=(name,), precision="float32", form="",
                             sides=(space.in_chans, space.input_size, space.input_size))  # fmt: skip
    return Entry(
        id=name, title=name, network=name, facts=tuple(facts), params=cost.params, macs=cost.macs,
        macs_note=_CLOSED_FORM, drawing=cost.layers, points=tuple(_published(name)), latencies=tuple(latencies),
        why_not="its weights are not here", trained=False,
    )  # fmt: skip


def _opened(path: Path, artifact: Artifact, evidence: Evidence) -> Classifier:
    own = artifact.preprocessing is not None
    labels = evidence.labels if artifact.labels is None and artifact.weights != RANDOM_WEIGHTS else None
    return load(path, preprocessing=None if own else evidence.preprocessing, labels=labels)


def _sides_of(classifier: Classifier | None) -> tuple[int, ...] | None:
    return None if classifier is None else (classifier.preprocessing.channels, *classifier.preprocessing.size)


def _card_of(artifact: Artifact) -> WeightsCard | None:
    """The card of the weights that a file of ours states to have, such as ``shipped NAME.TAG``.

    A file for images of another size has other accuracies than the card, and so has another architecture.
    """
    card = next((card for name, card in all_cards().items() if name in artifact.weights.split()), None)
    if card is None or card.preprocessing is None or artifact.preprocessing is None:
        return None
    same_size = set(artifact.preprocessing.size) == {card.preprocessing.crop}
    return card if same_size and artifact.metadata.get("arch") == card.arch else None


def _counted(artifact: Artifact, arch: Arch | None, classifier: Classifier | None) -> GraphCost:
    size = classifier.preprocessing.size if classifier else None
    if arch is not None and (size is None or size[0] == size[1]):
        cost = arch_cost(arch, input_size=size[0] if size else None)
        return GraphCost(cost.layers, cost.params, complete=True)
    shapes: Mapping[str, Sequence[int]] = {}
    inputs = declared_inputs(read_onnx(artifact.path))
    if classifier is not None and inputs:
        name, sides = inputs[0]
        channels = classifier.preprocessing.channels
        last = sides[-1] == channels and sides[1] != channels
        given = classifier.preprocessing.size
        shapes = {name: (1, *given, channels) if last else (1, channels, *given)}
    elif inputs:
        shapes = {name: [1, *(side for side in sides[1:] if isinstance(side, int))] for name, sides in inputs}
    return graph_cost(artifact.path, shapes)


def _facts(artifact: Artifact, card: WeightsCard | None, classifier: Classifier | None) -> Iterator[tuple[str, str]]:
    random = artifact.weights == RANDOM_WEIGHTS
    yield "weights", artifact.weights + ("; its answers mean nothing" if random else "")
    if card is not None:
        yield from _of_card(card)
    elif "data" in artifact.metadata:
        yield "trained on", Path(artifact.metadata["data"]).name  # a folder of somebody's own is not for everybody
    if classifier is not None:
        feed = classifier.preprocessing
        yield "input", f"{feed.size[0]} x {feed.size[1]} pixels, {feed.channels} channel{'s' * (feed.channels != 1)}"
        yield "classes", f"{classifier.classes:,}"
    yield "file", f"{artifact.precision}, graph variant {artifact.form}, opset {artifact.opset}"
    if "arch" in artifact.metadata:
        yield "architecture", artifact.metadata["arch"]
    if "versions" in artifact.metadata:
        yield "written by", re.sub(r'[{}":]', "", artifact.metadata["versions"])
    if "weights_sha256" in artifact.metadata:
        yield "digest of the weights", artifact.metadata["weights_sha256"]
    yield "SHA-256 of the file", artifact.sha256


def _of_card(card: WeightsCard) -> Iterator[tuple[str, str]]:
    yield "trained on", card.dataset
    yield "from", card.source
    yield "licence", card.licence
    if card.sha256:
        yield "SHA-256 of the weights' file", card.sha256
    if card.measured:
        got = card.measured
        yield "trained with", f"{got.hardware}, {got.minutes:g} minutes, seed {got.seed}"


def _points(artifact: Artifact, card: WeightsCard | None, network: str, precision: str, names: set[str],
            accuracies: Sequence[OwnAccuracy]) -> Iterator[Point]:  # fmt: skip
    """The accuracies of a file; those of weights hold for float32, and one by an int8 file's name for that file."""
    if precision == "float32":
        if card is not None and card.measured is not None:
            got = card.measured
            low, high = Accuracy(round(got.test_top1_percent * got.test_images / 100), got.test_images).interval
            yield Point(data=f"{card.dataset}, test images", kind=MEASURED, top1=got.test_top1_percent,
                        images=got.test_images, low=low, high=high,
                        source=f"weights card {card.name}.{card.tag}, read once on {got.test_date}")  # fmt: skip
        if not artifact.weights.startswith("file "):
            yield from _published(network)
    files = {name for name in names if name.endswith(".onnx")}
    for one in accuracies:
        if {one.row.name, Path(one.row.name).name} & (names if precision == "float32" else files):
            bounds = one.interval or (None, None)
            yield Point(data=f"own images ({one.source.name})", kind=OWN, top1=one.row.top1, images=one.row.images,
                        low=bounds[0], high=bounds[1], source=one.source.name)  # fmt: skip


def _published(network: str) -> Iterator[Point]:
    for peer in published_peers():
        if peer.name == network:
            yield Point(data=IMAGENET, kind=PUBLISHED, top1=peer.top1, source=peer.source)


def _code(artifact: Artifact) -> Iterator[tuple[str, str]]:
    """Programs that load the file; none for a file that no template fits."""
    for language in LANGUAGES:
        try:
            yield language, snippet(artifact, language)
        except ScarletError:
            continue
