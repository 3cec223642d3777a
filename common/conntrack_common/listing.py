"""The entries that a filter means, one by one."""

from __future__ import annotations

from collections.abc import Iterator

from conntrack_common.ctnetlink.census import Query
from conntrack_common.ctnetlink.dump import Pass
from conntrack_common.ctnetlink.entries import Reader, entry
from conntrack_common.ctnetlink.entry import Entry
from conntrack_common.ctnetlink.events import query
from conntrack_common.ctnetlink.shapes import LIMIT, Form
from conntrack_common.filters.filter import Filter
from conntrack_common.model import Change

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from conntrack_common.ctnetlink.shapes import Values

    Picker = Callable[[Values], Values]


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


def event_query(filter_: Filter) -> Query:
    """Return what counts the events of the entries that a filter means."""
    return query(filter_.key, filter_.accepts, filter_.tested, filter_.test)


class Matcher:
    """Decides whether a message is meant by a filter; remembers what it has decided."""

    def __init__(self, filter_: Filter) -> None:
        self._accepts, self._test = filter_.accepts, filter_.test
        self._key, self._tested = filter_.key, filter_.tested
        self._accepted: dict[Values, bool] = {}
        self._pickers: dict[Form, tuple[Picker, Picker]] = {}

    def __call__(self, form: Form, values: Values) -> bool:
        """Return the verdict on one message; raises InvalidRequest if there can be none."""
        pickers = self._pickers.get(form)
        if pickers is None:
            pickers = self._pickers[form] = form.picker(self._key), form.picker(self._tested)
        few, many = pickers
        if self._key:
            found = few(values)
            accepted = self._accepted.get(found)
            if accepted is None:
                if len(self._accepted) >= LIMIT:
                    self._accepted.clear()  # events go on for months
                fields = {name: each for name, each in zip(self._key, found) if each is not None}
                accepted = self._accepted[found] = self._accepts(fields)
            if not accepted:
                return False
        return self._test is None or self._test(many(values))
