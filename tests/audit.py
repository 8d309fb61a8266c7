"""Ask the advisory service of PyPI about every package of an environment, by pip-audit.

``make audit`` runs this file. Exit code 0: no advisory is known. 1: some are. 2: the service cannot be reached, or has
not been asked about every package, so nothing is known.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

# A release with advisories, the first of them from 2014: a service that knows none of it has not been reached. Where
# there is a mirror of PyPI without advisories, pip-audit alone would find no vulnerability.
KNOWN = "jinja2==2.4.1"
TIMEOUT_S = 900


class UnansweredError(Exception):
    """The service has not answered, with the reason in one line."""


def ask(command, *arguments):
    """The packages that pip-audit has looked at, as its JSON has them.

    Raises:
        UnansweredError: it has not answered.
    """
    try:
        done = subprocess.run([*command, "--progress-spinner", "off", "--format", "json", *arguments],
                              capture_output=True, text=True, check=False, timeout=TIMEOUT_S)  # fmt: skip
        return json.loads(done.stdout)["dependencies"]
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnansweredError(f"pip-audit did not run: {type(error).__name__}") from error
    except (ValueError, KeyError, TypeError) as error:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise UnansweredError(f"pip-audit ended with {done.returncode}: {lines[-1][:200]}") from error


def require_service(command):
    """Ask about a release that has advisories.

    Raises:
        UnansweredError: the answer has none.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "known.txt"
        file.write_text(f"{KNOWN}\n")
        rows = ask(command, "--requirement", str(file), "--no-deps", "--disable-pip")
    if not any(row.get("vulns") for row in rows):
        raise UnansweredError(f"it knows no advisory of {KNOWN}, which has some")


def audit(command, path):
    """Write a line for each advisory and each package that was not looked at; returns the exit code."""
    require_service(command)
    rows = [row for row in ask(command, "--path", str(path), "--skip-editable") if row["name"] != "scarlet-zoo"]
    found = [(row, vulnerability) for row in rows for vulnerability in row.get("vulns") or []]
    for row, vulnerability in found:
        mended = " ".join(vulnerability["fix_versions"]) or "no version yet"
        sys.stdout.write(f"{row['name']} {row['version']}: {vulnerability['id']}, mended in {mended}\n")
    unknown = [row for row in rows if "vulns" not in row]
    for row in unknown:
        sys.stdout.write(f"{row['name']}: not looked at: {row.get('skip_reason', 'no reason')}\n")
    if found:
        sys.stderr.write(f"error: {path}: advisories for its packages: got {len(found)}, wanted none\n")
        return 1
    if unknown or not rows:
        raise UnansweredError(f"it was asked about {len(rows) - len(unknown)} of {len(rows)} packages")
    sys.stdout.write(f"{path}: no advisory is known for its packages, {len(rows)} in all\n")
    return 0


def main(arguments=None):
    """Audit an environment; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path, help="site-packages of the environment")
    parser.add_argument("--pip-audit", help="program to run in place of this environment's pip-audit")
    given = parser.parse_args(arguments)
    command = [given.pip_audit] if given.pip_audit else [sys.executable, "-m", "pip_audit"]
    try:
        return audit(command, given.path)
    except UnansweredError as error:
        sys.stderr.write(f"error: audit: the advisory service cannot be reached or asked: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
