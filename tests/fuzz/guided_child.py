"""Let atheris fuzz one parser in this process: guided.py starts it.

Only what is imported under atheris is guided by its branches, so nothing of the package may be imported before.
"""

import random
import sys
from pathlib import Path

import atheris

FIRST_CASES = 300
MOST_BYTES_OF_INPUT = 65_536
MOST_SECONDS, MOST_MIB = 35, 4096

with atheris.instrument_imports(include=["scarlet_zoo"]):
    from judge import judge
    from parsers import PARSERS


def main(name, seconds, findings, corpus):
    """Fuzz until the time is over, which ends the process with 0, or until a fault, which it keeps in a file."""
    parser = PARSERS[name]
    cases = [parser.make(random.Random(f"guided:{name}:{number}")) for number in range(FIRST_CASES)]
    with atheris.instrument_imports(include=["scarlet_zoo"]):
        for case in cases:  # imports what the parser imports only when it is used
            judge(parser, case)
    to_case = as_text if isinstance(cases[0], str) else bytes

    def one(data):
        found, _ = judge(parser, to_case(data))
        if found not in ("accepted", "refused"):
            raise RuntimeError(found)

    for number, case in enumerate(cases):
        content = case if isinstance(case, bytes) else case.encode("utf-8", "surrogatepass")
        (Path(corpus) / str(number)).write_bytes(content[:MOST_BYTES_OF_INPUT])
    limits = (f"-max_total_time={seconds}", f"-max_len={MOST_BYTES_OF_INPUT}", f"-timeout={MOST_SECONDS}",
              f"-rss_limit_mb={MOST_MIB}", f"-artifact_prefix={findings}/{name}-", "-print_final_stats=1")  # fmt: skip
    atheris.Setup([sys.argv[0], *limits, corpus], one)
    atheris.Fuzz()


def as_text(data):
    """A text of any bytes; halves of characters are kept, as a case of a parser may have them."""
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("latin-1")


if __name__ == "__main__":
    main(*sys.argv[1:])
