"""The text of a request's head: what is no UTF-8 in it is replaced, as Go does when it encodes JSON."""

from __future__ import annotations

from aiohttp.http_parser import RawRequestMessage


def in_utf8(message: RawRequestMessage) -> RawRequestMessage:
    """The head with text only that can be encoded again.

    The parser keeps bytes of headers that are no UTF-8 as lone surrogates, and refuses them in paths. They
    must not get into objects, answers and the journal, none of which can be written with them.
    """
    if all(value.isascii() for value in message.headers.values()):
        return message
    headers = message.headers.copy()
    headers.clear()
    headers.extend([(name, _replaced(value)) for name, value in message.headers.items()])
    return message._replace(headers=type(message.headers)(headers))


def _replaced(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
