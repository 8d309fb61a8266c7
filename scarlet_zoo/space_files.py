"""Search spaces that a user declares: a few lines of TOML, or a name.

A space is given by the terms in which papers print one::

    name = "mine"
    in_chans = 3
    input_size = 64
    num_classes = 100
    stages = [[24, 2, 2], [40, 3, 2], [80, 4, 2]]  # channels, layers, stride
    kernel_sizes = [3, 5]
    expand_ratios = [3, 6]
    squeeze_excite = true
    paths = 2  # so many blocks of a layer at once, summed; see scarlet_zoo.path_sets
    branches = true  # between feature maps two or three layers apart; see scarlet_zoo.topology

Left out are what :func:`scarlet_zoo.candidates.mbconv_choices` and :class:`scarlet_zoo.space.SearchSpace` have
as defaults. A skip is a choice wherever it fits.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

from scarlet_zoo.candidates import chain_layers, mbconv_choices
from scarlet_zoo.errors import ArchError
from scarlet_zoo.space import BRANCHES, PATHS, SearchSpace
from scarlet_zoo.spaces import get_space

_CHOICES = {"expand_ratios", "kernel_sizes", "squeeze_excite"}
_ADDED = {BRANCHES, PATHS}
_DERIVED = {"branches", "branch_operator"}
_GIVEN = {field.name for field in fields(SearchSpace) if field.default is not MISSING} - _DERIVED
_KNOWN = {"name", "stages", *_CHOICES, *_GIVEN, *_ADDED}


def find_space(text: str) -> SearchSpace:
    """The space of a name, or of a TOML file where the text ends in ``.toml``.

    Raises:
        UnknownNameError: no such name; the message lists the near ones.
        ArchError: a file that declares no space.
    """
    return read_space(Path(text)) if text.endswith(".toml") else get_space(text)


def read_space(path: Path) -> SearchSpace:
    """Read a declaration, strictly: every key known, none missing.

    Raises:
        ArchError: what is wrong in which file.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArchError(f"{path}: no such file, wanted a search space in TOML") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ArchError(f"{path}: not a search space: {str(error).splitlines()[0]}") from error
    try:
        return space_of(content)
    except ArchError as error:
        raise ArchError(f"{path}: {error}") from error
    except (TypeError, ValueError, KeyError) as error:
        raise ArchError(f"{path}: a value of the wrong kind: {error}") from error


def space_of(content: Mapping[str, Any]) -> SearchSpace:
    """The space of a declaration's values; see this module.

    Raises:
        ArchError: unknown or missing keys, or a space that cannot be.
    """
    unknown = sorted(set(content) - _KNOWN)
    missing = sorted({"name", "stages"} - set(content))
    if unknown or missing:
        raise ArchError(f"unknown keys {unknown}, missing keys {missing}, wanted {' '.join(sorted(_KNOWN))}")
    # Bad values in it are found where the space is made.
    choices = mbconv_choices(**{key: content[key] for key in _CHOICES & set(content)})
    rest: dict[str, Any] = {
        key: tuple(content[key]) if key in ("mean", "std") else content[key] for key in _GIVEN & set(content)
    }
    if rest.get("in_chans", 3) != 3:
        # ImageNet's colours say nothing here; half and quarter are the field's neutral values.
        rest = {"mean": (0.5,) * rest["in_chans"], "std": (0.25,) * rest["in_chans"], **rest}
    first = rest.get("first_width", SearchSpace.first_width)
    stages = [(int(width), int(depth), int(stride)) for width, depth, stride in content["stages"]]
    space = SearchSpace(str(content["name"]), choices, chain_layers(stages, choices, in_chs=first), **rest)
    return _augmented(space, content)


def _augmented(space: SearchSpace, content: Mapping[str, Any]) -> SearchSpace:
    """With what is asked for besides the chain, under the name that was declared."""
    branches, most = content.get(BRANCHES, False), content.get(PATHS, 2)
    if type(most) is not int:
        raise ArchError(f"search space {space.name!r}: got paths {most!r}, wanted a whole number from 2")
    if not isinstance(branches, bool):
        raise ArchError(f"search space {space.name!r}: got branches {branches!r}, wanted true or false")
    made = space.with_branches() if branches else space
    return replace(made.with_path_sets(content[PATHS]) if PATHS in content else made, name=space.name)
