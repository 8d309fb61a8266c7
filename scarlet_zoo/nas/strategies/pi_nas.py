"""Pi-NAS: paths that share no choice learn from each other without labels (Peng et al., arXiv 2108.09671)."""

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
    """Options of Pi-NAS: the contrastive phase and the training of the classifier after it.

    Attributes:
        temperature: temperature of the contrastive loss; 0.2 as in the authors' code.
        momentum: share of the teacher's own weights in each update; 0.999 as in the authors' code.
        queue: number of negative keys, a multiple of the batch; our default, 49152 for batches of 192 in the authors'
            code.
        hidden: width of the neck's hidden layer; 0 for the width of the features, as in the authors' code.
        dim: length of the neck's vectors; 128 as in the authors' code.
        probe: share of the steps, at the end, that train the classifier; our default, the authors train it in a
            separate run with as many epochs as the first.
        probe_lr: highest learning rate of these steps; our default, 30 for batches of 256 in the authors' code.
        crop: smallest share of the area in a view, see :class:`scarlet_zoo.data.augment.Augment`; 0.2 as in the
            authors' code.
        jitter: strength of the changes of brightness and contrast of a view; 0.4, in the authors' code in four views
            of five.
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
    """Trains pairs of paths by contrastive learning with a momentum teacher, then a linear probe that gives the score.

    A step of the first phase runs two paths A and B that differ in every layer, on four views q0, k0, q1, k1 of each
    image. The student computes queries of q0 by A and of q1 by B, the teacher computes keys of k0 by A and of k1 by
    B. Each query must find the key of the *other* path among the keys of other images:
    ``L = InfoNCE(q0, k1) + InfoNCE(q1, k0)``. The paper gives two reasons. A layer's input depends on the path before
    it (feature shift), so the loss pulls the features of two paths together. A layer's weights change for every path
    that shares it (parameter shift), so a slow teacher computes the keys. The negatives prevent that all features
    become equal. Before each key pass the teacher follows the student in the parameters of that pass, so twice a step
    in the neck and in the parts that all paths share. The queue stores ``(k0 + k1) / 2``, which is not scaled to
    length 1 again. No labels are used.

    The second phase trains only the classifier, by cross-entropy on one uniformly drawn path a step. Batch norms
    still use batch statistics and update their running statistics.

    From the authors' code: all of the above. Ours: both phases are one training with one augmentation, without the
    authors' changes of hue and saturation, grey images and blur; the classifier's learning rate follows a cosine and
    its weight decay is that of the training; the images of the key passes are not shuffled over the processes; and
    the space is this package's. Two paths share a layer that has a single token, and may share a block in a space
    with sets of paths. The teacher follows the student twice a step in such parts.
    """

    name = "pi-nas"
    Options = PiNasOptions
    views = 4

    def __init__(self, space: SearchSpace, skip: str, options: PiNasOptions, seed: int) -> None:
        super().__init__(space, skip, options, seed)
        self.student = Necked(self.supernet, options.hidden, options.dim)
        self.model = self.student

    def set_up(self, course: Course) -> None:
        """Create the teacher and the queue.

        Raises:
            TrainingError: the queue is not a multiple of the batch, or the batch not one of the number of processes.
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
        """Return the augmentation with crops and jitter added, even to None, since the views must differ."""
        return replace(asked or Augment(), shift_px=0, crop=self.options.crop, jitter=self.options.jitter)

    @property
    def compared(self) -> int:
        """Number of steps of the first phase."""
        steps = self.course.steps
        return steps - int(steps * self.options.probe)

    def paths(self, step: int) -> tuple[Arch, ...]:
        """Return two paths that share no token where a layer has several; one uniform path in the second phase."""
        if step >= self.compared:
            return super().paths(step)
        rng = random.Random(f"{self.seed} {step} {self.name}")
        pairs = [rng.sample(tokens, 2) if len(tokens) > 1 else tokens * 2 for tokens in self.space.decisions]
        return tuple(Arch.of(self.space, tokens) for tokens in zip(*pairs, strict=True))

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step; each phase has its own schedule, the second without warm-up."""
        settings, first = self.course.settings, self.compared
        if step < first:
            return learning_rate(step, first, settings)
        settings = replace(settings, lr=self.options.probe_lr, warmup=0.0)
        return learning_rate(step - first, self.course.steps - first, settings)

    def begin(self, step: int) -> bool:
        """Freeze all parameters but the classifier's in the second phase."""
        for name, parameter in self.student.named_parameters():
            parameter.requires_grad_(step < self.compared or name.startswith("classifier."))
        return False

    @property
    def summed(self) -> int:
        """One cross-entropy: that of the second phase; the first one compares features."""
        return 1

    def terms(self, model: nn.Module, batch: StepBatch) -> Iterator[LossTerm]:
        """Yield the contrastive loss of each of the two paths; the classifier's loss in the second phase.

        The keys are computed first, so that only one path's activations are in memory. The authors' order (query, then
        key, path by path) gives the same result, because the student changes only after the step and the teacher has
        its own batch norms.
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
        """Return teacher and queue."""
        return {"teacher": self.teacher.net.state_dict(), "queue": self.queue.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a :meth:`state_dict`."""
        self.teacher.net.load_state_dict(state["teacher"])
        self.queue.load_state_dict(state["queue"])
