"""The bytes of a fast-ingest batch, made by patching a template: every message of a load is as long as the next.

A message differs from the last batch's in four words of eight bytes: its subject's token, its batch's key, its number,
and its intended instant. They lie at equal distances, so that one strided copy writes a word into hundreds of messages:
0.1 us of CPU a message where a format for each of them took 1.5 us. At 100,000 messages a second beside the servers
under test that is a tenth of a core that the servers get.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from loadtests.clients import payload
from loadtests.recording.flights import Run

_WORD = 8
_FLOW = 500
"""After so many messages of a batch the server tells how far it has come."""
_START, _ADD, _COMMIT = b"0", b"1", b"2"


class FastBatches:
    """Batches of at most `batch` messages to `<subject>.<00000000 ...>`, answered below `inbox`."""

    def __init__(
        self, *, subject: bytes, subjects: int, inbox: bytes, publisher: int, payload_bytes: int, batch: int
    ) -> None:  # fmt: skip
        self._batch = batch
        self._subjects = subjects
        lead = b"PUB %b." % subject
        middle = b" %b." % inbox
        # What stands behind a message's place in its batch: its step, and that this is fast ingest.
        tails = [b".%d.fail.%d.%%b.$FI" % (_FLOW, place) for place in range(1, batch + 1)]
        size = b" %d\r\n" % payload_bytes
        line_bytes = len(lead) + _WORD + len(middle) + _WORD + len(tails[-1] % _ADD) + len(size)
        # A protocol line may have spaces between its words: they make all messages a whole number of words.
        stride = -(-(line_bytes + payload_bytes + 2) // _WORD) * _WORD
        payload_at = stride - payload_bytes - 2
        head, padding = payload.head(publisher, 0, 0), b"." * (payload_bytes - payload.MIN_PAYLOAD_BYTES)
        blank = b" " * _WORD
        self._bytes, self._steps_at = bytearray(), []
        for place, tail in enumerate(tails):
            line = lead + blank + middle + blank + tail % (_ADD if place else _START)
            self._steps_at.append(place * stride + len(line) - len(b"0.$FI"))
            self._bytes += line.ljust(payload_at - len(size)) + size + head + padding + b"\r\n"
        self._stride = stride
        self._subject_words = self._words(len(lead))
        self._key_words = self._words(len(lead) + _WORD + len(middle))
        self._number_words = self._words(payload_at + 8)
        self._intended_words = self._words(payload_at + 16)
        tokens = b"".join(b"%08d" % (n % subjects) for n in range(subjects + batch))
        self._tokens = memoryview(tokens).cast("Q")

    def _words(self, at: int) -> memoryview:
        """The word at this place of every message."""
        whole = memoryview(self._bytes)
        shift = at % _WORD
        words = whole[shift : shift + (len(whole) - shift) // _WORD * _WORD].cast("Q")
        return words[at // _WORD :: self._stride // _WORD]

    def encode(self, key: int, runs: Sequence[Run]) -> bytes:
        """Consecutive runs as one batch; its answers carry `key` in eight hexadecimal digits."""
        first, count = runs[0].first, runs[-1].end - runs[0].first
        if not 1 <= count <= self._batch:
            raise ValueError(f"batch: expected 1 to {self._batch} messages, found {count}")
        token = first % self._subjects
        self._subject_words[:count] = self._tokens[token : token + count]
        self._key_words[:count] = memoryview(b"%08x" % key * count).cast("Q")
        self._number_words[:count] = memoryview(struct.pack(f"<{count}Q", *range(first, first + count))).cast("Q")
        self._intended_words[:count] = memoryview(b"".join(map(_instants, runs))).cast("Q")
        last = self._steps_at[count - 1]
        step = bytes(self._bytes[last : last + 1])
        self._bytes[last : last + 1] = _COMMIT
        made = bytes(memoryview(self._bytes)[: count * self._stride])
        self._bytes[last : last + 1] = step
        return made


def _instants(run: Run) -> bytes:
    return struct.pack("<Q", run.intended_ns) * (run.end - run.first)


def key_of(token: bytes) -> int:
    """The key that an answer's subject carries. ValueError if it is none."""
    return int(token, 16)
