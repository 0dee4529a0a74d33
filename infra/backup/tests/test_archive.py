"""How WAL is stored as objects and put together again."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.backup import archive

SEGMENT = "000000010000000000000003"
SIZE = 64
PAGE = 8
"""The tests' page size; as in WAL, the first byte of each page is not zero."""
GIB = 2**30


def put_together(stored: dict[str, bytes]) -> bytes:
    file = bytearray(SIZE)
    for chunk in archive.chunks(stored).get(SEGMENT, []):
        file[chunk.begin : chunk.end] = stored[chunk.key]
    return bytes(file)


pages = st.builds(bytes.__add__, st.sampled_from([b"\x01", b"\xff"]), st.binary(min_size=PAGE - 1, max_size=PAGE - 1))


@given(
    st.lists(pages, min_size=SIZE // PAGE, max_size=SIZE // PAGE).map(b"".join),
    st.lists(st.integers(0, SIZE), max_size=12).map(sorted),
    st.integers(0, 11),
)  # fmt: skip
def test_a_segment_that_was_read_while_it_grew_is_put_together_byte_for_byte(
    wal: bytes, looks: list[int], lost: int
) -> None:
    """This holds, too, if the archiver restarts at some point and asks the bucket what it has put."""
    stored: dict[str, bytes] = {}
    done = 0
    for number, reached in enumerate([*looks, SIZE]):
        if number == lost:
            done = archive.end_of(archive.chunks(stored).get(SEGMENT, ()))
        file = io.BytesIO(wal[:reached] + bytes(SIZE - reached))
        if reached == SIZE and number == len(looks):
            done, end = 0, SIZE
        else:
            file.seek(done)
            end = archive.written_up_to(file.read, done, PAGE)
        if end > done:
            stored[archive.chunk_key(SEGMENT, done, end)] = file.getvalue()[done:end]
            done = end
        assert put_together(stored)[:reached] == wal[:reached]
    assert put_together(stored) == wal
    assert archive.end_of(archive.chunks(stored)[SEGMENT]) == SIZE
    assert archive.cover(archive.chunks(stored)[SEGMENT]) == [(archive.chunk_key(SEGMENT, 0, SIZE), 0, SIZE)]


def test_little_of_what_is_not_written_yet_is_read() -> None:
    """The end is searched for twenty times a second, and a segment has millions of bytes."""
    file = io.BytesIO(b"x" * 100_000 + bytes(4_000_000))
    assert archive.written_up_to(file.read, 0) == 100_000
    assert file.tell() <= 100_000 + 2 * archive.BLOCK_BYTES
    file.seek(100_000)
    assert archive.written_up_to(file.read, 100_000) == 100_000


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (SEGMENT, archive.File(SEGMENT, complete=True)),
        (f"{SEGMENT}.partial", archive.File(SEGMENT, complete=False)),
        ("00000002.history", None),
        (f"{SEGMENT}.gz", None),
        ("0000000200000000", None),
    ],
)
def test_files_are_known_by_their_names(name: str, expected: archive.File | None) -> None:
    assert archive.segment_file(name) == expected
    assert archive.is_history(name) == name.endswith("history")


def test_a_restore_needs_every_timeline_from_the_base_backup_on() -> None:
    def keys(*segments: str) -> list[str]:
        return [archive.chunk_key(segment, 0, SIZE) for segment in segments]

    old, first, second, other = (f"0000000{line}00000000000000{number}" for line, number in
                                 ((1, "02"), (1, "03"), (1, "04"), (2, "04")))  # fmt: skip
    found = archive.needed([*keys(old, first, second, other), "wal/00000002.history"], first, GIB)
    assert list(found) == [first, second, other]
    with pytest.raises(archive.Gap, match=f"{first} is missing"):
        archive.needed(keys(old, second), first, GIB)


def test_a_missing_segment_is_named_even_where_the_names_carry_over() -> None:
    names = [f"00000001{file:08X}{number:08X}" for file, number in ((0, 2), (0, 3), (1, 0), (1, 1))]
    keys = [archive.chunk_key(name, 0, SIZE) for name in names]
    assert list(archive.needed(keys, names[0], GIB)) == names
    with pytest.raises(archive.Gap, match="1 segments are missing after the 3th"):
        archive.needed(keys[:2] + keys[3:], names[0], GIB)


def test_the_fewest_chunks_that_leave_nothing_out_are_fetched() -> None:
    spans = [(0, 8), (0, 16), (8, 16), (16, 24), (12, 40), (48, 64)]
    parts = [archive.Chunk(archive.chunk_key(SEGMENT, begin, end), begin, end) for begin, end in spans]
    assert [(part.begin, part.end) for part in archive.cover(parts)] == [(0, 16), (12, 40)]


def test_a_hole_in_a_segment_is_named() -> None:
    keys = [archive.chunk_key(SEGMENT, 0, 16), archive.chunk_key(SEGMENT, 32, SIZE)]
    assert archive.end_of(archive.chunks(keys)[SEGMENT]) == 16
    with pytest.raises(archive.Gap, match=f"{SEGMENT} lacks what comes after 0x10"):
        archive.needed(keys, SEGMENT, GIB)


def test_the_newest_base_backup_that_had_ended_is_taken() -> None:
    ended = {"base/1": "2026-01-01T00:00:10+00:00", "base/2": "2026-01-02T00:00:10+00:00"}
    assert archive.newest_base(ended, "2026-01-02T00:00:05+00:00") == "base/1"
    assert archive.newest_base(ended, None) == "base/2"
    assert archive.newest_base(ended, "2025-12-31T00:00:00+00:00") is None
