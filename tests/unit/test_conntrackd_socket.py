"""Asking conntrackd: what is sent, and what comes back from daemons that misbehave."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import conntrack_common
from conntrack_common.conntrackd.process import find_daemons, parse_process, read_facts
from conntrack_common.conntrackd.report import (
    REQUESTS,
    Command,
    SavedReport,
    Socket,
    read_answer,
    read_statistics,
)
from conntrack_common.errors import (
    ConntrackError,
    DaemonNotAnswering,
    DaemonUnreachable,
    DaemonUnsupported,
    InvalidRequest,
    MalformedData,
    NoStatistics,
    NotAvailable,
    NotPermitted,
)
from conntrack_common.model.conntrackd import Cache, DaemonProcess
from conntrack_common.proc.files import ProcRoot

DATA = Path(__file__).parent.parent / "data" / "conntrackd"
ANSWERS = {
    code: (DATA / "ftfw" / ("s.txt" if name == "ct" else f"s-{name}.txt")).read_bytes()
    for name, code in REQUESTS.items()
}


class Daemon:
    """A UNIX socket whose clients are treated as a test wants it; it notes what they send."""

    def __init__(self, path, treat):
        self.path, self.treat = str(path), treat
        self.received = []
        self.done = threading.Event()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        self.listener.settimeout(0.05)
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        while not self.done.is_set():
            try:
                client, _ = self.listener.accept()
            except TimeoutError:
                continue
            except socket.timeout:  # Python 3.9
                continue
            with client, contextlib.suppress(OSError):
                self.treat(self, client)

    def end(self):
        self.done.set()
        self.thread.join()
        self.listener.close()


@pytest.fixture
def daemon(tmp_path):
    started = []

    def start(treat):
        started.append(Daemon(tmp_path / f"{len(started)}.ctl", treat))
        return started[-1]

    yield start
    for each in started:
        each.end()


def take(daemon, client):
    data = client.recv(100)
    daemon.received.append(data)
    return data


def behave(daemon, client):
    client.sendall(ANSWERS[struct.unpack("=i", take(daemon, client))[0]])


def soon(seconds=5.0):
    return time.monotonic() + seconds


def test_one_whole_record_from_all_requests(daemon):
    started = daemon(behave)
    statistics = read_statistics(Socket(started.path), REQUESTS, timeout=5)
    assert statistics.unknown == ()
    assert statistics.caches[0][:6] == ("internal", "ct", False, 21, 21, 21)
    assert statistics.runtime is not None
    assert statistics.runtime.events_received == 85
    assert [queue.name for queue in statistics.queues] == ["txqueue", "errorq", "rsqueue"]
    assert statistics.processes == ()
    assert statistics.unsupported == {"expect"}
    assert started.received == [struct.pack("=i", code) for code in REQUESTS.values()]


def test_the_list_holds_statistics_only():
    assert set(REQUESTS.values()) == {21, 28, 29, 30, 31, 35, 36, 37}
    with pytest.raises(TypeError):
        REQUESTS["kill"] = 20


@given(
    st.one_of(st.text(), st.integers(-(2**31), 2**31), st.sampled_from(["kill", "20", "rsqueue"]))
)
def test_nothing_else_is_ever_sent(name):
    # No socket is even looked for: a path that does not exist would be another error.
    if name not in REQUESTS:
        for way in (Socket("/nonexistent/ctl"), Command(["/nonexistent/conntrackd"])):
            with pytest.raises(InvalidRequest):
                way.answer(name, soon())


def test_an_empty_answer_is_not_in_this_mode(daemon):
    started = daemon(take)
    way = Socket(started.path)
    assert read_statistics(way, ["network", "process"], 5).unsupported == {"network"}
    with pytest.raises(DaemonUnsupported, match="'network'"):
        read_answer(way, "network", soon())


def test_a_silent_daemon_is_given_up_in_time(daemon):
    def say_nothing(self, client):
        self.done.wait(60)

    started = daemon(say_nothing)
    start = time.monotonic()
    with pytest.raises(DaemonNotAnswering, match="in time"):
        read_statistics(Socket(started.path), ["ct", "cache"], timeout=0.3)
    assert time.monotonic() - start < 20


def test_a_drip_feed_is_given_up_in_time(daemon):
    def drip(self, client):
        while not self.done.wait(0.05):
            client.sendall(b"x\n")

    start = time.monotonic()
    with pytest.raises(DaemonNotAnswering):
        read_statistics(Socket(daemon(drip).path), ["ct"], timeout=0.4)
    assert time.monotonic() - start < 20


def test_a_process_without_room_for_a_socket_blames_nobody_else(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(NotAvailable, match="Too many open files"):
            Socket(str(tmp_path / "ctl")).answer("ct", soon())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_an_endless_answer_is_refused(daemon):
    def flood(self, client):
        while not self.done.is_set():
            client.sendall(b"x\n" * 50_000)

    with pytest.raises(MalformedData, match=r"1048576 bytes.*conntrackd's version"):
        read_statistics(Socket(daemon(flood).path), ["ct"], timeout=5)


def test_a_closed_connection_is_no_empty_answer(daemon):
    def close_with_the_request_unread(self, client):
        time.sleep(0.05)

    started = daemon(close_with_the_request_unread)
    with pytest.raises(DaemonUnreachable):
        read_answer(Socket(started.path), "ct", soon())


def test_an_answer_that_breaks_off_is_not_parsed(daemon):
    def break_off(self, client):
        take(self, client)
        client.sendall(b"cache internal:\ncurrent active connections:  1")

    with pytest.raises(DaemonNotAnswering, match="middle of a line"):
        read_answer(Socket(daemon(break_off).path), "ct", soon())


def test_bytes_that_are_no_text(daemon):
    def rubbish(self, client):
        take(self, client)
        client.sendall(bytes(range(256)) + b"\n")

    with pytest.raises(NoStatistics, match="3 lines"):
        read_statistics(Socket(daemon(rubbish).path), ["ct"], 5)


def test_a_daemon_that_answers_nothing_at_all(daemon):
    with pytest.raises(NoStatistics, match="is empty"):
        read_statistics(Socket(daemon(take).path), REQUESTS, 5)
    # No child now, in a mode without queues: those are answers.
    assert read_statistics(Socket(daemon(take).path), ["queue", "process"], 5).processes == ()


def test_nothing_there(tmp_path):
    with pytest.raises(DaemonUnreachable, match="not running"):
        Socket(f"{tmp_path}/ctl").answer("ct", soon())


def test_a_stale_socket_is_named_as_such(tmp_path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{tmp_path}/ctl")
    listener.close()
    with pytest.raises(DaemonUnreachable, match="stale"):
        Socket(f"{tmp_path}/ctl").answer("ct", soon())


def test_a_path_that_no_socket_can_have():
    with pytest.raises(InvalidRequest, match="107 bytes"):
        Socket("/" + "x" * 107).answer("ct", soon())


def test_a_full_backlog_is_a_hanging_daemon(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{tmp_path}/ctl")
        listener.listen(0)
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(f"{tmp_path}/ctl")
        with pytest.raises(DaemonNotAnswering):
            Socket(f"{tmp_path}/ctl").answer("ct", soon(0.3))
        for client in waiting:
            client.close()


def program(tmp_path, lines):
    path = tmp_path / "conntrackd"
    path.write_text("#!/bin/sh\n" + lines)
    path.chmod(0o755)
    return str(path)


def test_the_command(tmp_path):
    path = program(
        tmp_path,
        f'echo "$@" >>{tmp_path}/args\n'
        'echo "warning: deprecated" >&2\n'
        f'[ "$4" = "" ] && cat {DATA}/ftfw/s.txt\nexit 0\n',
    )
    statistics = read_statistics(Command([path], "/etc/c.conf"), ["ct", "network"], timeout=5)
    assert statistics.caches[0].active == 21
    assert statistics.unsupported == {"network"}
    assert (tmp_path / "args").read_text() == "-C /etc/c.conf -s\n-C /etc/c.conf -s network\n"


@pytest.mark.parametrize("lines", ["sleep 60", "sleep 60 & wait", "exec sleep 60"])
def test_a_command_that_hangs_is_ended_with_its_children(tmp_path, lines):
    start = time.monotonic()
    with pytest.raises(DaemonNotAnswering):
        Command([program(tmp_path, f"echo $$ >{tmp_path}/pid\n{lines}\n")]).answer("ct", soon(0.5))
    assert time.monotonic() - start < 20
    group = int((tmp_path / "pid").read_text())
    deadline = soon(2)
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)  # init has yet to collect the children
    pytest.fail("something of the command still runs")


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (
            "[ERROR] can't connect: is conntrackd running? appropriate permissions?",
            DaemonUnreachable,
        ),
        ("can't open config file `/etc/x'", InvalidRequest),
        ("sudo: a password is required", NotPermitted),
        ("something new", DaemonUnreachable),
        ("", DaemonUnreachable),
    ],
)
def test_a_command_that_fails(tmp_path, said, error):
    path = program(tmp_path, f'echo "{said.replace("`", "")}" >&2\nexit 1\n')
    with pytest.raises(error):
        Command([path]).answer("ct", soon())


def test_no_such_command(tmp_path):
    with pytest.raises(NotAvailable):
        Command([f"{tmp_path}/conntrackd"]).answer("ct", soon())
    (tmp_path / "conntrackd").write_text("")
    with pytest.raises(NotPermitted):
        Command([f"{tmp_path}/conntrackd"]).answer("ct", soon())


@pytest.mark.parametrize(
    "words",
    [
        [],
        [""],
        ["conntrackd", "-k"],
        ["sudo", "/usr/sbin/conntrackd", "-F"],
        ["ssh", "b", "conntrackd -k"],
    ],
)
def test_options_of_the_command_are_refused(words):
    with pytest.raises(InvalidRequest):
        Command(words)


def test_a_saved_report(tmp_path):
    path = tmp_path / "report"
    path.write_bytes(b"\xef\xbb\xbf" + b"".join(ANSWERS.values()))
    statistics = read_statistics(SavedReport(str(path)), ["ct"], timeout=5)
    assert statistics.unknown == ()
    assert statistics.caches[0].active == 21
    assert statistics.queue_nodes == 1


def test_standard_input():
    code = (
        "from conntrack_common.conntrackd.report import *\n"
        "print(read_statistics(SavedReport('-'), [], 1).caches[0])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    text = "cache stats:\ncurrent active connections: 7\n"
    answer = subprocess.run(
        [sys.executable, "-c", code],
        input=text, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert answer.stdout.strip() == repr(Cache("stats", active=7))


def test_reports_that_cannot_be_read(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(InvalidRequest):
            SavedReport(str(path)).read()


def test_every_error_is_one_sentence_with_a_remedy(tmp_path):
    with pytest.raises(ConntrackError) as caught:
        Socket(f"{tmp_path}/ctl").answer("ct", soon())
    assert "\n" not in str(caught.value)
    assert ": " in str(caught.value)


STAT = "{} (conntrackd) {} {} 5 5 0 -1 4194560"


@pytest.mark.parametrize(
    ("words", "config"),
    [
        (["conntrackd", "-d"], None),
        (["/usr/sbin/conntrackd", "-C", "/etc/a.conf"], "/etc/a.conf"),
        (["conntrackd", "-C", "/etc/a b", "-d"], "/etc/a b"),
    ],
)
def test_a_daemon_is_told_from_its_clients(words, config):
    command = "".join(f"{word}\0" for word in words)
    assert parse_process(STAT.format(7, "T", 1), command) == (1, DaemonProcess(7, "T", config))
    assert parse_process(STAT.format(7, "S", 1), f"{command}-s\0cache\0") is None
    assert parse_process(STAT.format(7, "Z", 1), command) is None
    assert parse_process("7 (conntrackd) S", command) is None


def test_facts(tmp_path):
    for pid, parent in ((9, 1), (12, 9)):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text(STAT.format(pid, "S", parent))
        (tmp_path / str(pid) / "cmdline").write_text("conntrackd\0-d\0")
    (tmp_path / "33").mkdir()
    proc = ProcRoot(str(tmp_path))
    assert find_daemons(proc) == (DaemonProcess(9, "S"),)
    (tmp_path / "file").touch()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{tmp_path}/ctl")
        assert stat.S_ISSOCK((tmp_path / "ctl").stat().st_mode)
        facts = read_facts(f"{tmp_path}/ctl", f"{tmp_path}/file", proc)
    assert (facts.lock_exists, facts.socket_exists) == (True, True)
    facts = read_facts(f"{tmp_path}/file", f"{tmp_path}/none", ProcRoot(f"{tmp_path}/no"))
    assert facts == (False, False, ())


def test_no_heavy_import():
    code = (
        "import sys\n"
        "from conntrack_common.conntrackd import conf, process, report\n"
        "heavy = {'subprocess', 'socket', 'json', 'dataclasses', 'pathlib', 'ipaddress'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    environment = {"PYTHONPATH": str(Path(conntrack_common.__file__).parent.parent)}
    answer = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert answer.stdout.strip() == "[]"
