"""Parts of a long list, as OpenAI's API gives them: `limit`, `after`, `order`."""

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Row, Select, Table, and_, or_

Order = Literal["asc", "desc"]
Item = dict[str, Any]


@dataclass(frozen=True)
class Page:
    """At most `limit` rows after the row of id `after`, by the time of their creation."""

    limit: int
    after: str | None = None
    order: Order = "desc"

    def apply(self, query: Select[Any], table: Table, after: Row[Any] | None) -> Select[Any]:
        """The query for the page's rows, and for one more, which says that the list goes on."""
        time = table.c.created
        row_id = table.c.id
        if self.order == "desc":
            query = query.order_by(time.desc(), row_id.desc())
        else:
            query = query.order_by(time, row_id)
        if after is not None:
            is_down = self.order == "desc"
            is_beyond = time < after.created if is_down else time > after.created
            is_next = row_id < after.id if is_down else row_id > after.id
            query = query.where(or_(is_beyond, and_(time == after.created, is_next)))
        return query.limit(self.limit + 1)

    def body(self, items: list[Item]) -> Item:
        """The list as the API gives it."""
        data = items[: self.limit]
        return {
            "object": "list",
            "data": data,
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
            "has_more": len(items) > self.limit,
        }
