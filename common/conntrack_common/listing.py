"""The entries that a filter means, one by one."""

from __future__ import annotations

from collections.abc import Iterator

from conntrack_common.entry import Entry
from conntrack_common.filters import Filter
from conntrack_common.model import Change
from conntrack_common.sources.dump import Pass
from conntrack_common.sources.entries import Form, Reader, entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from conntrack_common.sources.entries import Values


class Dump:
    """The entries that a filter means; iterate once.

    `change` is known when all were read: how the table changed meanwhile.
    """

    def __init__(self, filter_: Filter) -> None:
        self._filter = filter_
        self.change: Change | None = None

    def messages(self) -> Iterator[tuple[Form, Values]]:
        """Yield all messages of the dump, filtered by the kernel as far as it can.

        Raises NotPermitted, NotAvailable, Interrupted, MalformedData.
        """
        reader = Reader()
        dump = Pass(self._filter.requests(), self._filter.plain_requests())
        for data in dump:
            yield from reader.read(data)
        self.change = dump.change(reader.seen)

    def __iter__(self) -> Iterator[Entry]:
        """Yield the entries that the filter means."""
        is_meant = Matcher(self._filter)
        for form, values in self.messages():
            if is_meant(form, values):
                yield entry(form, values)


class Matcher:
    """Tells whether a message is meant by a filter; remembers what it has decided."""

    def __init__(self, filter_: Filter) -> None:
        self._filter = filter_
        self._test = filter_.test
        self._accepted: dict[object, bool] = {}

    def __call__(self, form: Form, values: Values) -> bool:
        """Return the verdict on one message."""
        if self._filter.key:
            few = tuple(form.field(values, name) for name in self._filter.key)
            accepted = self._accepted.get(few)
            if accepted is None:
                fields = {
                    name: value for name, value in zip(self._filter.key, few) if value is not None
                }
                accepted = self._accepted[few] = self._filter.accepts(fields)
            if not accepted:
                return False
        if self._test is None:
            return True
        return self._test(tuple(form.field(values, name) for name in self._filter.tested))
