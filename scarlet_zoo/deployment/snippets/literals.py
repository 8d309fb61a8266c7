"""Text of unknown origin as string literals and comments that it cannot break out of."""

from __future__ import annotations

from collections.abc import Iterator

# Everything else is escaped, so that no quote, newline, comment mark, template mark or trigraph is left.
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 .,_-+=:;()[]'&#!%")


def literal(text: str, lang: str) -> str:
    """A string literal in double quotes, of ASCII characters, whose value is the text."""
    return f'"{"".join(_escaped(text, lang))}"'


def comment(text: str) -> str:
    """The text within one line of a comment; what is not plain is shown as its code point."""
    return "".join(char if char in _PLAIN else f"U+{ord(char):04X}" for char in text)


def _escaped(text: str, lang: str) -> Iterator[str]:
    for char in text:
        if char in _PLAIN:
            yield char
        elif lang == "cpp":
            # Three octal digits a byte of UTF-8: never longer, whatever follows.
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
