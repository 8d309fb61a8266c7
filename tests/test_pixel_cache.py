"""The pixel cache: the same pixels as from the files, each decoded once, whoever is killed and whatever changes."""

import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import ROOT

from scarlet_zoo.cli import console
from scarlet_zoo.data import cached_split, pixel_cache
from scarlet_zoo.data.augment import Augment
from scarlet_zoo.data.batches import Batch
from scarlet_zoo.data.cached_split import CachedSplit, cached_size
from scarlet_zoo.data.datasets import open_data, trained_on
from scarlet_zoo.data.image_errors import ImageError
from scarlet_zoo.data.pixel_cache import PixelCache
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.data.sample_images import photos
from scarlet_zoo.data.sources import folder_source
from scarlet_zoo.data.splits import ImageSplit
from scarlet_zoo.errors import DatasetError, ScarletWarning

COLOUR = Preprocessing((32, 32), (0.5, 0.4, 0.3), (0.25, 0.2, 0.3), "bicubic", 0.875)
GREY = Preprocessing((28, 28), (0.3,), (0.2,), "bilinear", 1.0)
WIDE = Preprocessing((24, 40), (0.5,) * 3, (0.25,) * 3, "bilinear", 0.9)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Photographs of two classes and several sizes, as JPEG files."""
    root = tmp_path_factory.mktemp("pictures")
    for position, photo in enumerate(photos(24)):
        place = root / ("a" if position % 2 else "b")
        place.mkdir(exist_ok=True)
        photo.resize((60 + position, 50)).save(place / f"{position:02}.jpg")
    return root


def files(root):
    return sorted(root.rglob("*.jpg"))


def cache_of(root, feed=COLOUR):
    source = folder_source(files(root), [0] * len(files(root)))
    return pixel_cache.pixel_cache(source, feed, feed.size)


def counted(cache):
    """The cache, and a list of the positions whose images it opens."""
    opened = []

    def open_it(position):
        opened.append(position)
        return cache.source.open(position)

    return replace(cache, source=replace(cache.source, open=open_it)), opened


@pytest.mark.parametrize("feed", [COLOUR, GREY, WIDE], ids=["colour", "grey", "wide"])
@pytest.mark.parametrize("augment", [None, Augment(shift_px=4, erase=0.3)], ids=["plain", "shifted"])
def test_batches_are_those_of_the_opened_files_bit_for_bit(pictures, feed, augment):
    opened = open_data(str(pictures), feed, validation=6)
    cached = open_data(str(pictures), feed, validation=6, cache_gb=1)
    for part, change in (("train", augment), ("validation", None)):
        one, two = opened.part(part, change), cached.part(part, change)
        assert isinstance(one, ImageSplit)
        assert isinstance(two, CachedSplit)
        batch = Batch((3, 0, 5, 5), 11)
        for mine, theirs in zip(one.__getitems__(batch), two.__getitems__(batch), strict=True):
            assert torch.equal(mine, theirs)
            assert mine.ndim < 4 or theirs.is_contiguous(memory_format=torch.channels_last)


def test_an_image_is_decoded_once_and_the_rest_only_when_asked_for(pictures):
    cache, opened = counted(cache_of(pictures))
    rows = cache.rows([4, 2, 4])
    assert sorted(opened) == [2, 4]
    assert np.array_equal(rows[1], COLOUR.pixels(cache.source.open(2)))
    opened.clear()
    cache.fill(range(24))
    assert sorted(opened) == [place for place in range(24) if place not in (2, 4)]
    opened.clear()
    again, opened_again = counted(cache_of(pictures))
    assert np.array_equal(again.rows([4, 2, 4]), rows)
    assert not opened_again


def change_content(file):
    file.write_bytes(files(file.parents[1])[0].read_bytes())


def touch(file):
    os.utime(file, ns=(1, 1))


@pytest.mark.parametrize("change", [change_content, touch, os.unlink], ids=["content", "time", "removed"])
def test_changed_files_are_read_again(pictures, tmp_path, change):
    subprocess.run(["cp", "-rp", pictures, tmp_path / "own"], check=True)
    before = cache_of(tmp_path / "own")
    before.fill(range(24))
    change(files(tmp_path / "own")[7])
    after = cache_of(tmp_path / "own")
    assert after.key != before.key
    rows = after.rows(range(len(after.source)))
    expected = [COLOUR.pixels(after.source.open(place)) for place in range(len(after.source))]
    assert np.array_equal(rows, expected)


def test_another_preprocessing_has_another_file(pictures):
    feeds = [COLOUR, GREY, replace(COLOUR, crop=1.0), replace(COLOUR, interpolation="bilinear")]
    assert len({cache_of(pictures, feed).key for feed in feeds}) == len(feeds)
    # The deviation is divided by after the cache.
    assert cache_of(pictures, replace(COLOUR, std=(1.0,) * 3)).key == cache_of(pictures).key


def test_files_that_are_not_whole_are_made_again(pictures):
    cache = cache_of(pictures)
    rows = cache.rows(range(24))
    for ending in (".pixels", ".done"):
        os.truncate(cache.folder / f"{cache.key}{ending}", 5)
        assert np.array_equal(cache_of(pictures).rows(range(24)), rows)


def test_deleted_files_stay_readable_and_are_made_again_for_others(pictures):
    cache, opened = counted(cache_of(pictures))
    rows = cache.rows(range(12))
    opened.clear()
    for file in cache.folder.iterdir():
        file.unlink()
    assert np.array_equal(cache.rows(range(12)), rows)
    assert not opened
    assert len(cache.rows(range(24))) == 24
    assert sorted(opened) == list(range(24))


def test_a_process_that_gets_the_cache_opens_it_for_itself(pictures):
    cache = cache_of(pictures)
    rows = cache.rows(range(24))
    sent = pickle.loads(pickle.dumps(cache))
    assert not sent._opened
    assert np.array_equal(sent.rows(range(24)), rows)


SLOW = """
import sys, time
from pathlib import Path
from scarlet_zoo.data import pixel_cache
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.data.sources import Source, folder_source
pixel_cache._CHUNK, pixel_cache._CHUNKS_KEPT = 2, 1
files = sorted(Path(sys.argv[1]).rglob("*.jpg"))
source = folder_source(files, [0] * len(files))
def slow(position):
    time.sleep(float(sys.argv[2]))
    sys.stdout.write(f"{position}\\n")  # in one piece, unlike print
    return source.open(position)
feed = Preprocessing((32, 32), (0.5, 0.4, 0.3), (0.25, 0.2, 0.3), "bicubic", 0.875)
pixel_cache.pixel_cache(Source(source.targets, slow, source.fingerprint), feed, feed.size).fill(range(len(files)))
"""


def filling(root, seconds):
    return subprocess.Popen([sys.executable, "-c", SLOW, str(root), str(seconds)], stdout=subprocess.PIPE, text=True,
                            env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip


@pytest.mark.slow
def test_killed_it_keeps_whole_images_and_goes_on(pictures):
    cache, opened = counted(cache_of(pictures))
    with filling(pictures, 0.1) as job:
        while int((np.fromfile(cache._file(".done"), np.uint8) if cache._whole() else np.zeros(1)).sum()) < 6:
            assert job.poll() is None
            time.sleep(0.005)
        job.send_signal(signal.SIGKILL)
    done = np.fromfile(cache._file(".done"), np.uint8)
    assert 6 <= done.sum() < 24
    rows = cache.rows(range(24))
    assert sorted(opened) == np.flatnonzero(done == 0).tolist()
    assert np.array_equal(rows, [COLOUR.pixels(cache.source.open(place)) for place in range(24)])


@pytest.mark.slow
def test_two_processes_decode_each_image_once(pictures):
    jobs = [filling(pictures, 0.02) for _ in range(2)]
    opened = [int(line) for job in jobs for line in job.communicate(timeout=60)[0].split()]
    assert [job.returncode for job in jobs] == [0, 0]
    assert sorted(opened) == list(range(24))
    cache, mine = counted(cache_of(pictures))
    rows = cache.rows(range(24))
    assert not mine
    assert np.array_equal(rows, [COLOUR.pixels(cache.source.open(place)) for place in range(24)])


def test_what_does_not_fit_is_opened_and_said(pictures, monkeypatch):
    with pytest.warns(ScarletWarning, match=r"24 images of 32 x 32 pixels .* limit of 5e-05 GB \(--cache-limit\)"):
        split = open_data(str(pictures), COLOUR, validation=6, cache_gb=5e-5).part("train")
    assert isinstance(split, ImageSplit)
    monkeypatch.setattr(pixel_cache.shutil, "disk_usage", lambda _: type("usage", (), {"free": 10**4}))
    with pytest.warns(ScarletWarning, match="that are free in"):
        assert cache_of(pictures) is None
    assert not list((pixel_cache.cache_folder() / "pixels").iterdir())


def test_a_full_disk_is_one_line(pictures, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pixel_cache, "_write", full)
    with pytest.raises(DatasetError, match=r"No space left on device, wanted more free disk, or .*--cache-limit 0"):
        cache_of(pictures).fill(range(3))


def test_a_broken_image_names_itself_and_is_not_marked(pictures, tmp_path):
    subprocess.run(["cp", "-rp", pictures, tmp_path / "own"], check=True)
    broken = files(tmp_path / "own")[3]
    broken.write_bytes(broken.read_bytes()[:300])
    cache = cache_of(tmp_path / "own")
    for _ in range(2):
        with pytest.raises(ImageError, match=broken.name):
            cache.fill(range(24))
    assert cache.rows([4]).any()


def test_the_oldest_caches_make_room(pictures, monkeypatch):
    feeds = [replace(COLOUR, crop=crop) for crop in (1.0, 0.9, 0.8)]
    for feed in feeds[:2]:
        cache_of(pictures, feed).fill(range(24))
        time.sleep(0.02)
    first, second = (cache_of(pictures, feed) for feed in feeds[:2])
    os.utime(second._file(".done"), ns=(1, 1))  # the second was not used for the longest time
    limit = first.held + second.held + 1000
    source = first.source
    third = pixel_cache.pixel_cache(source, feeds[2], feeds[2].size, limit / 1e9)
    third.fill(range(24))
    assert [cache._whole() for cache in (first, second, third)] == [True, False, True]
    # A reader of what has gone reads it again.
    assert np.array_equal(second.rows([0])[0], feeds[1].pixels(source.open(0)))


def test_crops_are_taken_from_larger_images_but_not_larger_than_the_originals(pictures):
    source = folder_source(files(pictures), [0] * 24)
    crop = Augment(shift_px=0, crop=0.3)
    # The shorter side is 50 pixels, of which the network sees 0.875: 43.75 for 32.
    assert cached_size(source, COLOUR, crop) == (44, 44)
    assert cached_size(source, replace(COLOUR, size=(16, 16)), crop) == (24, 24)
    assert cached_size(source, replace(COLOUR, size=(16, 16)), Augment(crop=0.64)) == (20, 20)
    assert cached_size(source, replace(COLOUR, size=(64, 64)), crop) == (64, 64)
    assert cached_size(source, COLOUR, Augment()) == cached_size(source, COLOUR, None) == (32, 32)
    # 60 to 83 wide, 50 high; 0.9 of it is seen: 1.87 times 24 rows, 1.87 times 40 columns.
    assert cached_size(source, WIDE, crop) == (36, 60)


def test_crops_are_closer_to_those_of_the_originals_than_from_the_networks_size(pictures, monkeypatch):
    augment = Augment(shift_px=0, crop=0.3)
    parts = [open_data(str(pictures), COLOUR, validation=6, cache_gb=gb).part("train", augment) for gb in (0, 1)]
    batch = Batch(tuple(range(18)), 3)
    original, cached = (part.__getitems__(batch)[0] for part in parts)
    with monkeypatch.context() as patched:
        patched.setattr(cached_split, "_LARGEST_MARGIN", 1.0)
        small = open_data(str(pictures), COLOUR, validation=6, cache_gb=1).part("train", augment)
    assert small.crops_from == "32x32"
    plain = open_data(str(pictures), COLOUR, validation=6).part("train").__getitems__(batch)[0]
    lost, lost_small, moved = ((original - made).abs().mean() for made in (cached, small.__getitems__(batch)[0], plain))
    assert lost < 0.75 * lost_small < 0.4 * moved
    assert [part.crops_from for part in parts] == [None, "44x44"]
    assert torch.equal(parts[1].__getitems__(batch)[0], cached)


def test_fewer_training_images_decode_only_those(pictures, monkeypatch):
    filled = []
    monkeypatch.setattr(PixelCache, "fill", lambda self, positions: filled.append(len(positions)))
    data = trained_on(open_data(str(pictures), COLOUR, validation=6, cache_gb=1), 5)
    data.part("train").prepare()
    data.part("validation").prepare()
    assert filled == [5, 6]


def test_data_that_says_nothing_of_changes_is_not_cached():
    from scarlet_zoo.data.sources import torchvision_source

    class Made:
        targets = (0, 1, 0)

        def __len__(self):
            return 3

    source = torchvision_source(Made())
    assert source.digest is None
    assert isinstance(cached_split.source_split(np.arange(3), source, COLOUR, None, 1.0), ImageSplit)


def test_a_picked_source_is_told_by_what_was_picked(pictures):
    source = folder_source(files(pictures), range(24))
    some, same, others = (source.picked(np.array(places)) for places in ([3, 5], [3, 5], [3, 6]))
    assert some.digest == same.digest != others.digest
    assert some.targets.tolist() == [3, 5]
    assert np.array_equal(pixel_cache.pixel_cache(some, COLOUR, (32, 32)).rows([1])[0], COLOUR.pixels(source.open(5)))


def test_torchvision_and_hugging_face_say_when_they_change(tmp_path):
    from scarlet_zoo.data.sources import torchvision_source

    class Held:
        targets = (0, 1)

        def __init__(self, value):
            self.data = np.full((2, 4, 4, 3), value, np.uint8)

        def __len__(self):
            return 2

    one, same, other = (torchvision_source(Held(value)).digest for value in (1, 1, 2))
    assert one == same != other

    class OnDisk:
        targets, root = (0, 1), str(tmp_path)

        def __len__(self):
            return 2

    (tmp_path / "batch").write_bytes(b"1")
    first = torchvision_source(OnDisk()).digest
    (tmp_path / "batch").write_bytes(b"22")
    assert first != torchvision_source(OnDisk()).digest


def test_a_terminal_sees_how_far_the_decoding_is(pictures, monkeypatch):
    seen = []
    monkeypatch.setattr(console.sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(console.Progress, "add_task", lambda self, what, **_: seen.append(what) or len(seen))
    monkeypatch.setattr(console.Progress, "update", lambda self, task, **rest: seen.append((task, rest["completed"])))
    monkeypatch.setattr(console.Progress, "remove_task", lambda self, task: seen.append(f"end of {task}"))
    monkeypatch.setattr(pixel_cache, "_CHUNK", 10)
    with console.progress_bar("train"):
        cache_of(pictures).fill(range(24))
    assert seen == ["train", "decode images", (2, 10), (2, 20), (2, 24), "end of 2"]
