"""The README's first lines run as typed, in a copy of the checkout, as a newcomer's."""

import json
import re
import sys
from pathlib import Path

import pytest
from clone_parts import cloned, run
from first_page import first_page

from scarlet_zoo.deployment.targets import TARGETS
from scarlet_zoo.evidence.report.latency import Peers
from scarlet_zoo.evidence.report.readme import readme_table, with_table
from scarlet_zoo.measurement.published import published_peers
from scarlet_zoo.models.weights.cards import all_cards

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


# The weights and the targets' recipes are in the installed package, too.
INSTALLED = """
import json
import timm
from scarlet_zoo.deployment import recipes, targets

names = timm.list_models(["scarlet_mini*", "scarlet_cifar*"], pretrained=True)
for name in names:
    timm.create_model(name, pretrained=True)
print(json.dumps({"file": zoo.__file__, "pretrained": names, "recipes": str(recipes.RECIPES_FOLDER),
                  "targets": list(targets.TARGETS)}))
"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    return cloned(tmp_path_factory.mktemp("clone"))


@pytest.mark.slow
def test_the_first_thirty_lines_run_as_typed(clone):
    install, verbs, python = first_page(README)
    assert "pip install '.[all]'" in install
    python311 = Path(sys.base_prefix) / "bin"
    out = run(clone, f"set -eu; PATH={python311}:$PATH\n" + "\n".join([install, *verbs]))
    assert "mobilenetv3_small_100" in out
    assert "UNKNOWN" not in out
    # Elsewhere, where only what is installed can be imported.
    (clone / "app").mkdir()
    (clone / "app" / "three.py").write_text(python + INSTALLED)
    out = run(clone, ". .venv/bin/activate; cd app; python three.py")
    assert re.search(r"^\d+ dB; [\d.]+ ms \(90 % of \d+ runs within [\d.]+ ms\)", out, re.MULTILINE)
    installed = json.loads(out.splitlines()[-1])
    assert str(clone / ".venv") in installed["file"], "what ran was not what was installed"
    assert set(installed["pretrained"]) >= {name for name, card in all_cards().items() if card.redistributed}
    assert Path(installed["recipes"]).parts[-3:] == ("scarlet_zoo", "_export", "recipes")
    assert installed["targets"] == list(TARGETS)


def test_where_scarlet_loses_is_the_evidence():
    measured = json.loads((ROOT / "benchmarks" / "results" / "peers.json").read_text())
    peers = Peers(measured, [peer.model_dump() for peer in published_peers()])
    told = " ".join(README.partition("## What is not ours")[2].partition("## Install")[0].split())
    for name in ("mobilenetv3_large_100", "scarlet_c"):
        assert f"({peers.float_ms(name):.2f} ms, {peers.top1[name]:.1f} %)" in told
    assert peers.float_ms("mobilenetv3_large_100") < peers.float_ms("scarlet_c")
    assert peers.top1["mobilenetv3_large_100"] > peers.top1["scarlet_c"]
    ours = [name for name in peers.networks if name.startswith("scarlet")]
    assert min(map(peers.float_ms, ours)) > 7
    assert peers.top1["efficientnet_b0"] > max(peers.top1[name] for name in ours)
    assert peers.float_ms("efficientnet_b0") > max(map(peers.float_ms, ours))
    rows = json.loads((ROOT / "benchmarks" / "results" / "rank.json").read_text())["rows"]
    taus = {
        row["recipe"]: row["tau"]["value"] for row in rows if row["strategy"] is not None or row["recipe"] == "macs"
    }
    assert max(taus, key=taus.get) == "macs"


def test_the_tour_is_as_long_as_is_said():
    lines = len((ROOT / "docs" / "tour.py").read_text().splitlines())
    for page in (README, (ROOT / "docs" / "architecture.md").read_text()):
        assert f"the whole way in {lines} lines" in " ".join(page.split())


def test_its_table_is_the_evidence():
    measured = json.loads((ROOT / "benchmarks" / "results" / "peers.json").read_text())
    published = [peer.model_dump() for peer in published_peers()]
    assert with_table(README, measured, published) == README
    assert "7.22" in readme_table(measured, published)
    without = json.loads(json.dumps(measured).replace("avx512_vnni", "avx2"))
    assert "not here" in readme_table(without, published)
