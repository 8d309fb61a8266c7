"""A stand-in for adb's server and one phone: its protocol on loopback, its arm64 programs under qemu.

Commands that a phone would run are run by this machine's shell with the phone's folder in place of another one. What
is arm64 (all that is started through its loader) runs under qemu's user emulation, as a Cortex-A76.
"""

import contextlib
import os
import re
import shutil
import signal
import socketserver
import struct
import subprocess
import threading
import time
from pathlib import Path

import fetch
import pytest

from scarlet_zoo.errors import ScarletError
from scarlet_zoo.measurement.phone.adb import FOLDER
from scarlet_zoo.measurement.phone.sysroot import Sysroot, qemu

LOADER = re.compile(r"""(?P<quote>["']?)(?P<root>/[^\s"':]*)/lib/ld-linux-aarch64\.so\.1(?P=quote)""")
CPU = "cortex-a76"
PROPERTIES = {"ro.product.manufacturer": "Stand-in", "ro.product.model": "Phone 1", "ro.product.cpu.abi": "arm64-v8a",
              "ro.build.version.release": "15", "ro.build.fingerprint": "stand-in/phone/1"}  # fmt: skip


def arm64_root():
    """An arm64 Python; a test that needs it is skipped where there is none."""
    try:
        return fetch.arm64_root()
    except ScarletError as error:
        pytest.skip(f"no arm64 Python here: {error}")


class StandIn:
    """The server with its phone.

    Attributes:
        disk: what the phone's folder is here.
        commands: that were run.
        pull_cable_at: part of a command at which the cable is pulled, if any.
    """

    def __init__(self, disk, serial="STANDIN1", state="device"):
        self.disk, self.serial, self.state = disk, serial, state
        self.properties, self.commands, self.pull_cable_at, self.devices = dict(PROPERTIES), [], None, [serial]
        self.began = threading.Event()
        self.reversed = []
        self.port = None
        tools = disk.parent / "tools"
        tools.mkdir(parents=True)
        self.tools = tools
        (disk / "thermal" / "thermal_zone0").mkdir(parents=True)
        (disk / "thermal" / "thermal_zone0" / "temp").write_text("35000\n")
        (disk / "tmp").mkdir()
        self.folder = disk / "tmp"

    def here(self, command):
        """A command of the phone as this machine runs it."""
        own = command.replace(FOLDER, str(self.folder)).replace("/sys/class/thermal", str(self.disk / "thermal"))
        own = own.replace("/sys/devices/system/cpu", str(self.disk / "cpu"))

        def emulate(found):
            root = found["root"]
            if Path(root).is_dir():
                Sysroot(Path(root), "", {}).play(CPU)
            quote = found["quote"]
            parts = [qemu("aarch64"), "-cpu", CPU, "-L", root, f"{root}/lib/ld-linux-aarch64.so.1"]
            return (", " if quote else " ").join(f"{quote}{part}{quote}" for part in parts)

        return LOADER.sub(emulate, own)

    def run(self, command, connection):
        self.commands.append(command)
        if found := re.match(r"getprop ([\w.]+)", command):
            return connection.sendall(f"{self.properties.get(found[1], '')}\n{_exit_mark(command)}".encode())
        process = subprocess.Popen(["/bin/bash", "-c", self.here(command)], stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, cwd=self.disk, start_new_session=True,
                                   preexec_fn=hear_signals)  # fmt: skip
        self.began.set()
        if self.pull_cable_at and self.pull_cable_at in command:
            time.sleep(1.0)
            os.killpg(process.pid, signal.SIGHUP)  # which adb's daemon does to what it has started
            process.wait(20)
            process.stdout.close()
            self.state = "gone"
            return None
        said, _ = process.communicate()
        return connection.sendall(said.replace(str(self.folder).encode(), FOLDER.encode()))


def hear_signals():
    """In a process that is begun: what runs the tests may have been told to ignore them, as ``nohup`` does."""
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


def _exit_mark(command):
    found = re.search(r"echo (\w+:)\$\?$", command)
    return f"{found[1]}0\n" if found else ""


class _Handler(socketserver.BaseRequestHandler):
    server: "_Server"

    def read(self, count):
        data = b""
        while len(data) < count:
            part = self.request.recv(count - len(data))
            if not part:
                raise ConnectionError
            data += part
        return data

    def block(self, text):
        self.request.sendall(b"OKAY" + f"{len(text):04x}{text}".encode())

    def fail(self, text):
        self.request.sendall(b"FAIL" + f"{len(text):04x}{text}".encode())

    def handle(self):
        with contextlib.suppress(ConnectionError):
            while self.answer(self.read(int(self.read(4), 16)).decode()):
                pass

    def answer(self, asked):
        phone = self.server.phone
        if asked == "host:version":
            return self.block("0029")
        if asked.startswith("host:devices"):
            rows = [f"{serial}\t{phone.state}\n" for serial in phone.devices if phone.state != "gone"]
            return self.block("".join(rows))
        if asked.startswith("host:tport:serial:"):
            if phone.state == "gone":
                return self.fail(f"device '{phone.serial}' not found")
            self.request.sendall(b"OKAY" + bytes(8))
            return True
        if asked.startswith("reverse:"):
            phone.reversed.append(asked)
            self.request.sendall(b"OKAYOKAY")
            return False
        if asked.startswith("shell:"):
            self.request.sendall(b"OKAY")
            phone.run(asked.removeprefix("shell:"), self.request)
            return False
        if asked == "sync:":
            self.request.sendall(b"OKAY")
            self.sync(phone)
            return False
        return self.fail(f"unknown request {asked}")

    def sync(self, phone):
        while True:
            verb, size = self.read(4), struct.unpack("<I", self.read(4))[0]
            name = self.read(size).decode()
            path = Path(name.split(",")[0].replace(FOLDER, str(phone.folder)))
            if verb == b"STAT":
                known = path.stat() if path.exists() else None
                told = (known.st_mode, known.st_size, int(known.st_mtime)) if known else (0, 0, 0)
                self.request.sendall(b"STAT" + struct.pack("<III", *told))
            elif verb == b"SEND":
                self.receive(path)
            elif verb == b"RECV":
                self.send(path)
            else:
                return

    def receive(self, path):
        with path.open("wb") as file:
            while (kind := self.read(4)) == b"DATA":
                file.write(self.read(struct.unpack("<I", self.read(4))[0]))
            assert kind == b"DONE"
            self.read(4)
        self.request.sendall(b"OKAY" + bytes(4))

    def send(self, path):
        if not path.is_file():
            text = b"No such file or directory"
            self.request.sendall(b"FAIL" + struct.pack("<I", len(text)) + text)
            return
        content = path.read_bytes()
        for at in range(0, len(content), 65536):
            part = content[at : at + 65536]
            self.request.sendall(b"DATA" + struct.pack("<I", len(part)) + part)
        self.request.sendall(b"DONE" + bytes(4))


class _Server(socketserver.ThreadingTCPServer):
    phone: StandIn
    daemon_threads = allow_reuse_address = True


@contextlib.contextmanager
def standing_in(folder, **about):
    """A phone on a server of its own; yields it with its ``port``."""
    phone = StandIn(folder / "phone", **about)
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.phone = phone
        phone.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield phone
        finally:
            server.shutdown()
            shutil.rmtree(folder / "phone", ignore_errors=True)
