"""Series of commands whose journal says what is finished, and networks that cost as much as one of ours."""

import json

import pytest
from conftest import FASHION

from scarlet_zoo.arch.cost import arch_cost
from scarlet_zoo.arch.spaces import get_space
from scarlet_zoo.errors import CheckFailedError
from scarlet_zoo.evidence.commands import Command, Journal, run_commands
from scarlet_zoo.evidence.same_cost import drawn, side_of
from scarlet_zoo.models.cost import model_cost
from scarlet_zoo.models.scarlet import create_model


def pictures(name, count, **fields):
    words = ("pictures", "fashion-mnist", "--split", "test", "--max-images", str(count))
    return Command(name, words, here=("--data-dir", str(FASHION)), **fields)


@pytest.mark.slow
def test_what_the_journal_has_is_not_run_again(tmp_path):
    journal, work = Journal(tmp_path / "journal.jsonl"), tmp_path / "work"
    broken = Command("broken", ("pictures", "fashion-mnist", "--data-dir", "nowhere"))
    with pytest.raises(CheckFailedError, match=r"broken: exit 2: error: .*nowhere"):
        run_commands([pictures("one", 1), broken, pictures("two", 2)], journal, work, at_once=2)
    # What failed keeps nobody else from finishing.
    assert set(journal.rows) == {"one", "two"}
    assert journal.rows["two"]["command"] == [*pictures("two", 2).words]
    assert len(list((work / "two").glob("*.png"))) == 2
    before = journal.path.read_text()
    run_commands([pictures("one", 1)], Journal(journal.path), tmp_path / "elsewhere")
    assert journal.path.read_text() == before
    assert not (tmp_path / "elsewhere" / "one").exists()
    # A file that others need is made again where it is not.
    run_commands([pictures("one", 1, keeps="one/none.png")], journal, tmp_path / "elsewhere")
    assert list((tmp_path / "elsewhere" / "one").glob("*.png"))
    assert [json.loads(line)["name"] for line in journal.path.read_text().splitlines()].count("one") == 2
    with pytest.raises(CheckFailedError, match=r"one: got the command pictures .* 1, wanted pictures .* 3"):
        run_commands([pictures("one", 3, keeps="one/none.png")], journal, work)


@pytest.mark.parametrize("macs", [6_000_000, 25_000_000])
def test_drawn_architectures_cost_what_was_asked_for_and_are_always_the_same(macs):
    found = drawn(get_space("scarlet-cifar"), macs, 3)
    assert len(set(map(str, found))) == 3
    assert all(0.94 * macs <= arch_cost(arch).macs <= macs for arch in found)
    assert list(map(str, drawn(get_space("scarlet-cifar"), macs, 3))) == list(map(str, found))


@pytest.mark.slow
def test_a_rivals_input_is_as_large_as_makes_it_cost_the_same():
    side = side_of("tinynet_e", 6_000_000, 3)
    model = create_model("tinynet_e", num_classes=10).eval()
    apart = [abs(model_cost(model, (3, pixels, pixels)).macs - 6_000_000) for pixels in (side - 4, side, side + 4)]
    assert min(apart) == apart[1] < 600_000
