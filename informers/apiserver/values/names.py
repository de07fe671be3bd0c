"""Formats of names: objects, labels, annotations, ports. The messages are those of a real server.

Every check returns what is wrong with a text, one sentence each; nothing wrong is an empty list.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from typing import Any

from informers.apiserver.errors import Cause
from informers.apiserver.errors.causes import invalid

LABEL_MAX = 63
SUBDOMAIN_MAX = 253
ANNOTATIONS_MAX = 256 * 1024
"""Bytes of all annotations of one object, keys included."""

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_RANDOM_LENGTH = 5
_BASE_LENGTH = LABEL_MAX - _RANDOM_LENGTH
_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_DNS_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_KEY = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_CONFIG_KEY = "[-._a-zA-Z0-9]+"
_PATTERNS = {
    text: re.compile(text) for text in (_LABEL, _SUBDOMAIN, _DNS_1035, _KEY, f"({_KEY})?", _CONFIG_KEY)
}
_EMPTY = "must be non-empty"
_KEY_WORDS = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character"
)


def _fits(pattern: str, text: str) -> bool:
    return _PATTERNS[pattern].fullmatch(text) is not None


def _must_match(words: str, pattern: str, *examples: str) -> str:
    shown = "".join(f"{' or ' if position else ''}'{one}', " for position, one in enumerate(examples))
    return f"{words} (e.g. {shown}regex used for validation is '{pattern}')"


def too_long(most: int) -> str:
    """The sentence for a text over its limit."""
    return f"must be no more than {most} bytes"


def _long(text: str, most: int) -> list[str]:
    return [too_long(most)] if len(text.encode()) > most else []


def dns_label(text: str) -> list[str]:
    """RFC 1123 label: namespaces, container names."""
    problems = _long(text, LABEL_MAX)
    if not _fits(_LABEL, text):
        if _fits(_SUBDOMAIN, text):
            problems.append("must not contain dots")
        else:
            words = (
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
                "and must start and end with an alphanumeric character"
            )
            problems.append(_must_match(words, _LABEL, "my-name", "123-abc"))
    return problems


def dns_subdomain(text: str) -> list[str]:
    """RFC 1123 subdomain: most names of objects."""
    problems = _long(text, SUBDOMAIN_MAX)
    if not _fits(_SUBDOMAIN, text):
        words = (
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
            "and must start and end with an alphanumeric character"
        )
        problems.append(_must_match(words, _SUBDOMAIN, "example.com"))
    return problems


def dns_1035_label(text: str) -> list[str]:
    """RFC 1035 label: it starts with a letter."""
    problems = _long(text, LABEL_MAX)
    if not _fits(_DNS_1035, text):
        words = (
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an "
            "alphabetic character, and end with an alphanumeric character"
        )
        problems.append(_must_match(words, _DNS_1035, "my-name", "abc-123"))
    return problems


def path_segment(text: str) -> list[str]:
    """Anything that can stand between two slashes of a path: names of RBAC objects."""
    if text in (".", ".."):
        return [f"may not be '{text}'"]
    return [f"may not contain '{one}'" for one in ("/", "%") if one in text]


def label_key(text: str) -> list[str]:
    """A label or annotation key, with or without prefix."""
    prefix, slash, name = text.rpartition("/")
    if "/" in prefix:
        words = "a valid label key " + _must_match(_KEY_WORDS, _KEY, "MyName", "my.name", "123-abc")
        return [f"{words} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"]
    problems: list[str] = []
    if slash and not prefix:
        problems.append(f"prefix part {_EMPTY}")
    elif slash:
        problems.extend(f"prefix part {problem}" for problem in dns_subdomain(prefix))
    if not name:
        problems.append(f"name part {_EMPTY}")
    problems.extend(f"name part {problem}" for problem in _long(name, LABEL_MAX))
    if not _fits(_KEY, name):
        problems.append("name part " + _must_match(_KEY_WORDS, _KEY, "MyName", "my.name", "123-abc"))
    return problems


def label_value(text: str) -> list[str]:
    """The value of a label."""
    problems = _long(text, LABEL_MAX)
    if not _fits(f"({_KEY})?", text):
        words = (
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
            "and must start and end with an alphanumeric character"
        )
        problems.append(_must_match(words, f"({_KEY})?", "MyValue", "my_value", "12345"))
    return problems


def config_key(text: str) -> list[str]:
    """A key of a ConfigMap or Secret, which becomes a file name."""
    problems = _long(text, SUBDOMAIN_MAX)
    if not _fits(_CONFIG_KEY, text):
        words = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
        problems.append(_must_match(words, _CONFIG_KEY, "key.name", "KEY_NAME", "key-name"))
    elif text == ".":
        problems.append("must not be '.'")
    elif text == "..":
        problems.append("must not be '..'")
    elif text.startswith(".."):
        problems.append("must not start with '..'")
    return problems


def port_name(text: str) -> list[str]:
    """The name of a container's port, or of a target port."""
    problems = _long(text, 15)
    if not re.fullmatch("[-a-z0-9]+", text):
        problems.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", text):
        problems.append("must contain at least one letter (a-z)")
    if "--" in text:
        problems.append("must not contain consecutive hyphens")
    if text.startswith("-") or text.endswith("-"):
        problems.append("must not begin or end with a hyphen")
    return problems


def port_number(value: int) -> list[str]:
    """A port, 1 to 65535."""
    return [] if 1 <= value <= 65535 else ["must be between 1 and 65535, inclusive"]


def generated_name(base: str, rng: random.Random) -> str:
    """A name from ``generateName``."""
    return base[:_BASE_LENGTH] + "".join(rng.choices(_ALPHABET, k=_RANDOM_LENGTH))


def check_labels(labels: Mapping[str, Any], path: str) -> Iterator[Cause]:
    """What is wrong with a map of labels.

    :param path: the field, such as ``metadata.labels``.
    """
    for key, value in sorted(labels.items()):
        for problem in label_key(key):
            yield invalid(path, key, problem)
        for problem in label_value(value if isinstance(value, str) else ""):
            yield invalid(path, value, problem)


def check_annotations(annotations: Mapping[str, Any], path: str) -> Iterator[Cause]:
    """What is wrong with a map of annotations; only their keys and the size of all of them are limited."""
    size = 0
    for key, value in sorted(annotations.items()):
        # Keys may carry upper-case letters in their prefix; labels may not.
        for problem in label_key(key.lower()):
            yield invalid(path, key, problem)
        size += len(key.encode()) + len(str(value).encode())
    if size > ANNOTATIONS_MAX:
        yield Cause("FieldValueTooLong", f"Too long: may not be more than {ANNOTATIONS_MAX} bytes", path)
