"""Lists that services answer a page at a time."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from wattstream.client.errors import service_errors

Page = TypeVar("Page")


def pages(call: Callable[..., Page], request: Any, timeout_s: float) -> Iterator[Page]:
    """Yield the pages of a list, asked for as they are read; `request` is left at the last one.

    Raises:
        ServiceError: a page could not be had.
    """
    while True:
        with service_errors():
            page: Any = call(request, timeout=timeout_s)
        yield page
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return
