"""Phones behind adb, against a stand-in that speaks adb's protocol and runs arm64 programs under qemu."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
from adb_stand_in import arm64_root, hear_signals, standing_in
from device_outputs import PERF_TEST
from fetch import EMULATORS, phone_archive

from scarlet_zoo.errors import ScarletError
from scarlet_zoo.measurement.phone.adb import DeviceError, find_phone
from scarlet_zoo.measurement.phone.archive import make_bundle_archive
from scarlet_zoo.measurement.phone.measure import settle
from scarlet_zoo.measurement.records import read_records

needs_qemu = pytest.mark.skipif(not EMULATORS, reason="needs Debian's apt and qemu-user-static")


@pytest.fixture
def phone(tmp_path, monkeypatch):
    with standing_in(tmp_path) as made:
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(made.port))
        yield made


@pytest.fixture(scope="module")
def sysroot():
    return arm64_root()


@pytest.fixture(scope="module")
def archive(sysroot):
    """The archive, where the verb looks for it."""
    return phone_archive(sysroot)


@pytest.mark.slow
@needs_qemu
def test_a_network_is_measured_and_nothing_stays_on_the_phone(phone, sysroot, two_files, tmp_path, scarlet):
    left = phone.folder / "scarlet-zoo-left"
    left.mkdir()
    out = tmp_path / "out"
    code, said, err = scarlet("device", "run", two_files[0], "--affinity", 0, "--settle", 0, "--out", out, "--json")
    assert (code, err) == (0, "")
    (told,) = json.loads(said)
    (record,) = read_records(out / "Stand-in-Phone-1.json")
    assert told["p50_ms"] == record.p50_ms > 0
    own = record.conditions
    assert (own.device, own.machine, own.runtime) == ("Stand-in Phone 1", "aarch64", "onnxruntime")
    assert own.runtime_version == sysroot.versions["onnxruntime"]
    assert "asimddp" in own.cpu_features
    assert own.affinity == [0]
    assert own.model_extra["phone"]["serial"] == phone.serial
    assert own.before.temperature_c == 35.0
    assert list(phone.folder.iterdir()) == []


@pytest.mark.slow
@needs_qemu
def test_ctrl_c_leaves_nothing_on_the_phone(phone, sysroot, two_files, tmp_path):
    command = [sys.executable, "-m", "scarlet_zoo", "device", "run", str(two_files[1]), "--settle", "0", "--mode",
               "sustained", "--out", str(tmp_path / "out")]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ}, preexec_fn=hear_signals)
    while not any("latency.py" in line for line in phone.commands):
        assert process.poll() is None, process.stderr.read()
        phone.began.wait(1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert list(phone.folder.iterdir()) == []
    assert subprocess.run(["pgrep", "-f", str(phone.folder)], capture_output=True, check=False).stdout == b""
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@needs_qemu
def test_a_cable_that_is_pulled_is_an_error_and_the_phone_cleans_up(phone, sysroot, two_files, tmp_path, scarlet):
    phone.pull_cable_at = "latency.py"
    code, _, err = scarlet("device", "run", two_files[1], "--settle", 0, "--mode", "sustained", "--out", tmp_path / "o")
    assert code == 2
    assert err.startswith(f"error: device {phone.serial}: ")
    assert err.count("\n") == 1
    assert list(phone.folder.iterdir()) == []


@pytest.mark.slow
@needs_qemu
def test_the_archive_holds_what_measuring_needs_and_no_more(sysroot, archive):
    names = subprocess.run(["tar", "-tzf", archive], capture_output=True, text=True, check=True).stdout.split()
    assert "latency.py" in names
    assert "root/lib/ld-linux-aarch64.so.1" in names
    assert not any(name.startswith(("/", "..")) or "/perl" in name for name in names)
    assert archive.stat().st_size < 60e6
    fetched = sysroot.folder.with_name(f"{sysroot.folder.name}.fetched")
    assert sum(file.stat().st_size for file in fetched.rglob("*") if file.is_file()) < 80e6
    before = archive.stat().st_mtime_ns
    assert make_bundle_archive(sysroot, archive).stat().st_mtime_ns == before, "it is not made again"


@pytest.mark.slow
def test_what_a_phone_says_of_itself(phone, scarlet):
    code, said, _ = scarlet("device", "list", "--json")
    told = json.loads(said)
    assert code == 0
    assert told["name"] == "Stand-in Phone 1"
    assert told["abi"] == "arm64-v8a"
    assert told["temperature_c"] == 35.0
    assert told["fastest_cores"] == []


def test_the_fastest_cores_are_those_of_the_highest_frequency_that_the_phone_states(phone, scarlet):
    for core, frequency in enumerate((1_800_000, 1_800_000, 2_400_000, 3_000_000, 3_000_000, 1_800_000)):
        states = phone.disk / "cpu" / f"cpu{core + 6}" / "cpufreq" / "cpuinfo_max_freq"
        states.parent.mkdir(parents=True)
        states.write_text(f"{frequency}\n")
    assert json.loads(scarlet("device", "list", "--json")[1])["fastest_cores"] == [9, 10]
    assert "fastest_cores  9,10\n" in scarlet("device", "list")[1]


@pytest.mark.parametrize(("change", "serial", "why"), [
    ({"state": "unauthorized"}, None,
     "is unauthorized, wanted it unlocked, with USB debugging allowed for this computer"),
    ({"devices": []}, None, "got no serial number, wanted one of the connected devices: none"),
    ({"devices": ["A", "B"]}, None, "got no serial number, wanted one of the connected devices: A (device) B (device)"),
    ({"devices": ["A"]}, "B", "got B, wanted one of the connected devices: A (device)"),
])  # fmt: skip
def test_a_phone_that_is_not_there_or_not_ready(phone, scarlet, change, serial, why):
    for key, value in change.items():
        setattr(phone, key, value)
    code, _, err = scarlet("device", "list", *(["--adb", serial] if serial else []))
    assert code == 2
    assert why in err
    assert err.count("\n") == 1


@pytest.mark.slow
def test_the_users_own_perf_test_can_measure(phone, two_files, tmp_path, scarlet):
    program = tmp_path / "onnxruntime_perf_test"
    program.write_text(PERF_TEST)
    command = ("device", "run", two_files[0], "--perf-test", program, "--ort-version", "1.2.3", "--settle", 0, "--out",
               tmp_path / "out", "--affinity", "0,1", "--no-spin", "--json")  # fmt: skip
    code, _, err = scarlet(*command)
    assert (code, err) == (0, "")
    (record,) = read_records(tmp_path / "out" / "Stand-in-Phone-1.json")
    assert record.p50_ms == pytest.approx(4.01)
    assert (record.load_ms, record.first_ms, record.runs) == (12.5, 7, 160)
    assert record.conditions.runtime_version == "1.2.3"
    assert record.conditions.model_extra["program"] == "onnxruntime_perf_test"
    ran = [line for line in phone.commands if "-m times" in line]
    assert len(ran) == record.conditions.openings == 16
    assert "taskset 3 ./onnxruntime_perf_test -e cpu -I -v -m times -r 20 -x 1 -y 1 -D 0.onnx" in ran[0]
    assert list(phone.folder.iterdir()) == []
    program.write_text("#!/bin/sh\necho cannot load\n")
    code, _, err = scarlet(*command)
    assert code == 2
    assert "printed 0 runs and no load_ms first_ms, wanted 20 runs of -v; its last line: cannot load" in err


@pytest.mark.slow
@needs_qemu
def test_other_processors_and_cores_are_refused(phone, sysroot, two_files, scarlet, tmp_path):
    code, _, err = scarlet("device", "run", two_files[0], "--affinity", 99, "--out", tmp_path)
    assert (code, "wanted some of 0 to" in err) == (2, True)
    phone.properties["ro.product.cpu.abi"] = "x86_64"
    code, _, err = scarlet("device", "run", two_files[0], "--out", tmp_path)
    assert (code, "has x86_64, wanted arm64-v8a" in err) == (2, True)


def test_a_port_is_carried_to_the_phone_and_back(phone):
    with find_phone(None).reversed(4711):
        assert phone.reversed == ["reverse:forward:tcp:4711;tcp:4711"]
    assert phone.reversed[-1] == "reverse:killforward:tcp:4711"


@pytest.mark.slow
def test_a_run_begins_when_the_temperature_stays(phone):
    zone = phone.disk / "thermal" / "thermal_zone0" / "temp"
    course = iter([48.0, 45.0, 42.5, 41.0, 40.4, 40.2, 40.1, 40.0, 40.0])
    waited = []

    def sleep(seconds):
        waited.append(seconds)
        zone.write_text(f"{int(1000 * next(course))}\n")

    zone.write_text("50000\n")
    assert settle(find_phone(None), 120, sleep) == pytest.approx(40.1)
    assert len(waited) == 7
    shutil.rmtree(zone.parent)
    assert settle(find_phone(None), 120, sleep) is None


def test_a_command_that_fails_is_told_with_its_last_line(phone):
    with pytest.raises(DeviceError, match=r"'ls /nowhere' ended with 2: ls: .*No such file"):
        find_phone(None).shell("ls /nowhere")


def test_without_a_server_it_says_so(monkeypatch):
    monkeypatch.setenv("ANDROID_ADB_SERVER_HOST", "127.0.0.1")
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "1")
    monkeypatch.setenv("ADBUTILS_ADB_PATH", "/bin/false")
    with pytest.raises(ScarletError, match="no answer from adb's server"):
        find_phone(None)
