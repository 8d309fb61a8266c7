"""What a fold says about itself: one step per site, with its legality and its measured error."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass

from torch import nn


@dataclass(frozen=True, slots=True)
class Step:
    """One absorbed site.

    Attributes:
        kind: ``batch_norm`` (into the convolution before it), ``reparameterize`` (a block's own
            multi-branch merge), ``multiply`` (into the stabilizer that follows), ``backward``
            (into what writes its input), ``forward`` (into what reads its output),
            ``change_of_basis`` (as one of them, with the inverse for the others of the stage).
        site: qualified name of the module that is gone.
        absorbed_by: qualified names of the modules whose weights changed.
        condition: largest 2-norm condition number among the inverted matrices; None where nothing
            was inverted.
        max_abs_diff: largest difference in float64 that the step made, between the outputs of the
            two forms of the site for ``batch_norm``, of the whole network for the others.
    """

    kind: str
    site: str
    absorbed_by: tuple[str, ...]
    condition: float | None
    max_abs_diff: float


@dataclass(frozen=True, slots=True)
class Skipped:
    """A site that was left as it is, and why."""

    site: str
    reason: str


@dataclass(frozen=True, slots=True)
class FoldResult:
    """A folded network and its certificate.

    Attributes:
        model: a new model in eval mode; the input model is untouched.
        weights_sha256: digest of the unfolded model's state dict.
        steps: what was absorbed, in order.
        skipped: what was not, each with its reason.
        max_abs_diff: largest float64 difference between the outputs of the unfolded and the
            folded network on the probe images.
        max_rel_diff: the same over the largest output.
    """

    model: nn.Module
    weights_sha256: str
    steps: tuple[Step, ...]
    skipped: tuple[Skipped, ...]
    max_abs_diff: float
    max_rel_diff: float

    def certificate(self) -> str:
        """The steps, the sites skipped and the whole network's difference as JSON, keys sorted."""
        content = {
            "steps": [asdict(step) for step in self.steps],
            "skipped": [asdict(site) for site in self.skipped],
            "max_abs_diff": self.max_abs_diff,
            "max_rel_diff": self.max_rel_diff,
        }
        return json.dumps(content, sort_keys=True)

    def certificate_sha256(self) -> str:
        """Digest of what was done to which modules, without the measured differences.

        Those vary in their last bits with the number of threads; the algebra does not.
        """
        done = [[step.kind, step.site, *step.absorbed_by] for step in self.steps]
        left = [[site.site, site.reason] for site in self.skipped]
        return hashlib.sha256(json.dumps([done, left]).encode()).hexdigest()

    def summary(self) -> str:
        """One line: how many sites of which kind, and the difference."""
        kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(step.kind for step in self.steps).items())
        left = f", {len(self.skipped)} skipped" if self.skipped else ""
        return f"{kinds or 'nothing to fold'}{left}; float64 difference {self.max_rel_diff:.1e} of the largest output"
