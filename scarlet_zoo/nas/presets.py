"""Recipes of papers by name: the options of ``supernet train`` and ``search`` that are known of them.

What is not known is not set, so that no value of ours passes for the paper's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from scarlet_zoo.errors import unknown_name


@dataclass(frozen=True, kw_only=True)
class Preset:
    """The recipe of a paper.

    Attributes:
        name: its name on the command line.
        paper: the paper.
        known_from: where the values are from: the authors' code, or recalled, which may be wrong.
        apart: what of the recipe is not known and so not set, or is otherwise here, for people.
        supernet: options of ``supernet train`` by parameter name.
        search: options of ``search`` by parameter name.
    """

    name: str
    paper: str
    known_from: str
    apart: str
    supernet: Mapping[str, object] = field(default_factory=dict)
    search: Mapping[str, object] = field(default_factory=dict)

    def said_of(self, options: Mapping[str, object]) -> str:
        """Return one line on these options of the preset and how far they can be trusted."""
        told = ", ".join(f"--{name.replace('_', '-')} {value}" for name, value in options.items())
        return f"preset {self.name} ({self.paper}), {self.known_from}: {told}; {self.apart}"


_RECALLED = "recalled from the paper, not checked against it"
PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        preset.name: preset
        for preset in (
            Preset(
                name="scarlet",
                paper="SCARLET-NAS, arXiv 1908.06022",
                known_from=_RECALLED,
                apart="epochs and generations are not known and not set",
                supernet={"strategy": "scarlet", "batch_size": 256, "opt": "sgd", "momentum": 0.9, "lr": 0.045,
                          "weight_decay": 4e-5},
                search={"objectives": "accuracy*0.4,macs*0.4,params:max*0.2", "method": "nsga2", "population": 70},
            ),
            Preset(
                name="fairnas",
                paper="FairNAS, arXiv 1907.01845",
                known_from=_RECALLED,
                apart="generations are not known and not set",
                supernet={"strategy": "fairnas", "epochs": 150, "batch_size": 256, "opt": "sgd", "momentum": 0.9,
                          "lr": 0.045, "weight_decay": 4e-5},
                search={"objectives": "accuracy,macs,params:max", "method": "nsga2", "population": 70},
            ),
            Preset(
                name="spos",
                paper="Single Path One-Shot, arXiv 1904.00420",
                known_from="as in the authors' code",
                apart="its linear decay of the learning rate is a cosine here, and its evolution NSGA-II",
                supernet={"strategy": "spos", "batch_size": 1024, "opt": "sgd", "momentum": 0.9, "lr": 0.5,
                          "weight_decay": 4e-5, "label_smoothing": 0.1},
                search={"objectives": "accuracy", "method": "nsga2", "population": 50, "evaluations": 1000},
            ),
        )
    }
)  # fmt: skip


def find_preset(name: str) -> Preset:
    """Return a preset by its name.

    Raises:
        UnknownNameError: there is no such preset; the message lists all of them.
    """
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    return PRESETS[name]
