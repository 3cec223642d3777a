"""The labels and headings of conntrackd's statistics, and the record's fields that they fill.

Source: the format strings of conntrack-tools (see conntrackd_text, which reads by these tables).
"""

from __future__ import annotations

Fields = tuple[str, ...]

# The lines under each heading: "label: numbers", or numbers that are followed by their units.
CACHE: dict[str, Fields] = {
    "current active connections": ("active",),
    "connections created": ("created", "created_failed"),
    "connections new": ("created",),
    "connections updated": ("updated", "updated_failed"),
    "connections destroyed": ("destroyed", "destroyed_failed"),
    "active objects": ("objects",),
    "active/total entries": ("active", "total"),
    "creation OK/failed": ("created", "created_failed"),
    "no memory available": ("created_no_memory",),
    "no space left in cache": ("created_no_space",),
    "update OK/failed": ("updated", "updated_failed"),
    "deletion created/failed": ("destroyed", "destroyed_failed"),
}
# These two are followed by an "entry not found" each, with another meaning after each.
WITH_NOT_FOUND: dict[str, dict[str, Fields]] = {
    "update OK/failed": {**CACHE, "entry not found": ("updated_not_found",)},
    "deletion created/failed": {**CACHE, "entry not found": ("destroyed_not_found",)},
}
# A cache that is switched off is counted by fewer numbers.
BYPASS: dict[str, Fields] = {
    "connections new": ("created",),
    "connections updated": ("updated",),
    "connections destroyed": ("destroyed",),
}
BYPASSED = {"internal bypass": ("internal", BYPASS), "external inject": ("external", CACHE)}
LINK = {
    "Bytes sent": "bytes_sent",
    "Bytes recv": "bytes_received",
    "Pckts sent": "packets_sent",
    "Pckts recv": "packets_received",
    "Error send": "errors_sent",
    "Error recv": "errors_received",
}
TRAFFIC = {"Bytes": "bytes", "Pckts": "packets"}
TRACKING = {
    "Malformed msgs": "malformed",
    "Lost msgs": "lost",
    "Msgs mfrm": "malformed",  # 0.9.12
    "Msgs lost": "lost",
    "Pckts mfrm": "malformed",  # 0.9.7
    "Pckts lost": "lost",
}
RECEIVED: dict[str, Fields] = {
    "Malformed messages": ("malformed",),
    "Wrong protocol version": ("wrong_version",),
    "Malformed header": ("malformed_header",),
    "Malformed payload": ("malformed_payload",),
    "Bad message type": ("bad_type",),
    "Truncated message": ("truncated",),
    "Bad message size": ("bad_size",),
}
SENT: dict[str, Fields] = {"Malformed messages": ("send_malformed",)}
SEQUENCE: dict[str, Fields] = {"Packets lost": ("lost",), "Packets before": ("before",)}
NETLINK: dict[str, Fields] = {
    "events received": ("events_received",),
    "events filtered": ("events_filtered",),
    "events unknown type": ("events_unknown_type",),
    "catch event failed": ("catch_event_failed",),
    "dump unknown type": ("dump_unknown_type",),
    "netlink overrun": ("netlink_overrun",),
    "flush kernel table": ("flush_kernel_table",),
    "resync with kernel table": ("resync_kernel_table",),
    "current buffer size (in bytes)": ("buffer_size",),
}
RUNTIME: dict[str, Fields] = {
    "child process failed": ("child_failed",),
    "child process segfault": ("child_segfault",),
    "child process termsig": ("child_termsig",),
    "select failed": ("select_failed",),
    "wait failed": ("wait_failed",),
    "local read failed": ("local_read_failed",),
    "local unknown request": ("local_unknown_request",),
}
QUEUE: dict[str, Fields] = {
    "current elements": ("length",),
    "maximum elements": ("maximum",),
    "not enough space errors": ("no_space",),
}
NODES: dict[str, Fields] = {"allocated queue nodes": ("nodes",)}
NO_LABELS: dict[str, Fields] = {}
NO_UNITS: dict[str, str] = {}

# Headings that are always the same: the part of the record that they open, and its fields.
HEADINGS: dict[str, tuple[tuple[str, ...], dict[str, Fields], dict[str, str]]] = {
    "traffic processed": (("traffic",), NO_LABELS, TRAFFIC),
    "message tracking": (("tracking",), NO_LABELS, TRACKING),
    "message sequence tracking": (("tracking",), NO_LABELS, TRACKING),
    "multicast sequence tracking": (("tracking",), NO_LABELS, TRACKING),
    "network statistics": (("network",), NO_LABELS, NO_UNITS),
    "sequence tracking statistics": (("network",), SEQUENCE, NO_UNITS),
    "netlink stats": (("runtime",), NETLINK, NO_UNITS),
    "runtime stats": (("runtime",), RUNTIME, NO_UNITS),
}
DIRECTIONS: dict[tuple[str, str], dict[str, Fields]] = {
    ("network statistics", "recv"): RECEIVED,
    ("network statistics", "send"): SENT,
    ("sequence tracking statistics", "recv"): SEQUENCE,
}
