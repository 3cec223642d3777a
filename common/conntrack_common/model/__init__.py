"""What was read, in netfilter's own terms: immutable records without behaviour.

They are NamedTuples and not dataclasses; records.py says why.
"""

from __future__ import annotations

from collections.abc import Mapping

from conntrack_common.errors import ConntrackError
from conntrack_common.records import NamedTuple

Value = float  # or int, which PEP 484 counts as one

TYPE_CHECKING = False
if TYPE_CHECKING:
    from conntrack_common.model.conntrackd import SyncStatistics


class Sysctls(NamedTuple):
    """Size and settings of the table (net.netfilter.nf_conntrack_*); None where there is none.

    `entries` is this namespace's number of entries; `limit` (nf_conntrack_max), `buckets` and
    `expect_max` are global.
    """

    entries: int | None = None
    limit: int | None = None
    buckets: int | None = None
    expect_max: int | None = None
    acct: int | None = None
    timestamp: int | None = None
    events: int | None = None
    helper: int | None = None


class CpuCounters(NamedTuple):
    """One CPU's counters since the namespace was made, modulo 2**32, by catalogue name."""

    cpu: int
    values: Mapping[str, int]


class Change(NamedTuple):
    """How the table changed while it was read.

    `entries` is by how many entries it changed, as far as its size shows that, `size` the most
    that it had; `resized` if its hash table got another number of buckets.
    """

    entries: int
    size: int
    resized: bool = False


REST = "other"  # the value for the zones beyond the largest


class TableCounts(NamedTuple):
    """The entries of the table in all, and by each value of some dimensions, each by itself.

    `change` is None where the table's size can't be read.
    """

    total: int
    by: Mapping[str, Mapping[str, int]]
    change: Change | None = None


class EventCounts(NamedTuple):
    """Events since a counter was started; `lost` is how often the kernel had to drop some."""

    new: int
    update: int
    destroy: int
    lost: int


# The parts of a Reading, each from a source of its own.
PARTS = ("sysctls", "counters", "timeouts", "synproxy", "counts", "events", "sync", "peer")


class Reading(NamedTuple):
    """All that one collection read of one namespace.

    A part that was not asked for is None; one that could not be read is None, too, and
    `failures` holds the reason under the part's name. `asked` are the parts that were asked for;
    `timeouts` are in seconds. Counters of two readings can be compared only if both have the same
    `identity` (of the boot and the namespace), and never if it is None.
    """

    time: float
    host: str
    netns: str | None = None
    sysctls: Sysctls | None = None
    counters: tuple[CpuCounters, ...] | None = None
    synproxy: tuple[CpuCounters, ...] | None = None
    timeouts: Mapping[str, int] | None = None
    counts: TableCounts | None = None
    events: EventCounts | None = None
    sync: SyncStatistics | None = None
    peer: SyncStatistics | None = None
    failures: Mapping[str, ConntrackError] = {}
    asked: frozenset[str] = frozenset()
    identity: str | None = None


class Sample(NamedTuple):
    """One value of one catalogue metric; `labels` are (name, value) pairs in the metric's order."""

    id: str
    labels: tuple[tuple[str, str], ...]
    value: Value


class Absent(NamedTuple):
    """A metric that has no value now, and why."""

    id: str
    reason: str


class Tracking(NamedTuple):
    """Whether anything makes the kernel track connections in this namespace, and how that is known.

    `active` is None where that can't be known; `families` are those that are tracked; `exempt` if
    rules exempt packets (notrack); `unread` names rules of the other family that can't be read.
    """

    active: bool | None
    evidence: str
    families: tuple[str, ...] = ()
    exempt: bool = False
    unread: str = ""


class BootSetting(NamedTuple):
    """What a file sets at boot (`nf_conntrack_max`), and what is in force; None if unknown."""

    name: str
    value: int
    path: str
    running: int | None


class Host(NamedTuple):
    """What doctor looks at: the kernel, this user's rights, and the programs that are installed.

    `module` is one of built-in, loaded, loadable, missing; `netlink` is None if ctnetlink
    answered, or else the reason; `counters` names the source of the per-CPU counters, or is the
    reason why there is none; `programs` maps a name to its path; `memory` is in bytes and
    `timeouts` in seconds; `boot_module` is the file that has nf_conntrack loaded early, if any.
    """

    kernel: str
    module: str
    sysctls: Sysctls | ConntrackError
    counters: str | ConntrackError
    netlink: ConntrackError | None
    tracking: Tracking
    distribution: str
    programs: Mapping[str, str]
    memory: int | None
    timeouts: Mapping[str, int] = {}
    boot_settings: tuple[BootSetting, ...] = ()
    boot_module: str = ""


class Diagnosis(NamedTuple):
    """One line of doctor: status is ok, warning, problem or unknown; remedy may be empty."""

    id: str
    status: str
    message: str
    remedy: str = ""


class Group(NamedTuple):
    """Entries that have the same values in some dimensions.

    `by` are (dimension, value) pairs, the value None where entries have none (a UDP entry's
    state). `packets` and `bytes` are sums over the `counted` entries that had accounting, None if
    none had; ages are in seconds, None without timestamps.
    """

    by: tuple[tuple[str, str | None], ...]
    entries: int
    counted: int = 0
    packets: int | None = None
    bytes: int | None = None
    mean_age: float | None = None
    oldest: float | None = None


class Breakdown(NamedTuple):
    """The table by some dimensions, largest groups first.

    `change` is None where the table's size can't be read. Each group may have up to `error`
    entries more than it says, and groups of no more than that may be missing.
    """

    total: int
    groups: tuple[Group, ...]
    change: Change | None = None
    error: int = 0
