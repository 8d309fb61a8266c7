"""The certificate of a fold: one step for each site, with its condition number and its measured error."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass

from torch import nn


@dataclass(frozen=True, slots=True)
class Step:
    """One site that was folded into other layers.

    Attributes:
        kind: how the site was folded: ``batch_norm`` (into the convolution before it), ``reparameterize`` (by a
            block's own multi-branch merge), ``multiply`` (into the stabilizer that follows), ``backward`` (into
            the layers that write its input), ``forward`` (into the layers that read its output), or
            ``change_of_basis`` (into one side, and its inverse into the other layers of the region).
        site: qualified name of the removed module.
        absorbed_by: qualified names of the modules whose weights changed.
        condition: largest 2-norm condition number among the inverted matrices; None where nothing
            was inverted.
        max_abs_diff: largest difference in float64 that the step made: between the outputs of the site
            before and after for ``batch_norm``, between the outputs of the network for the other kinds.
    """

    kind: str
    site: str
    absorbed_by: tuple[str, ...]
    condition: float | None
    max_abs_diff: float


@dataclass(frozen=True, slots=True)
class Skipped:
    """A site that was not folded, and the reason."""

    site: str
    reason: str


@dataclass(frozen=True, slots=True)
class FoldResult:
    """A folded network and its certificate.

    Attributes:
        model: a new model in eval mode; the input model is untouched.
        weights_sha256: digest of the unfolded model's state dict.
        steps: the folded sites, in order.
        skipped: the sites that were not folded, each with its reason.
        max_abs_diff: largest float64 difference between the outputs of the unfolded and the
            folded network on the probe images.
        max_rel_diff: ``max_abs_diff`` divided by the largest absolute output.
    """

    model: nn.Module
    weights_sha256: str
    steps: tuple[Step, ...]
    skipped: tuple[Skipped, ...]
    max_abs_diff: float
    max_rel_diff: float

    def certificate(self) -> str:
        """The steps, the skipped sites and the whole network's differences as JSON with sorted keys."""
        content = {
            "steps": [asdict(step) for step in self.steps],
            "skipped": [asdict(site) for site in self.skipped],
            "max_abs_diff": self.max_abs_diff,
            "max_rel_diff": self.max_rel_diff,
        }
        return json.dumps(content, sort_keys=True)

    def certificate_sha256(self) -> str:
        """Digest of the kinds, sites and reasons of the fold, without the measured differences.

        The differences vary in their last bits with the number of threads; the rest does not.
        """
        done = [[step.kind, step.site, *step.absorbed_by] for step in self.steps]
        left = [[site.site, site.reason] for site in self.skipped]
        return hashlib.sha256(json.dumps([done, left]).encode()).hexdigest()

    def summary(self) -> str:
        """One line with the number of sites of each kind, and the difference."""
        kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(step.kind for step in self.steps).items())
        left = f", {len(self.skipped)} skipped" if self.skipped else ""
        return f"{kinds or 'nothing to fold'}{left}; float64 difference {self.max_rel_diff:.1e} of the largest output"
