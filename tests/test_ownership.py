"""Two runs never mix, a killed one leaves nothing behind, and no name leads out of its folder."""

import json
import multiprocessing
import resource
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import FASHION
from process_parts import command_line, started
from strategy_parts import MINI_TOML

from scarlet_zoo.arch.zoo import safe_name
from scarlet_zoo.cli import main
from scarlet_zoo.errors import ScarletError
from scarlet_zoo.latency import statistics
from scarlet_zoo.measurement.record_folder import Results, file_name
from scarlet_zoo.measurement.records import check_record, read_records
from scarlet_zoo.utils import ownership
from scarlet_zoo.utils.files import replacing, write_text
from scarlet_zoo.utils.locks import try_lock
from scarlet_zoo.utils.names import MOST_BYTES, as_file_name, check_file_name
from scarlet_zoo.utils.ownership import folder_beside, own_folder, owned_file, owned_folder, with_locks

EVIDENCE = Path(__file__).parents[1] / "benchmarks" / "results"


def hold(folder, kind):
    """Own a folder or a file in a process of its own until it is killed."""
    with owned_folder(Path(folder)) if kind == "folder" else owned_file(Path(folder) / "x.onnx"):
        Path(f"{folder}.held").touch()
        time.sleep(600)


def half_written(path):
    with replacing(Path(path)) as temporary:
        temporary.write_text("half")
        Path(f"{path}.begun").touch()
        time.sleep(600)


def until(what, timeout_s=60):
    end = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_a_process_owns_is_no_other_ones_until_it_is_killed(kind, tmp_path):
    folder = tmp_path / "out"
    mine = owned_folder if kind == "folder" else lambda path: owned_file(path / "x.onnx")
    with started(hold, str(folder), kind) as other:
        until(Path(f"{folder}.held").exists)
        with pytest.raises(ScarletError, match="another run writes"), mine(folder):
            pass
        other.send(signal.SIGKILL)
        other.wait()
    with mine(folder):
        pass
    assert not list(folder.iterdir())


def wait_for_word(began, end):
    began.set()
    end.wait(60)


def test_the_children_of_a_run_do_not_keep_what_it_owned(tmp_path):
    fork = multiprocessing.get_context("fork")
    began, end = fork.Event(), fork.Event()
    child = fork.Process(target=wait_for_word, args=(began, end), daemon=True)
    with owned_folder(tmp_path):
        child.start()
        assert began.wait(60)
    try:
        with owned_folder(tmp_path):
            assert child.is_alive()
    finally:
        end.set()
        child.join()


def test_threads_of_one_process_are_runs_too(tmp_path):
    with owned_folder(tmp_path), pytest.raises(ScarletError, match="another run writes"), owned_folder(tmp_path):
        pass
    with owned_file(tmp_path / "a"), owned_file(tmp_path / "b"):
        pass


def test_what_a_refused_run_created_is_gone_unless_it_holds_anything(tmp_path):
    def refused(folder, *written):
        with pytest.raises(ScarletError, match="refused"), owned_folder(folder):
            for name in written:
                (folder / name).touch()
            raise ScarletError("refused")

    refused(tmp_path / "new" / "out")
    assert not (tmp_path / "new").exists()
    refused(tmp_path / "kept" / "out", "log")
    assert (tmp_path / "kept" / "out" / "log").is_file()
    (tmp_path / "mine").mkdir()
    refused(tmp_path / "mine")
    assert (tmp_path / "mine").is_dir()


def test_a_folder_that_is_removed_before_it_is_locked_is_made_anew(tmp_path, monkeypatch):
    tried = []

    def removing(handle):
        tried.append(handle)
        if len(tried) == 1:  # the owner before has failed
            (tmp_path / "out").rmdir()
        return try_lock(handle)

    monkeypatch.setattr(ownership, "try_lock", removing)
    with owned_folder(tmp_path / "out"):
        assert (len(tried), (tmp_path / "out").is_dir()) == (2, True)


def test_a_function_owns_its_folder_until_it_returns_or_raises(tmp_path):
    @with_locks
    def outer(fails):
        own_folder(tmp_path)
        inner()
        with pytest.raises(ScarletError, match="another run writes"), owned_folder(tmp_path):
            pass
        if fails:
            raise ValueError("on purpose")

    @with_locks
    def inner():
        own_folder(tmp_path / "part")

    outer(fails=False)
    with pytest.raises(ValueError, match="on purpose"):
        outer(fails=True)
    outer(fails=False)


def test_what_a_killed_writer_left_is_taken_over_or_removed(tmp_path):
    for name in ("a.json", "b.json"):
        with started(half_written, str(tmp_path / name)) as other:
            until((tmp_path / f"{name}.begun").exists)
            other.kill()
        (tmp_path / f"{name}.begun").unlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.json.tmp", ".b.json.tmp"]
    write_text(tmp_path / "a.json", "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".b.json.tmp", "a.json"]
    with owned_folder(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "whole"


def test_two_writers_of_one_file_do_not_touch_each_others_half(tmp_path):
    path = tmp_path / "a.json"
    with replacing(path) as one:
        one.write_text("one")
        write_text(path, "two")
        with owned_folder(tmp_path):
            assert one.read_text() == "one"
    assert path.read_text() == "one"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: write_text(path, chr(65 + number % 26) * 5000), range(300)))
    assert path.read_text() == path.read_text()[0] * 5000
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_beside_a_file_is_empty_whatever_a_killed_run_left(tmp_path):
    path = tmp_path / "x.onnx"
    (tmp_path / ".x.onnx.work").mkdir()
    (tmp_path / ".x.onnx.work" / "old").touch()
    with folder_beside(path) as folder:
        assert not list(folder.iterdir())
        with pytest.raises(ScarletError, match="another run writes"), folder_beside(path):
            pass
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_second_training_into_a_folder_is_one_line_and_the_first_goes_on(tmp_path, scarlet):
    space, out = tmp_path / "small.toml", tmp_path / "net"
    space.write_text(MINI_TOML)
    command = ["supernet", "train", "--space", space, "--data", "fashion-mnist", "--data-dir", FASHION, "--pictures",
               2000, "--batch-size", 16, "--max-steps", 60, "--out", out, "--json"]  # fmt: skip
    with command_line(*command) as job:
        until(lambda: (out / "steps.jsonl").is_file() and (out / "steps.jsonl").read_text().count("\n") > 2)
        code, printed, error = scarlet(*command[:-3], "--seed", 1, "--out", out)
        assert (code, printed) == (2, "")
        assert (
            error == f"error: folder {out}: another run writes into it, wanted another --out, or to wait for its end\n"
        )
        code, _, error = scarlet(
            "train", "scarlet_mini_s", "--data", "fashion-mnist", "--data-dir", FASHION, "--out", out
        )
        assert code == 2
        assert "another run writes into it" in error
        assert job.wait() == 0
    report = json.loads((out / "run.json").read_text())
    assert (report["steps"], report["settings"]["seed"]) == (60, 0)
    assert len((out / "steps.jsonl").read_text().splitlines()) == 60


def some_record(device="phone"):
    content = json.loads((EVIDENCE / "cifar10.json").read_text())[0]["record"]
    samples = content["samples_ms"][:20]
    conditions = {**content["conditions"], "device": device, "burst": 5}
    content |= {"samples_ms": samples, **statistics(samples), "runs": 20, "opening_of_sample": [0] * 20}
    return check_record({**content, "conditions": conditions, "stable": None, "attempts": None})


@pytest.mark.slow
def test_a_thousand_records_from_sixteen_pages_are_all_kept(tmp_path):
    results, record = Results(tmp_path), some_record()
    with ThreadPoolExecutor(16) as pool:
        paths = list(pool.map(lambda _: results.add(record), range(1000)))
    assert set(paths) == {tmp_path / "phone.json"}
    assert len(read_records(paths[0])) == len(results.received) == 1000
    assert [path.name for path in tmp_path.iterdir()] == ["phone.json"]


def test_two_servers_of_one_folder_keep_each_others_records(tmp_path):
    results, record = [Results(tmp_path), Results(tmp_path)], some_record()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: results[number % 2].add(record), range(60)))
    assert len(read_records(tmp_path / "phone.json")) == 60


def test_a_record_is_on_disk_when_it_is_acknowledged(tmp_path):
    results, seen = Results(tmp_path), []

    def add():
        path = results.add(some_record())
        seen.append(len(read_records(path)))

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8
    assert min(seen) >= 1
    assert max(seen) == 8


def test_devices_that_a_file_system_takes_for_one_have_their_own_files(tmp_path):
    results = Results(tmp_path)
    names = [results.name_of(f"{number:032x}", name) for number, name in
             enumerate(("Pixel 8", "pixel 8", "PIXEL-8", "\N{FULLWIDTH LATIN CAPITAL LETTER P}ixel 8"))]  # fmt: skip
    files = [results.file_of(name).name.casefold() for name in names]
    assert len(set(files)) == 4
    assert names[0] == "Pixel 8"
    assert results.name_of(f"{0:032x}", "other") == "Pixel 8"


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a\\b", ".hidden", "x" * 121, "\N{SNOWMAN}" * 41,
                                  "a\nb", "a\0b", "a\x7fb", "a\N{RIGHT-TO-LEFT OVERRIDE}b", "a\N{ZERO WIDTH SPACE}b",
                                  "a\ud800b", " a", "a "])  # fmt: skip
def test_what_is_no_files_name_is_refused(name):
    with pytest.raises(ScarletError, match="wanted a file's name") as caught:
        check_file_name(name, "name")
    assert str(caught.value).isascii()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a", "my phone", "net.v2", "x" * 120, "\N{SNOWMAN}" * 40, "-"])
def test_what_is_a_files_name_stays(name, tmp_path):
    assert check_file_name(name, "name") == name
    (tmp_path / f"{name}.onnx").touch()


@pytest.mark.parametrize("text", ["../../etc", "a/b:c", "", "...", "\N{SNOWMAN}" * 300, "x" * 300, "a\nb", "\ud800"])
def test_any_text_becomes_a_files_name_in_its_folder(text, tmp_path):
    for make in (lambda t: as_file_name(t, "network"), safe_name, file_name):
        name = make(text)
        path = tmp_path / f"{name}.safetensors"
        path.touch()
        assert path.parent == tmp_path
        assert path.resolve().parent == tmp_path.resolve()
        assert 0 < len(name.encode()) <= MOST_BYTES
    assert as_file_name("x" * 300, "n") != as_file_name("x" * 299, "n")


def test_derive_refuses_names_that_lead_out_or_swallow_one_another(scarlet, tmp_path):
    code, _, error = scarlet("search", "--space", "scarlet-mini", "--objectives", "macs:max,params", "--evaluations", 8,
                             "--population", 4, "--out", tmp_path / "found")  # fmt: skip
    assert code == 0, error
    front = json.loads((tmp_path / "found" / "front.json").read_text())["front"]
    assert len(front) >= 2
    for names, why in (("../../X,b", "got '../../X'"), ("a,a", "got 'a' and 'a'"), ("a,A", "got 'a' and 'A'"),
                       ("a,", "got ''")):  # fmt: skip
        code, printed, error = scarlet("derive", tmp_path / "found" / "front.json", "--choose", "0,1", "--names", names,
                                       "--out", tmp_path / "own")  # fmt: skip
        assert (code, printed) == (2, "")
        assert why in error
        assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["found"]


@pytest.mark.parametrize(("key", "value"), [
    ("runs", 10**400), ("load_ms", 1e300), ("first_ms", 1e300), ("peak_rss_bytes", 10**400),
    ("conditions.threads", 10**400), ("conditions.seconds", 1e300), ("conditions.cores", 10**400),
])  # fmt: skip
def test_a_record_that_no_device_makes_is_refused(key, value):
    content = some_record().to_dict()
    place = content["conditions"] if key.startswith("conditions.") else content
    place[key.removeprefix("conditions.")] = value
    with pytest.raises(ScarletError, match=key) as caught:
        check_record(content)
    assert len(str(caught.value)) < 300


def with_little_room(bytes_, *arguments):
    """The command line where no file can be larger, as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, bytes_))
    main.main(list(arguments))


@pytest.mark.slow
@pytest.mark.parametrize(("verb", "limit", "file"), [
    (("fold", "scarlet_mini_s"), 100_000, "scarlet_mini_s.folded.safetensors"),
    (("weights", "save-for-hub", "scarlet_mini_s", "{out}"), 100_000, "model.safetensors"),
    (("train", "scarlet_mini_s", "--data", "fashion-mnist", "--data-dir", str(FASHION), "--pictures", "64",
      "--max-steps", "1"), 200_000, ""),
], ids=lambda value: value[0] if isinstance(value, tuple) else "")  # fmt: skip
def test_a_full_disk_is_a_line_that_names_the_file(verb, limit, file, tmp_path):
    words = [word.format(out=tmp_path) for word in verb]
    with started(with_little_room, limit, *words, *(() if "{out}" in verb else ("--out", str(tmp_path)))) as job:
        assert job.wait() == 2, job.err
        said = job.err
    last = said.strip().splitlines()[-1]
    assert "Traceback" not in said
    assert last.startswith(f"error: {tmp_path / file}" if file else f"error: {tmp_path}"), said
    assert "File too large" in last
    assert not [path for path in tmp_path.rglob("*.safetensors") if path.stat().st_size]
    assert not list(tmp_path.rglob(".*.tmp"))
