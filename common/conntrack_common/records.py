"""`typing.NamedTuple` without importing typing, which costs as much as a bare interpreter.

A check is started every minute on thousands of hosts, so its records may not cost more than its
work: importing dataclasses takes 12 ms, typing 8 ms, this 2 ms (docs/performance.md).
"""

from __future__ import annotations

import collections

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:

    class _RecordType(type):
        def __new__(cls, name, bases, namespace):
            if not bases:
                return super().__new__(cls, name, bases, namespace)
            fields = list(namespace.get("__annotations__", ()))
            defaults = [namespace.pop(field) for field in fields if field in namespace]
            base = collections.namedtuple(  # noqa: PYI024 - this is what it is made from
                name, fields, defaults=defaults, module=namespace["__module__"]
            )
            return type(name, (base,), {**namespace, "__slots__": ()})

    class NamedTuple(metaclass=_RecordType):
        """The base of a frozen, slotted record whose fields are the class's annotations."""


__all__ = ["NamedTuple"]
