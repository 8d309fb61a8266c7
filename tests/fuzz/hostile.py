"""Hostile input made from a valid example: each function draws from a random generator and returns a changed copy.

The generator is hypothesis's in the tests, which then shrinks what it finds, and Python's own in ``make fuzz``, where
a case is a number that gives the same input again.
"""

import copy
import json
import re

HUGE = 10**400
NUMBERS = (0, -1, 1, 2, 255, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, HUGE, -HUGE, 0.0, -0.0, 0.5, 1e-320, 1e300,
           -1e308, float("nan"), float("inf"), float("-inf"))  # fmt: skip
TEXTS = (
    "", " ", "\n", "\r\n", "\t", "\0", "\x1b[31m", "\x7f", "\N{SUPERSCRIPT TWO}", "\N{ARABIC-INDIC DIGIT THREE}",
    "\N{FULLWIDTH DIGIT ONE}", "\u202e", "\u200b", "\u2028", "\ufeff", "\ud800", "\udcff", "e\u0301", "\U0001f9e8",
    "x" * 300, "x" * 70_000, "9" * 5000, "1" + "0" * 400, "-1", "0", "1e999", "-1e999", "1e-999", "nan", "inf", "NaN",
    "true", "null", "none", "0x10", "1_000", "1.5", "1/2", "../x", "../../x", "/", "\\", "/etc/passwd", "/dev/zero",
    ".", "..", "~", "-", "--", "--out", "*", "[/b]", "[b]", "%s", "%n", "{}", "{0}", "$(id)", "`id`", ";", ",", ":",
    "=", "+", "a,b", "a:b", "a=b", "<script>", "[" * 5000, "{", "}", '"', "'", "#",
)  # fmt: skip
SCALARS = (*NUMBERS, *TEXTS, True, False, None)
TOML = ("inf", "-inf", "nan", "1e999", "9" * 5000, "1" + "0" * 400, "-1", "0", "0.5", "true", '""', '"\\u0000"',
        '"\\u202e"', "[]", "[[]]", "{}", "[1, 'a']", "1979-05-27T07:32:00Z", "07:32:00", "[" * 3000,
        "9223372036854775808", "'''", "{a = 1}",
        '"../x"', '"\N{SUPERSCRIPT TWO}"', "\N{SUPERSCRIPT TWO}", "4096", "2.0")  # fmt: skip
KEYS = ("x", '"a b"', "a.b", "name", "[t]\ny")
MAGIC = (b"\0", b"\xff", b"\x7f", b"\x80", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80",
         b"\xff" * 8, b"\xff\xff\xff\xff\xff\xff\xff\x7f", b"\0" * 64, b"\xff" * 64, b"\x80" * 10, b"PK\3\4",
         b"\x1f\x8b", b"{", b"[" * 500, b"\xed\xa0\x80", b"\xc0\x80")  # fmt: skip


def a_scalar(rng):
    """A number or a text that readers stumble over, or nothing, true, false."""
    return rng.choice(SCALARS)


def a_value(rng):
    """A JSON value that readers stumble over."""
    kind = rng.randrange(8)
    if kind < 5:
        return a_scalar(rng)
    if kind == 5:
        return [a_scalar(rng) for _ in range(rng.randrange(4))]
    if kind == 6:
        return {str(a_scalar(rng))[:300]: a_scalar(rng) for _ in range(rng.randrange(4))}
    value = a_scalar(rng)
    for _ in range(rng.choice((1, 3, 99, 101, 150))):
        value = [value] if rng.random() < 0.5 else {"a": value}
    return value


def times(rng):
    """How many changes are made to one example: mostly one, so that most of it stays valid."""
    return rng.choice((1, 1, 1, 1, 2, 2, 3, 5))


def _places(value, most=400):
    """The (holder, key) pairs of a nested value, at most so many."""
    found, level = [], [value]
    while level and len(found) < most:
        inner = []
        for holder in level:
            pairs = list(holder.items()) if isinstance(holder, dict) else list(enumerate(holder[:50]))
            found += [(holder, key) for key, _ in pairs]
            inner += [item for _, item in pairs if isinstance(item, (dict, list)) and item]
        level = inner
    return found[:most]


def value(rng, example):
    """A copy of a JSON value in which some places hold something else."""
    changed = [copy.deepcopy(example)]
    for _ in range(times(rng)):
        holder, key = rng.choice(_places(changed))
        other, other_key = rng.choice(_places(changed))
        kind = rng.randrange(8)
        if kind == 0 and holder is not changed:
            del holder[key]
        elif kind == 1 and isinstance(holder, dict):
            holder[str(a_scalar(rng))[:300]] = a_value(rng)
        elif kind == 2:
            holder[key] = copy.deepcopy(other[other_key])
        elif kind == 3 and isinstance(holder[key], str):
            holder[key] = text(rng, holder[key])
        elif kind == 4:
            holder[key] = [holder[key]] if rng.random() < 0.5 else {"a": holder[key]}
        elif kind == 5 and isinstance(holder[key], list):
            holder[key] = holder[key] * rng.choice((0, 2, 100)) if len(holder[key]) < 1000 else []
        else:
            holder[key] = a_value(rng)
    return changed[0]


def json_text(rng, example):
    """A changed value as JSON text, sometimes broken as text too."""
    made = json.dumps(value(rng, example), ensure_ascii=rng.random() < 0.5)
    return text(rng, made) if rng.random() < 0.15 else made


def text(rng, example):
    """A copy of a text with hostile parts in it."""
    changed = example
    for _ in range(times(rng)):
        kind, start = rng.randrange(9), rng.randrange(len(changed) + 1)
        end = min(start + rng.choice((1, 1, 2, 5, 20)), len(changed))
        digits = [found.span() for found in re.finditer(r"[0-9][0-9.]*", changed[:20_000])]
        if kind == 0:
            changed = changed[:start] + changed[end:]
        elif kind == 1:
            changed = changed[:start] + rng.choice(TEXTS) + changed[start:]
        elif kind == 2:
            changed = changed[:start] + rng.choice(TEXTS) + changed[end:]
        elif kind == 3:
            changed = changed[:start] + changed[start:end] * 2 + changed[end:]
        elif kind in (4, 5) and digits:
            first, last = rng.choice(digits)
            changed = changed[:first] + str(a_scalar(rng) if kind == 4 else rng.choice(NUMBERS)) + changed[last:]
        elif kind == 6:
            changed = changed[:start]
        elif kind == 7:
            changed = changed[:start] + chr(rng.choice((rng.randrange(128), rng.randrange(0x3000)))) + changed[end:]
        elif rng.random() < 0.2:
            changed = rng.choice(TEXTS)
    return changed


def toml_text(rng, example):
    """A copy of a TOML text with other values, missing, doubled and unknown keys."""
    lines = example.splitlines()
    for _ in range(times(rng)):
        number, kind = rng.randrange(len(lines)), rng.randrange(6)
        name, mark, _ = lines[number].partition("=")
        if kind == 0 and len(lines) > 1:
            del lines[number]
        elif kind == 1:
            lines.insert(number, rng.choice(lines))
        elif kind == 2:
            lines.insert(number, f"{rng.choice(KEYS)} = {rng.choice(TOML)}")
        elif kind == 3:
            lines[number] = text(rng, lines[number])
        elif mark:
            lines[number] = f"{name}= {rng.choice(TOML)}"
    return "\n".join(lines) + "\n"


def content(rng, example):
    """A copy of some bytes with flipped bits, other words, and parts that are missing, doubled or new."""
    changed = bytearray(example)
    for _ in range(times(rng)):
        kind, start = rng.randrange(8), rng.randrange(len(changed) + 1)
        if rng.random() < 0.5:  # where headers are
            start = min(start, rng.randrange(64))
        if kind in (0, 1) and start < len(changed):
            changed[start] ^= 1 << rng.randrange(8)
        elif kind == 2:
            magic = rng.choice(MAGIC)
            changed[start : start + len(magic)] = magic
        elif kind == 3:
            changed[start:start] = rng.choice(MAGIC)
        elif kind == 4:
            del changed[start : start + rng.choice((1, 2, 4, 8, 100))]
        elif kind == 5 and rng.random() < 0.5:
            del changed[start:]
        elif kind == 6:
            other = rng.randrange(len(changed) + 1)
            changed[start : start + 16] = changed[other : other + 16]
        elif start < len(changed):
            changed[start] = rng.randrange(256)
    return bytes(changed)
