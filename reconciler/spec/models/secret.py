"""User-data of guests, as a value that shows itself to nobody by accident; who needs the content asks by name."""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated, Any, Final, NoReturn

from pydantic import BeforeValidator, InstanceOf, PlainSerializer, WithJsonSchema

MASK: Final = "********"
"""What is shown in place of what must not be."""

_COST: Final = 2**14
_BLOCK: Final = 8
"""scrypt's N and r (RFC 7914): 16 MiB and some 50 ms for each guess at what a digest stands for."""


class Secret:
    """A content whose text, repr and JSON are a mask, and which cannot be pickled."""

    __slots__ = ("_content", "_digests")

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._digests: dict[str, str] = {}

    def reveal(self) -> bytes:
        """Return the content."""
        return self._content

    @property
    def blank(self) -> bool:
        """Whether there is nothing but white space in it."""
        return not self._content.strip()

    def digest(self, salt: str) -> str:
        """Return 64 hexadecimal digits by which the content is known again, and which are dear to guess from.

        The same content and salt give the same digits everywhere; computed once for each salt.
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
        msg = "a secret is not written anywhere"
        raise TypeError(msg)


def parse_user_data(value: Any) -> Secret:
    """Read user-data given as text; raises ValueError for anything else: files are load.py's to read."""
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
"""cloud-init's user-data for one guest."""
