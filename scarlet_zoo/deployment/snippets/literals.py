"""Write untrusted text as string literals and comments of a programming language, safely escaped."""

from __future__ import annotations

from collections.abc import Iterator

# All other characters are escaped, so that no quote, newline, comment mark, template mark or trigraph is left.
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 .,_-+=:;()[]'&#!%")


def literal(text: str, lang: str) -> str:
    """The text as a string literal of a language, in double quotes and in ASCII."""
    return f'"{"".join(_escaped(text, lang))}"'


def comment(text: str) -> str:
    """The text for a comment of one line, with every character that is not plain as ``U+`` and its code point."""
    return "".join(char if char in _PLAIN else f"U+{ord(char):04X}" for char in text)


def _escaped(text: str, lang: str) -> Iterator[str]:
    for char in text:
        if char in _PLAIN:
            yield char
        elif lang == "cpp":
            # Three octal digits for each byte of UTF-8; unlike \x, an octal escape cannot take in what follows it.
            errors = "surrogateescape" if "\udc80" <= char <= "\udcff" else "replace"
            yield from (f"\\{byte:03o}" for byte in char.encode("utf-8", errors))
        elif lang == "swift":
            # Swift has no way to write half of a surrogate pair.
            point = 0xFFFD if "\ud800" <= char <= "\udfff" else ord(char)
            yield f"\\u{{{point:x}}}"
        elif lang == "python" and ord(char) > 0xFFFF:
            yield f"\\U{ord(char):08x}"
        else:
            units = char.encode("utf-16-be", "surrogatepass")
            yield from (f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
