"""How to install what is missing: a command that works wherever this package was installed from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires

# Of a checkout that is on the path without being installed.
_FROM_A_CLONE = "pip install '.[{extra}]' in a clone of scarlet-zoo"


def install_command(extra: str, only: Sequence[str] = ()) -> str:
    """The command that installs the packages of an extra, by their own names and in the versions that are needed.

    It never names this package, which is on no package index: such a command would fail, or fetch a stranger's.

    Args:
        extra: of ``pyproject.toml``.
        only: of its packages, these; all when left out.
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
