"""Pi-NAS: paths that share no choice learn from each other, without labels (Peng et al., arXiv 2108.09671)."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from torch import nn

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.data.augment import Augment
from scarlet_zoo.errors import TrainingError
from scarlet_zoo.nas.strategies.base import CROSS_ENTROPY, PositiveShare, Share, Strategy, StrategyOptions
from scarlet_zoo.nas.strategies.contrast import KeyQueue, Necked, Teacher, info_nce, unit
from scarlet_zoo.training.learner import Course, LossTerm, StepBatch
from scarlet_zoo.training.settings import learning_rate

CONTRASTIVE = "contrastive"


@dataclass(frozen=True, kw_only=True)
class PiNasOptions(StrategyOptions):
    """How paths are compared, and how the classifier is trained afterwards.

    Attributes:
        temperature: of the loss; the authors' code has 0.2.
        momentum: share of its weights that the teacher keeps at each update; the authors' code has 0.999.
        queue: negative keys, a multiple of the batch; our default, the authors' code has 49152 for batches of 192.
        hidden: width of the neck's hidden layer; 0 for that of the features, as in the authors' code.
        dim: length of a vector that is compared; the authors' code has 128.
        probe: share of the steps, the last ones, that train the classifier; our default, the authors train it in a
            run of its own, for as many epochs as the rest.
        probe_lr: highest learning rate of those steps; our default, the authors' code has 30 for batches of 256.
        crop: least share of the area in a view, see :class:`scarlet_zoo.data.augment.Augment`; the authors' code has
            0.2.
        jitter: of brightness and contrast in such a view; the authors' code has 0.4 in four views of five.
    """

    temperature: PositiveFloat = 0.2
    momentum: Share = 0.999
    queue: PositiveInt = 4096
    hidden: NonNegativeInt = 0
    dim: PositiveInt = 128
    probe: Annotated[float, Field(gt=0, lt=1)] = 0.2
    probe_lr: PositiveFloat = 1.0
    crop: PositiveShare = 0.2
    jitter: Share = 0.4


class PiNas(Strategy):
    """Cross-path learning with a momentum teacher, then a linear probe on frozen features; scored by its accuracy.

    A step of the first phase runs two paths A and B that differ in every layer, on four views q0, k0, q1, k1 of each
    image. The student makes vectors of q0 with A and of q1 with B, the teacher of k0 with A and of k1 with B; each
    query has to find the key of the *other* path among those of other images:
    ``L = InfoNCE(q0, k1) + InfoNCE(q1, k0)``. The paper's reasons: a layer's input depends on the path that it is
    reached by (feature shift), against which the features of two paths are pulled to one another, and its weights are
    pulled to and fro by the paths that share it (parameter shift), against which there is a teacher; the negatives
    keep all features from becoming one. Before each key pass the teacher follows the student in what that pass runs
    through, hence twice a step in what all paths share and in the neck. The queue takes in
    ``(k0 + k1) / 2``, not brought to length 1 again. No label is used.

    The second phase trains the classifier alone, by cross-entropy on a uniformly drawn path a step; batch norms keep
    taking batch statistics, and their running ones move.

    The authors' code: all of the above. Ours: both phases are one training with one augmentation, without their
    changes of hue and saturation, grey images and blur; the classifier's learning rate falls along a cosine and its
    weight decay is the training's; the images of the key passes are not shuffled over the processes; and the space
    is this package's. A layer with a single token (and the sets of paths
    that share a block) cannot be kept apart: there the paths share it, and the teacher follows twice.
    """

    name = "pi-nas"
    Options = PiNasOptions
    views = 4

    def __init__(self, space: SearchSpace, skip: str, options: PiNasOptions, seed: int) -> None:
        super().__init__(space, skip, options, seed)
        self.student = Necked(self.supernet, options.hidden, options.dim)
        self.model = self.student

    def set_up(self, course: Course) -> None:
        """Make the teacher and the queue.

        Raises:
            TrainingError: the batch does not fit into the queue, or not be shared equally by the processes.
        """
        super().set_up(course)
        self.teacher = Teacher(self.student, self.options.momentum)
        self.queue = KeyQueue(self.options.queue, self.options.dim, self.seed, course.device)
        batch, processes = course.settings.batch_size, len(course.gather(torch.zeros(1, device=course.device)))
        self.queue.check(batch)
        if batch % processes:
            raise TrainingError(f"strategy {self.name}: got batches of {batch} for {processes} processes, wanted "
                                "a multiple")  # fmt: skip

    def augment(self, asked: Augment | None) -> Augment:
        """Crops, brightness and contrast, also where none is asked for: the views have to differ."""
        return replace(asked or Augment(), shift_px=0, crop=self.options.crop, jitter=self.options.jitter)

    @property
    def compared(self) -> int:
        """Steps of the first phase."""
        steps = self.course.steps
        return steps - int(steps * self.options.probe)

    def paths(self, step: int) -> tuple[Arch, ...]:
        """Two without a common token where a layer has two or more; one, uniformly, in the second phase."""
        if step >= self.compared:
            return super().paths(step)
        rng = random.Random(f"{self.seed} {step} {self.name}")
        pairs = [rng.sample(tokens, 2) if len(tokens) > 1 else tokens * 2 for tokens in self.space.decisions]
        return tuple(Arch.of(self.space, tokens) for tokens in zip(*pairs, strict=True))

    def learning_rate(self, step: int) -> float:
        """Of a step: each phase has a schedule of its own, the second without a warm-up."""
        settings, first = self.course.settings, self.compared
        if step < first:
            return learning_rate(step, first, settings)
        settings = replace(settings, lr=self.options.probe_lr, warmup=0.0)
        return learning_rate(step - first, self.course.steps - first, settings)

    def begin(self, step: int) -> bool:
        """Freeze all but the classifier in the second phase."""
        for name, parameter in self.student.named_parameters():
            parameter.requires_grad_(step < self.compared or name.startswith("classifier."))
        return False

    def terms(self, model: nn.Module, batch: StepBatch) -> Iterator[LossTerm]:
        """A query path's loss each; in the second phase the classifier's.

        The keys come first, so that one path's activations are held at a time. The authors' order (query, then key,
        path by path) gives the same: the student moves after the step only, and the teacher's batch norms are its own.
        """
        paths = self.paths(batch.step)
        if batch.step >= self.compared:
            logits = model(batch.images, paths[0], classified=True)
            yield LossTerm(CROSS_ENTROPY, self.criterion(logits, batch.targets), paths[0])
            return
        keys = []
        for images, arch in zip(batch.views[1::2], paths, strict=True):
            self.teacher.follow(self.student, arch)
            keys.append(self.teacher.keys(images, arch))
        for images, arch, others in zip(batch.views[::2], paths, reversed(keys), strict=True):
            queries = unit(model(images, arch))
            yield LossTerm(CONTRASTIVE, info_nce(queries, others, self.queue.keys, self.options.temperature), arch)
        self.queue.put(self.course.gather((keys[0] + keys[1]) / 2))

    def state_dict(self) -> dict[str, Any]:
        """Teacher and queue."""
        return {"teacher": self.teacher.net.state_dict(), "queue": self.queue.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        self.teacher.net.load_state_dict(state["teacher"])
        self.queue.load_state_dict(state["queue"])
