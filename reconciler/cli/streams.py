"""Keeps a command at its work when the reader of its output goes away, or when the disk behind it is full."""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from typing_extensions import Buffer

_INPUT, _OUTPUT, _ERROR = 0, 1, 2
"""The descriptors of standard input, output and error."""


class LastingFile(io.FileIO):
    """A file of output. After the first write that fails, it keeps `failure` and drops what follows."""

    def __init__(self, descriptor: int, *, closed: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.failure: OSError | None = None
        self._closed = closed

    def write(self, content: Buffer, /) -> int:
        """Write what can be written, and claim to have written it all."""
        if self._closed:
            self.failure = OSError(errno.EBADF, os.strerror(errno.EBADF))
        if self.failure is None:
            try:
                return super().write(content)
            except OSError as error:
                self.failure = error
        return memoryview(content).nbytes


class Streams:
    """Standard output and error, replaced so that no write to them ever fails."""

    def __init__(self) -> None:
        missing = [descriptor for descriptor in (_INPUT, _OUTPUT, _ERROR) if not _is_open(descriptor)]
        for _ in missing:  # else the next file that is opened, such as the state, would get the number
            os.open(os.devnull, os.O_RDWR)
        self._out, error = (LastingFile(number, closed=number in missing) for number in (_OUTPUT, _ERROR))
        sys.stdout = _text(self._out, sys.stdout)
        sys.stderr = _text(error, sys.stderr, unbuffered=True)

    def end(self, code: int) -> int:
        """Flush, and return the exit code: 1 instead of 0 if standard output was not written whole."""
        with suppress(OSError, ValueError):
            sys.stdout.flush()
        failure = self._out.failure
        if failure is None:
            return code
        if not isinstance(failure, BrokenPipeError):
            sys.stderr.write(f"standard output could not be written: {failure.strerror}\n")
        return code or 1


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _text(file: LastingFile, before: TextIO | None, *, unbuffered: bool = False) -> io.TextIOWrapper:
    """Return a text stream onto a file, with the encoding of the one before."""
    encoding = before.encoding if before is not None else "utf-8"
    errors = (before.errors if before is not None else None) or "strict"
    buffer = io.BufferedWriter(file)
    return io.TextIOWrapper(
        buffer, encoding=encoding, errors=errors, line_buffering=file.isatty() or unbuffered, write_through=unbuffered
    )
