"""What the manual pages say beside each command's interface."""

from __future__ import annotations

from conntrack_common.records import NamedTuple
from conntrack_plugins.render.settings import ALL


class About(NamedTuple):
    """What a page says beyond the command's interface: paragraphs, and files with their use."""

    text: tuple[str, ...] = ()
    files: tuple[tuple[str, str], ...] = ()


READS = (
    "The table's size and limit are read from /proc/sys/net/netfilter, the counters of each CPU "
    "from /proc/net/stat/nf_conntrack (or, without that file, from ctnetlink, as root). "
    "Anybody may read these."
)
ROOT = (
    "What needs the whole table (the counts by protocol, state, family, zone and status, and every "
    "filter) is read from the kernel by ctnetlink: that needs CAP_NET_ADMIN. Another network "
    "namespace (--netns) needs root. It is given by a name in /run/netns or that all shows, by a "
    "path, or by a process's number; all is each once, and calls those of containers and services "
    "by their control group. Nothing is ever changed in the table."
)
DAEMON = (
    "conntrackd is asked for its statistics on its UNIX socket, which only root may open; "
    "otherwise --command asks by conntrackd -s, which sudo can allow. Nothing but statistics is "
    "ever asked for."
)
PROC_FILES = (
    ("/proc/sys/net/netfilter/", "the table's size, limit and settings"),
    ("/proc/net/stat/nf_conntrack", "the counters of each CPU"),
    ("/run/netns/", "network namespaces by name, see ip-netns(8)"),
    ("/run/docker/netns/", "those of Docker; others are found wherever they are mounted"),
)
DAEMON_FILES = (
    ("/etc/conntrackd/conntrackd.conf", "where conntrackd's socket is"),
    ("/var/run/conntrackd.ctl", "the socket, where nothing else is configured"),
)
STATE_FILES = (
    (
        "/var/tmp/conntrack-plugins-UID/",  # noqa: S108 - state_file.py looks whose it is
        "counters of the last run, for METRIC/s; systemd's $STATE_DIRECTORY takes its place",
    ),
)
ABOUT = {
    "check_conntrack": About((READS, ROOT), (*PROC_FILES, *STATE_FILES)),
    "check_conntrackd": About((DAEMON,), (*DAEMON_FILES, *STATE_FILES)),
    "conntrack-prometheus": About((READS, ROOT), PROC_FILES),
    "conntrack-stat": About((READS, ROOT, DAEMON), (*PROC_FILES, *DAEMON_FILES)),
    "conntrack-telegraf": About((READS, ROOT), PROC_FILES),
}
CHECK_STATUS = (
    ("0", "OK"),
    ("1", "WARNING"),
    ("2", "CRITICAL"),
    ("3", "UNKNOWN: it could not be judged, and the line says why; also --help and --version"),
)
FAILURE = (
    "it could not be done, and a sentence on standard error says why; or the reader of the output "
    "went away"
)
STATUS = (
    ("0", "it is done"),
    ("1", FAILURE),
    ("2", "the command line is not understood"),
    ("130", "it was interrupted"),
)
OTHER_PAGES = ("conntrack(8)", "conntrackd(8)")
SETTINGS_USE = (
    "These settings say what 'conntrack-stat render' writes into the configuration of monitoring "
    "agents. The commands themselves read no settings: what they do, their options say. "
    "'conntrack-stat render settings' prints this file with every default."
)
SETTINGS_FORMAT = (
    "Sections in brackets hold lines KEY = VALUE. What is under [all] is for every agent; a "
    "section with an agent's name ({agents}) is for that one alone, and wins. Lines that begin "
    "with '#' are comments. A value of several lines goes on in indented lines. The file is UTF-8."
)
SETTINGS_ERRORS = (
    "What is absent has the default. A key or section that isn't known, and a value that is not "
    "understood, are refused, with the file's name and the line."
)
SETTINGS_EXAMPLE = f"""\
[{ALL}]
warning = 70
checks =
    cpu.early_drop/s,0,10
    cpu.drop/s,0,1

[telegraf]
metrics = table.*,tcp.state
interval = 30
"""
