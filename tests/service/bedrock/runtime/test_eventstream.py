"""Event streams: botocore's own parser reads every message back, and notices every flipped bit."""

from __future__ import annotations

import pytest
from botocore.eventstream import ChecksumMismatch, EventStreamBuffer, EventStreamMessage
from hypothesis import given, settings
from hypothesis import strategies as st

from outcrop.service.bedrock.runtime.eventstream import encode, event, exception, message


def _parsed(content: bytes) -> list[EventStreamMessage]:
    buffer = EventStreamBuffer()
    buffer.add_data(content)
    return list(buffer)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@settings(max_examples=30)
@given(
    st.dictionaries(st.text(st.characters(codec="ascii"), min_size=1, max_size=20), TEXT, max_size=5),
    st.binary(max_size=300),
)
def test_botocore_reads_what_was_written(headers: dict[str, str], payload: bytes) -> None:
    [found] = _parsed(message(headers, payload))
    assert found.headers == headers
    assert found.payload == payload
    assert found.prelude.total_length == len(message(headers, payload))


def test_messages_follow_each_other() -> None:
    sent = [event("messageStart", {"role": "assistant"}), exception("throttlingException", {"message": "Später."})]
    started, failed = _parsed(b"".join(sent))
    assert started.headers == {
        ":event-type": "messageStart", ":content-type": "application/json", ":message-type": "event"
    }  # fmt: skip
    assert started.payload == b'{"role":"assistant"}'
    assert failed.headers[":message-type"] == "exception"
    assert failed.headers[":exception-type"] == "throttlingException"
    assert failed.payload == '{"message":"Später."}'.encode()


def test_every_flipped_bit_of_the_content_is_noticed() -> None:
    content = event("chunk", {"bytes": "YQ=="})
    for at in range(12, len(content)):
        broken = bytearray(content)
        broken[at] ^= 1
        with pytest.raises(ChecksumMismatch):
            _parsed(bytes(broken))


def test_numbers_that_json_does_not_have_are_our_bug() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode({"value": float("nan")})
