"""The entries that a filter means, one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from conntrack_common.entry import Entry
from conntrack_common.errors import NotAvailable
from conntrack_common.filters import Filter
from conntrack_common.sources.dump import Request, receive
from conntrack_common.sources.entries import Form, Reader, entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from conntrack_common.sources.entries import Values


class Dump:
    """The entries that a filter means; iterate once. `interrupted` afterwards if approximate."""

    def __init__(self, filter_: Filter) -> None:
        self._filter = filter_
        self._reader = Reader()

    @property
    def interrupted(self) -> bool:
        """True if the table was disturbed while it was read."""
        return self._reader.interrupted

    def messages(self) -> Iterator[tuple[Form, Values]]:
        """Yield all messages of the dump, filtered by the kernel as far as it can.

        Raises NotPermitted, NotAvailable, Interrupted, MalformedData.
        """
        try:
            yield from self._messages(self._filter.requests())
        except NotAvailable:
            plain = self._filter.plain_requests()
            if plain == self._filter.requests():
                raise
            yield from self._messages(plain)  # an older kernel refused the filter, at the start

    def _messages(self, requests: Sequence[Request]) -> Iterator[tuple[Form, Values]]:
        for buffer in receive(requests):
            yield from self._reader.read(buffer.data)
            buffer.ended = self._reader.ended

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
