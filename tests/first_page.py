"""The first page's lines; ``python tests/first_page.py ENVIRONMENT`` runs them with only what is installed there."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def first_page(readme):
    """The lines that install, the verbs, and the Python of the README's first thirty lines."""
    head = "\n".join(readme.splitlines()[:30])
    (shell,) = re.findall(r"```sh\n(.*?)```", head, re.DOTALL)
    (python,) = re.findall(r"```python\n(.*?)```", head, re.DOTALL)
    lines = shell.strip().splitlines()
    verbs = [line for line in lines if line.startswith("scarlet-zoo ")]
    return "\n".join(lines[: -len(verbs)]), verbs, python


def main():
    """Run the verbs and the Python in an empty folder, with the programs of an environment."""
    programs = Path(sys.argv[1]).resolve() / "bin"
    _, verbs, python = first_page((ROOT / "README.md").read_text())
    with tempfile.TemporaryDirectory() as folder:
        own = {"PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin", "HOME": folder, "OMP_WAIT_POLICY": "PASSIVE"}
        kept = {name: os.environ[name] for name in os.environ if name.lower().endswith("_proxy")}
        (Path(folder) / "three.py").write_text(python)
        script = "\n".join(["set -eux", *verbs, "python three.py"])
        sys.exit(subprocess.run(["bash", "-c", script], cwd=folder, env={**kept, **own}, check=False).returncode)


if __name__ == "__main__":
    main()
