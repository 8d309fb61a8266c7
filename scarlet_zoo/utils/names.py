"""What may be a file's name: one rule for the names that people, files and devices give."""

from __future__ import annotations

import hashlib
import re
import unicodedata

from scarlet_zoo.errors import ScarletError

MOST_BYTES = 120  # of a name; file systems take 255 with suffixes
# Controls, surrogates, unassigned characters, and those that turn the direction of writing or show nothing.
_HIDDEN = ("Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp")


def as_file_name(text: str, otherwise: str, mark: str = "_") -> str:
    """Make a file name of any text: letters, digits, dots, dashes and underscores stay, the rest becomes a mark.

    The name has no dot at its ends, so it is no hidden file and no other folder. A name that is too long is cut and
    ends in eight digits of the text's digest, so that different texts stay apart.

    Args:
        text: the text.
        otherwise: the name where nothing of the text is left.
        mark: what stands for other characters.
    """
    name = re.sub(r"[^\w.-]+", mark, text).strip("._" if mark == "_" else "-.") or otherwise
    if len(name.encode()) <= MOST_BYTES:
        return name
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
    kept = name.encode()[: MOST_BYTES - 9].decode(errors="ignore")
    return f"{kept}-{digest}"


def check_file_name(name: str, what: str) -> str:
    """Return a name that is asked for as a file name, if it is one.

    Args:
        name: the name.
        what: what it names, the first words of the error.

    Raises:
        ScarletError: it is empty or too long, or has separators, hidden characters or a dot at its beginning.
    """
    shown = ascii(name) if len(name) <= 60 else f"{name[:57]!a}..."
    wanted = f"wanted a file's name of at most {MOST_BYTES} bytes without / or \\ and not beginning with a dot"
    if not name or name != name.strip() or name.startswith(".") or len(name.encode(errors="replace")) > MOST_BYTES:
        raise ScarletError(f"{what}: got {shown}, {wanted}")
    if set("/\\") & set(name) or not is_plain_text(name):
        raise ScarletError(f"{what}: got {shown}, {wanted}")
    return name


def is_plain_text(text: str) -> bool:
    """Whether a text has no control characters, and none that turn the direction of writing or show nothing."""
    return not any(unicodedata.category(letter) in _HIDDEN for letter in text)


def in_utf8(text: str) -> str:
    """Return a text that UTF-8 can write: bytes of a file's name that are no text, and halves of pairs, as escapes."""
    if text.isascii():
        return text
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # a half of a pair that stands for no byte
        return text.encode("utf-8", "backslashreplace").decode("utf-8")


def visible(text: str) -> str:
    """Return a text with what :func:`is_plain_text` does not allow written as escapes."""
    if is_plain_text(text):
        return text
    return "".join(letter if is_plain_text(letter) else ascii(letter)[1:-1] for letter in text)


def folded(name: str) -> str:
    """Return a name as a file system may fold it, so that two names which it takes for one are equal."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
