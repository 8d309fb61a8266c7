"""The teacher of a knowledge distillation: a trained network whose answers another network learns from.

Teacher and student see the same view of every image, augmentation included ("consistent teaching", arXiv 2106.05237).
Only the size, the colours and the normalisation are each network's own.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scarlet_zoo.data.datasets import ImageData
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.errors import ScarletWarning, TrainingError, looks_like_a_file
from scarlet_zoo.inference.classifier import Classifier
from scarlet_zoo.inference.load import is_onnx, is_other_file, load
from scarlet_zoo.models.loading import Network, load_network
from scarlet_zoo.models.weights.checkpoint import read_metadata
from scarlet_zoo.training.settings import Teacher
from scarlet_zoo.utils.files import file_sha256

_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class TeacherNetwork:
    """A trained network, ready to answer for the images of a student.

    Attributes:
        source: the name or file, and where the weights come from.
        sha256: digest of the weights or of the file.
        feed: the teacher's preprocessing.
        answer: a function of the teacher's input (N, C, H, W), which gives its logits (N, classes).
        to: moves the teacher to a device.
        order: positions of the data's classes among the teacher's logits; None where they are the same.
    """

    source: str
    sha256: str
    feed: Preprocessing
    answer: Callable[[Tensor], Tensor]
    to: Callable[[Any], object]
    order: tuple[int, ...] | None = None

    @property
    def is_torch(self) -> bool:
        """Whether torch runs the teacher."""
        return isinstance(self.answer, nn.Module)

    def logits(self, images: Tensor, feed: Preprocessing) -> Tensor:
        """Return the teacher's logits (N, classes), in the data's order, of a student's images (N, C, H, W).

        Args:
            images: the images as the student sees them.
            feed: the student's preprocessing.
        """
        with torch.no_grad():
            answers = self.answer(prepared_again(images, feed, self.feed)).float()
        return answers if self.order is None else answers[:, list(self.order)]


@dataclass(frozen=True)
class Ensemble:
    """Several teachers, whose answer is the geometric mean of their distributions (arXiv 1503.02531, section 2)."""

    teachers: tuple[TeacherNetwork, ...]

    @property
    def source(self) -> str:
        """The names or files of the teachers, and where their weights come from."""
        return "; ".join(one.source for one in self.teachers)

    @property
    def sha256(self) -> str:
        """The digests of the teachers, in their order."""
        return " ".join(one.sha256 for one in self.teachers)

    @property
    def is_torch(self) -> bool:
        """Whether torch runs all of the teachers."""
        return all(one.is_torch for one in self.teachers)

    def to(self, device: Any) -> None:
        """Move the teachers to a device."""
        for one in self.teachers:
            one.to(device)

    def logits(self, images: Tensor, feed: Preprocessing) -> Tensor:
        """Return the mean of the teachers' logarithms of probabilities (N, classes), in the data's order."""
        return torch.stack([one.logits(images, feed).log_softmax(1) for one in self.teachers]).mean(0)


AnyTeacher = TeacherNetwork | Ensemble


def prepared_again(images: Tensor, given: Preprocessing, wanted: Preprocessing) -> Tensor:
    """Convert the input of one network to that of another: normalisation, number of channels and size.

    Args:
        images: prepared images (N, C, H, W).
        given: the preprocessing that they have gone through.
        wanted: the preprocessing of the network that is to see them. Its crop is not applied: the view stays the same.
    """
    same_values = (given.mean, given.std) == (wanted.mean, wanted.std)
    if not same_values:
        mean, std = (images.new_tensor(values)[:, None, None] for values in (given.mean, given.std))
        images = images * std + mean
        if given.channels == 3 and wanted.channels == 1:
            images = (images * images.new_tensor(_LUMA)[:, None, None]).sum(1, keepdim=True)
        images = images.expand(-1, wanted.channels, -1, -1)
    if given.size != wanted.size:
        images = nn.functional.interpolate(images, size=wanted.size, mode="bilinear", antialias=True)
    if not same_values:
        mean, std = (images.new_tensor(values)[:, None, None] for values in (wanted.mean, wanted.std))
        images = (images - mean) / std
    return images


def load_teacher(teacher: Teacher, data: ImageData) -> AnyTeacher:
    """Load a teacher for a data set, or the teachers.

    Args:
        teacher: its ``network``, or each of them, is a file of any runtime, a weights file that a training wrote,
            ``NAME=FILE`` for another weights file, or a name.
        data: the data set of the training.

    Raises:
        TrainingError: the teacher has another number of classes than the data, other channels than 1 or 3, or a
            weights file that does not say its network.
        ScarletError: no such network or file.
    """
    if not isinstance(teacher.network, str):
        return Ensemble(tuple(_loaded(name, teacher.weights, data) for name in teacher.network))
    return _loaded(teacher.network, teacher.weights, data)


def _loaded(network: str, weights: str, data: ImageData) -> TeacherNetwork:
    name, _, file = network.partition("=")
    path = Path(network)
    if is_onnx(path) or is_other_file(path):
        found = _of_classifier(load(path, trained_only=True), path)
        classes, labels = found[1:]
    elif file and not path.exists():
        classes, labels = (found := _of_network(load_network(name, file)))[1:]
    elif looks_like_a_file(network) and not network.startswith("local-dir:"):
        classes, labels = (found := _of_network(load_network(_network_in(path), str(path))))[1:]
    else:
        classes, labels = (found := _of_network(load_network(network, weights)))[1:]
    if classes != len(data.classes):
        raise TrainingError(f"teacher {network}: has {classes} classes, wanted {len(data.classes)} as in {data.name}")
    return _in_order(found[0], network, labels, data)


_Found = tuple[TeacherNetwork, int, Sequence[str] | None]


def _network_in(path: Path) -> str:
    described = read_metadata(path)
    if not path.is_file():
        raise TrainingError(
            f"teacher {path}: no such file, wanted a weights file, an exported file or a network's name"
        )
    if "name" not in described:
        raise TrainingError(f"teacher {path}: does not say which network it is for, wanted NAME={path}")
    return described["name"]


def _of_network(network: Network) -> _Found:
    if not network.trained:
        raise TrainingError(f"teacher {network.name}: its weights are random, wanted a trained network")
    model = network.model.requires_grad_(False)
    source = f"{network.name}, {network.weights}"
    found = TeacherNetwork(source, network.weights_sha256, network.preprocessing, model, model.to)
    return found, int(getattr(model, "num_classes", 0)), network.labels


def _of_classifier(classifier: Classifier, path: Path) -> _Found:
    def answer(images: Tensor) -> Tensor:
        logits = torch.from_numpy(classifier.logits(images.cpu().contiguous().numpy())).to(images.device)
        # The logarithms of probabilities are logits, up to a number that is the same for all classes of an image.
        return logits.clamp(min=1e-30).log() if classifier.gives_probabilities else logits

    source = f"{path.name}, {classifier.weights}"
    found = TeacherNetwork(source, file_sha256(path), classifier.preprocessing, answer, lambda _: None)
    return found, classifier.classes, classifier.labels


def _in_order(found: TeacherNetwork, name: str, labels: Sequence[str] | None, data: ImageData) -> TeacherNetwork:
    """Bring the teacher's classes into the data's order, by their names."""
    if labels is None or tuple(labels) == tuple(data.classes):
        return found
    if set(labels) == set(data.classes) and len(set(labels)) == len(labels):
        order = tuple(list(labels).index(name) for name in data.classes)
        return TeacherNetwork(found.source, found.sha256, found.feed, found.answer, found.to, order)
    missing = next(name for name in data.classes if name not in labels)
    warnings.warn(
        f"teacher {name}: has no class {missing!r}; its {len(labels)} classes are taken in their order for those of "
        f"{data.name}",
        ScarletWarning,
        stacklevel=3,
    )
    return found
