"""doctor's judgement, from facts alone."""

from __future__ import annotations

from pathlib import Path

from conntrack_common.analysis.diagnosis import diagnose
from conntrack_common.errors import NotAvailable, NotPermitted
from conntrack_common.host.boot import boot_module, boot_settings
from conntrack_common.host.system import module_state
from conntrack_common.model import BootSetting, Diagnosis, Host, Sysctls, Tracking
from conntrack_common.proc.files import ProcRoot

HEALTHY = Host(
    kernel="6.1.0-18-amd64",
    module="loaded",
    sysctls=Sysctls(1000, 262144, 262144, 4096, 1, 1, 2),
    counters="/proc/net/stat/nf_conntrack",
    netlink=None,
    tracking=Tracking(active=True, evidence="there are entries"),
    distribution="debian",
    programs={"conntrack": "/usr/sbin/conntrack", "nrpe": "/usr/sbin/nrpe"},
    memory=8 << 30,
)


def checks(**changes: object) -> dict[str, Diagnosis]:
    return {check.id: check for check in diagnose(HEALTHY._replace(**changes))}


def test_a_healthy_host_has_no_problem() -> None:
    assert {"ok"} == {check.status for name, check in checks().items() if name != "conntrackd"}


def test_each_line_is_a_sentence_with_a_remedy_where_one_is_due() -> None:
    for check in checks(module="loadable", netlink=NotPermitted("no"), programs={}).values():
        assert check.message
        assert "\n" not in check.message + check.remedy
        assert check.status == "ok" or check.remedy or check.id in {"netlink", "tracking"}


def test_modprobe_is_named_for_the_kernel() -> None:
    assert checks(module="loadable")["module"].remedy == "modprobe nf_conntrack"
    old = checks(module="loadable", kernel="4.15.0-213-generic")["module"]
    assert old.remedy == "modprobe -a nf_conntrack nf_conntrack_ipv4 nf_conntrack_ipv6"
    assert checks(module="missing")["module"].status == "problem"


def test_nothing_that_uses_tracking_is_a_warning() -> None:
    found = checks(tracking=Tracking(active=False, evidence="no rule"))["tracking"]
    assert (found.status, "demo" in found.remedy) == ("warning", True)
    one = Tracking(active=True, evidence="nftables: ct", families=("IPv6",))
    message = checks(tracking=one)["tracking"].message
    assert (message.startswith("IPv6 connections"), "IPv4 ones are not" in message) == (True, True)
    unread = one._replace(unread="iptables-legacy's tables nat", exempt=True)
    message = checks(tracking=unread)["tracking"].message
    assert ("is unknown whether IPv4" in message, "notrack" in message) == (True, True)
    hidden = checks(tracking=Tracking(active=None, evidence="needs CAP_NET_ADMIN"))["tracking"]
    assert hidden.status == "unknown"


def test_the_limit_is_judged() -> None:
    def of(entries: int, limit: int, buckets: int) -> dict[str, Diagnosis]:
        return checks(sysctls=Sysctls(entries, limit, buckets))

    assert of(85, 100, 100)["usage"].status == "warning"
    assert of(95, 100, 100)["usage"].status == "problem"
    assert of(1, 0, 100)["usage"].status == "warning"
    assert of(1, 100_000, 1000)["buckets"].status == "warning"
    assert of(1, 262144, 262144)["buckets"].status == "ok"
    assert of(1, 10_000_000, 10_000_000)["memory"].status == "warning"


def test_what_is_off_says_what_it_would_add() -> None:
    found = checks(sysctls=Sysctls(1, 100, 100, 1, 0, 0, 0))
    for name in ("acct", "timestamp", "events"):
        assert "off" in found[name].message
        assert found[name].remedy == f"sysctl -w net.netfilter.nf_conntrack_{name}=1"


def test_a_time_out_of_days_is_named() -> None:
    found = checks(timeouts={"tcp_established": 432000})["timeouts"]
    assert (found.status, "5 days" in found.message) == ("ok", True)
    assert found.remedy.startswith("sysctl -w net.netfilter.nf_conntrack_tcp_timeout_established=")
    assert not checks(timeouts={"tcp_established": 7200})["timeouts"].remedy
    assert "timeouts" not in checks(timeouts={})


MAX = BootSetting("nf_conntrack_max", 500000, "/etc/sysctl.d/90-ct.conf", 65536)


def test_what_files_set_and_what_is_in_force_are_compared() -> None:
    late = checks(boot_settings=(MAX,))["boot"]
    assert (late.status, "500000" in late.message, "65536" in late.message) == (
        "warning",
        True,
        True,
    )
    assert late.remedy.startswith("sysctl -w net.netfilter.nf_conntrack_max=500000, and echo nf_")
    early = checks(boot_settings=(MAX,), boot_module="/etc/modules-load.d/ct.conf")["boot"]
    assert early.remedy == "sysctl -w net.netfilter.nf_conntrack_max=500000"
    in_force = (MAX._replace(running=500000),)
    assert checks(boot_settings=in_force)["boot"].status == "warning"
    assert checks(boot_settings=in_force, module="built-in")["boot"].status == "ok"
    assert "modules-load.d" in checks()["boot"].remedy
    rounded = MAX._replace(name="nf_conntrack_buckets", value=100000, running=100352)
    assert checks(boot_settings=(rounded,), module="built-in")["boot"].status == "ok"


def test_files_are_read_as_sysctl_d_and_modules_load_d_say(tmp_path: Path) -> None:
    def write(name: str, text: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    root = str(tmp_path)
    assert (boot_settings(ProcRoot(), root), boot_module(root)) == ((), "")
    write("usr/lib/sysctl.d/50-a.conf", "net.netfilter.nf_conntrack_max = 1\n")
    write("etc/sysctl.d/50-a.conf", "# nothing\n; net.netfilter.nf_conntrack_max = 4\n")
    assert boot_settings(ProcRoot(), root) == ()
    write("etc/sysctl.d/60-b.conf", "net/netfilter/nf_conntrack_max=2\nkernel.pid_max = 9\n")
    write("run/sysctl.d/70-c.conf", "-net.nf_conntrack_max = 3\nnet.nf_conntrack_max = x\n")
    write("etc/sysctl.d/80-d.txt", "net.netfilter.nf_conntrack_max = 5\n")
    (found,) = boot_settings(ProcRoot(), root)
    assert found[:3] == ("nf_conntrack_max", 3, f"{root}/run/sysctl.d/70-c.conf")
    write("etc/sysctl.conf", "net.netfilter.nf_conntrack_max = 6\n")
    assert boot_settings(ProcRoot(), root)[0].value == 6
    write("etc/modules-load.d/m.conf", "# nf_conntrack\nloop\n")
    assert boot_module(root) == ""
    write("usr/lib/modules-load.d/n.conf", "nf-conntrack\n")
    assert boot_module(root) == f"{root}/usr/lib/modules-load.d/n.conf"


def test_no_connection_tracking_is_a_problem() -> None:
    found = checks(sysctls=NotAvailable("not here"), counters=NotAvailable("not here"))
    assert (found["table"].status, found["counters"].status) == ("problem", "warning")


def test_installing_is_told_for_each_distribution() -> None:
    def remedy(distribution: str) -> str:
        return checks(distribution=distribution)["conntrackd"].remedy

    assert remedy("debian") == remedy("ubuntu") == "apt install conntrackd"
    assert remedy("fedora") == remedy("rhel") == "dnf install conntrack-tools"
    assert "apt" in remedy("arch")
    assert "dnf" in remedy("arch")


def test_module_states(tmp_path: Path) -> None:
    folder = tmp_path / "6.1.0"
    folder.mkdir()
    state = {"kernel": "6.1.0", "root": str(tmp_path)}
    assert module_state("nf_conntrack", loaded=False, **state) == "missing"
    (folder / "modules.dep").write_text("kernel/net/netfilter/nf_conntrack.ko.xz: libcrc32c.ko\n")
    assert module_state("nf_conntrack", loaded=False, **state) == "loadable"
    assert module_state("nf_conntrack", loaded=True, **state) == "loaded"
    (folder / "modules.builtin").write_text("kernel/net/netfilter/nf_conntrack.ko\n")
    assert module_state("nf_conntrack", loaded=True, **state) == "built-in"
    assert module_state("nf_conntrack", "5.0", loaded=True, root=str(tmp_path)) == "built-in"
