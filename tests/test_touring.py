"""The whole way in one command."""

import json
from itertools import count
from types import SimpleNamespace

import pytest
from conftest import FASHION
from training_parts import FEED

from scarlet_zoo.data.sample_images import photos
from scarlet_zoo.errors import ScarletError
from scarlet_zoo.nas import space_of_data, tour, tour_time
from scarlet_zoo.nas.tour_settings import TourSettings
from scarlet_zoo.nas.tour_time import TourTime
from scarlet_zoo.training.run import DataPlan

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


def test_a_tour_refuses_broken_images_or_leaves_them_out(scarlet, tmp_path, monkeypatch):
    for number, photo in enumerate(photos(8)):
        (tmp_path / "data" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        photo.resize((32, 32)).save(tmp_path / "data" / "ab"[number % 2] / f"{number}.png")
    (tmp_path / "data" / "a" / "broken.png").write_bytes(b"no image")
    command = ("tour", "--smoke", "--space", "scarlet-rgb32", "--data", tmp_path / "data", "--out", tmp_path / "out")
    code, _, err = scarlet(*command)
    assert (code, err.count("\n")) == (2, 1)
    assert "1 of 9 images cannot be read: not an image: a/broken.png; wanted readable images, or --skip-broken" in err

    def opened(*_, data, **__):
        raise ScarletError(f"got {len(data.open(FEED).part('train'))} images")

    monkeypatch.setattr(tour, "train_supernet", opened)
    _, _, err = scarlet(*command, "--skip-broken")
    assert "skipped 1 of 9 files" in err
    assert "got 6 images" in err


def test_a_tour_takes_as_many_images_as_fit_into_its_time_and_says_so(scarlet, tmp_path, monkeypatch):
    whole = TourTime(images=45_000, supernet=1500, search=500, network=3000)
    monkeypatch.setattr(tour_time, "measured", lambda *_: whole)
    monkeypatch.setattr(space_of_data, "number_of_images", lambda _: 45_000)
    asked = []

    def trained(*_, data, **__):
        asked.append(data.images)
        raise ScarletError("enough")

    monkeypatch.setattr(tour, "train_supernet", trained)
    for _ in range(2):
        assert scarlet("tour", "--data", "photographs", "--out", tmp_path, "--minutes", 45)[0] == 2
        # What was found holds for the whole run, however fast the machine is when it goes on.
        monkeypatch.setattr(tour_time, "measured", None)
    assert asked == [17_500] * 2
    told = str(TourTime(**json.loads((tmp_path / "plan.json").read_text())))
    assert told == (
        "with 17,500 training images this takes about 38 minutes here: the supernet 10, the search 8, the network 19, "
        "its file 1"
    )
    assert whole.within(1, fewest=256).images == 256
    assert whole.within(1000, fewest=256) == whole


@pytest.mark.slow
def test_the_time_of_a_tour_is_that_of_its_steps_and_evaluations(tmp_path, monkeypatch):
    """By a clock on which each step, and two evaluations together, take a second."""
    space = tmp_path / "mine.toml"
    space.write_text('name = "mine"\nin_chans = 1\ninput_size = 28\nstem_width = 8\nfirst_width = 8\n'
                     "head_width = 64\nstages = [[16, 2, 2], [24, 1, 2]]\nkernel_sizes = [3]\n")  # fmt: skip
    seconds = count()
    monkeypatch.setattr(tour_time, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    settings = TourSettings.usual(1)
    found = tour_time.measured(settings, DataPlan(name="fashion-mnist", folder=FASHION, validation=55_000), str(space))
    assert found.images == 5_000
    assert found.supernet == settings.supernet.epochs * (5_000 // settings.supernet.batch_size)
    assert found.network == settings.network.epochs * (5_000 // settings.network.batch_size)
    assert found.search == settings.evaluations / 2
