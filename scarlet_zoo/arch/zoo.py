"""The named networks: a read-only table of identity strings, with published figures for some."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from scarlet_zoo.arch.architecture import Arch, is_identity_string
from scarlet_zoo.errors import unknown_name
from scarlet_zoo.utils.names import as_file_name


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures that a network's authors published; we measured none of them.

    Attributes:
        top1_percent, top5_percent: ImageNet accuracy as published, in percent.
        macs_m, params_m: millions of multiply-adds and of parameters as published.
        source: the publication and its table.
    """

    top1_percent: float
    top5_percent: float
    macs_m: int
    params_m: float
    source: str


@dataclass(frozen=True, slots=True)
class ZooEntry:
    """A named network.

    Attributes:
        name: the network's name.
        arch: its identity string.
        published: its authors' figures, which this package holds only here; none for networks that were
            found with this package, whose weights cards hold our measurements.
        authors_tag: tag of the weights that the figures belong to.
    """

    name: str
    arch: str
    published: Figures | None = None
    authors_tag: str | None = None


_PAPER = "SCARLET-NAS, arXiv 1908.06022, benchmark table"

# fmt: off
_ENTRIES = (
    ZooEntry("scarlet_a", "scarlet:"
             "e3k7-e6k5-e3k5-e3k7se-e6k3se-e3k5se-e6k3se-e3k3-e3k7se-e3k7-"
             "e3k5-e3k7se-e3k3-e3k7se-e6k3se-e6k5se-e3k3se-e6k3se-e6k7se",
             Figures(76.9, 93.4, 365, 6.7, _PAPER), "xiaomi_in1k"),
    ZooEntry("scarlet_b", "scarlet:"
             "e3k3se-e3k5se-e3k3se-e6k7se-e3k3-e3k5-e6k7se-e3k3se-id-e3k5-"
             "e3k3se-e3k3se-e6k7se-e3k3se-e6k5se-e6k5se-id-e6k7se-e6k5se",
             Figures(76.3, 93.0, 329, 6.5, _PAPER), "xiaomi_in1k"),
    ZooEntry("scarlet_c", "scarlet:"
             "e3k5se-e3k3se-e3k5se-id-id-e3k3-e6k7se-e3k3se-e3k3se-e3k5-"
             "e3k7se-e3k7-e3k3se-e3k7se-e3k3se-id-e6k3se-e6k7se-e6k5se",
             Figures(75.6, 92.6, 280, 6.0, _PAPER), "xiaomi_in1k"),
    # Networks found with this package: weights/search holds the fronts that they were chosen from.
    ZooEntry("scarlet_mini_s", "scarlet-mini:e6k5-e6k7-id-id-e3k7se-e3k7-e3k7-id"),
    ZooEntry("scarlet_mini_m", "scarlet-mini:e6k5se-e3k5-id-e3k7-e6k7se-e3k7-e6k3se-e3k5"),
    ZooEntry("scarlet_mini_l", "scarlet-mini:e6k5se-e3k5-id-e3k7-e6k7se-e6k5se-e6k7se-e6k5se"),
    ZooEntry("scarlet_cifar_s", "scarlet-cifar:e2k3se-id-e2k3-e2k3-e2k3se-e2k5se-id-id-e2k3-e2k5se"),
    ZooEntry("scarlet_cifar_m", "scarlet-cifar:e2k5se-e2k3-e2k5-e2k5se-e6k5-e2k5-e2k3se-id-e6k5se-e2k5"),
    ZooEntry("scarlet_cifar_l", "scarlet-cifar:e6k3-e2k5se-e6k3se-id-e2k3se-e6k5-e6k5-e6k3se-e6k5se-e2k3se"),
)
# fmt: on

ZOO: Mapping[str, ZooEntry] = MappingProxyType({entry.name: entry for entry in _ENTRIES})
assert len(ZOO) == len(_ENTRIES), "a zoo name is used twice"


def list_archs() -> list[str]:
    """Return the names of all networks of the zoo."""
    return list(ZOO)


def get_arch(name: str) -> Arch:
    """Return the architecture of a named network.

    Raises:
        UnknownNameError: there is no such network; the message lists similar names.
    """
    if name not in ZOO:
        raise unknown_name("architecture", name, ZOO)
    return Arch.parse(ZOO[name].arch)


def name_of(arch: Arch) -> str | None:
    """Return the zoo's name for an architecture, or None if it has none."""
    text = str(arch)
    name = next((entry.name for entry in _ENTRIES if entry.arch == text), None)
    # Another space of the same name may have a different number of classes.
    return name if name is not None and get_arch(name).space == arch.space else None


def safe_name(name: str) -> str:
    """Return a file name for a network: its name, or for an identity string the space and eight digits of a digest.

    Characters other than letters, digits, dots, dashes and underscores become underscores, and a long name is cut.
    """
    if is_identity_string(name):
        # The string is not parsed, because its space may be unknown to this package.
        digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:8]
        known = next((entry.name for entry in _ENTRIES if entry.arch == name), None)
        name = known or f"{name.partition(':')[0]}-{digest}"
    return as_file_name(name, "network")
