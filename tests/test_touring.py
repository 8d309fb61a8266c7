"""The whole way in one command."""

import json

import pytest
from conftest import FASHION

# Nothing here is about how long a network takes.
pytestmark = pytest.mark.usefixtures("brief_measurements")


@pytest.mark.slow
def test_a_smoke_tour_goes_the_whole_way_and_can_be_taken_up_again(scarlet, tmp_path):
    space = tmp_path / "mine.toml"
    space.write_text(
        'name = "mine"\nin_chans = 1\ninput_size = 28\n'
        "stem_width = 8\nfirst_width = 8\nhead_width = 64\nstages = [[16, 2, 2], [24, 2, 2]]\nkernel_sizes = [3]\n"
    )
    arguments = ("tour", "--smoke", "--space", space, "--data-dir", FASHION, "--validation", 1000, "--threads", 1)
    code, out, err = scarlet(*arguments, "--out", tmp_path, "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert report["chosen"]["arch"].startswith("mine:")
    assert report == json.loads((tmp_path / "tour.json").read_text())
    arch = report["chosen"]["arch"]
    assert report["network"]["arch"] == report["deployment"]["arch"] == arch
    assert report["network"]["from"].startswith("supernet ")
    assert report["deployment"]["parity"]["passed"] is True
    assert report["deployment"]["artifact"]["metadata"]["arch"] == arch
    # The file answers as the network did that was trained.
    assert abs(report["validation_top1"] - report["network"]["top1"][-1]) <= 0.04
    assert arch in (tmp_path / "tour.md").read_text()
    for name in ("supernet/steps.jsonl", "search/front.png", "derived/archs.json", "network/model.safetensors"):
        assert (tmp_path / name).is_file()
    before = (tmp_path / "supernet" / "steps.jsonl").read_text()
    code, out, _ = scarlet(*arguments, "--out", tmp_path, "--json")
    assert code == 0
    assert json.loads(out)["chosen"] == report["chosen"]
    assert (tmp_path / "supernet" / "steps.jsonl").read_text() == before
