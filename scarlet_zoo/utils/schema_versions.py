"""Schema versions of our files: what each kind states, and which versions this package reads.

A file without a version has version 1, as the files of scarlet-zoo 0.1.0. Whoever changes what a kind of file means
raises its version in :data:`SCHEMAS` and reads the older ones as before; docs/versions.md has the promise.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from scarlet_zoo.errors import ScarletError

SCHEMA_KEY = "schema_version"
# In formats that others write too, whose metadata may have a version of their own.
METADATA_KEY = "scarlet_zoo_schema_version"
# The newest version of each kind, which is the one that is written.
SCHEMAS: Mapping[str, int] = MappingProxyType({
    "record": 1,  # also in latency.py, which stands alone
    "weights card": 1,
    "front": 1,
    "latency table": 1,
    "journal": 1,
    "checkpoint": 1,
    "run report": 1,
    "weights file": 1,
    "exported file": 1,
})  # fmt: skip


def refuse_newer(
    kind: str, content: Any, where: object, error: type[ScarletError] = ScarletError, key: str = SCHEMA_KEY
) -> None:
    """Refuse a file of a newer schema than this package knows.

    Args:
        kind: a kind of :data:`SCHEMAS`.
        content: the file's fields or metadata. If they are no mapping, the reader of the kind says so.
        where: the file, for the message.
        error: class of the exception.
        key: name of the field; its value is a whole number, in metadata as text.

    Raises:
        ScarletError: the version is newer, or is no version.
    """
    if not isinstance(content, Mapping) or key not in content:
        return
    got, known = content[key], SCHEMAS[kind]
    if not _is_version(got):
        raise error(f"{where}: got {key} {str(got)[:40]!r}, wanted a whole number from 1 to {known}")
    if int(got) > known:
        raise error(f"{where}: got version {int(got)} of the schema of a {kind}, wanted {known} or less: a newer "
                    "scarlet-zoo wrote it")  # fmt: skip


def _is_version(value: Any) -> bool:
    if isinstance(value, str):
        return value.isascii() and value.isdecimal() and len(value) < 10 and int(value) > 0
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
