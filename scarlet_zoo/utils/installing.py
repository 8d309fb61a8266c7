"""The command that installs missing optional packages, however this package itself was installed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires

# For a clone that is on the import path without being installed.
_FROM_A_CLONE = "pip install '.[{extra}]' in a clone of scarlet-zoo"


def install_command(extra: str, only: Sequence[str] = ()) -> str:
    """Return the command that installs the packages of an extra, by name and in the required versions.

    The command never names scarlet-zoo itself: it is on no package index, so the command would fail or install
    a package of someone else.

    Args:
        extra: name of an extra in ``pyproject.toml``.
        only: names of the extra's packages to install; all of them when left out.
    """
    try:
        declared = requires("scarlet-zoo") or []
    except PackageNotFoundError:
        return _FROM_A_CLONE.format(extra=extra)
    of_extra = [text.split(";")[0].strip() for text in declared if re.search(rf"extra == ['\"]{extra}['\"]", text)]
    wanted = [text for text in of_extra if not only or _package(text) in map(_package, only)]
    return f"pip install {' '.join(repr(text) for text in wanted)}" if wanted else _FROM_A_CLONE.format(extra=extra)


def _package(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement)[0].lower().replace("_", "-")
