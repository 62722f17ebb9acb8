"""Defines Secret, which holds user-data and shows a mask instead of it."""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated, Any, Final, NoReturn

from pydantic import BeforeValidator, InstanceOf, PlainSerializer, WithJsonSchema

MASK: Final = "********"
"""The text shown in place of a secret."""

_COST: Final = 2**14
_BLOCK: Final = 8
"""scrypt's N and r (RFC 7914): each guess at the content of a digest takes 16 MiB and about 50 ms."""


class Secret:
    """A content that is replaced by a mask in text, repr and JSON, and that cannot be pickled."""

    __slots__ = ("_content", "_digests")

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._digests: dict[str, str] = {}

    def reveal(self) -> bytes:
        """Return the content."""
        return self._content

    @property
    def blank(self) -> bool:
        """Whether it contains only white space."""
        return not self._content.strip()

    def digest(self, salt: str) -> str:
        """Return a scrypt digest of the content (slow to brute-force), as 64 hexadecimal digits.

        The same content and salt always give the same digest. It is computed once for each salt.
        """
        if salt not in self._digests:
            found = hashlib.scrypt(self._content, salt=salt.encode(), n=_COST, r=_BLOCK, p=1, dklen=32)
            self._digests[salt] = found.hex()
        return self._digests[salt]

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._content, other._content)

    def __hash__(self) -> int:
        return hash(self._content)

    def __reduce__(self) -> NoReturn:
        msg = "a secret cannot be pickled"
        raise TypeError(msg)


def parse_user_data(value: Any) -> Secret:
    """Read user-data from text; raises ValueError for anything else. Files are read before validation."""
    found = Secret(value.encode()) if isinstance(value, str) else value
    if not isinstance(found, Secret) or found.blank:
        msg = "write user-data as text, or `{file: path}`"
        raise ValueError(msg)
    return found


UserData = Annotated[
    InstanceOf[Secret],
    BeforeValidator(parse_user_data),
    PlainSerializer(str),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"\S"},
                {
                    "type": "object",
                    "properties": {"file": {"type": "string", "minLength": 1}},
                    "required": ["file"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]
"""cloud-init user-data of one guest."""
