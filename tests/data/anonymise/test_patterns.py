"""Personal data and secrets: found where they are, and not where they are not."""

from __future__ import annotations

import time

import pytest

from outcrop.data.anonymise import patterns
from outcrop.data.content import PERSONAL

FOUND = [
    ("pii-email", "eva.lund+x@mail.example.org"), ("pii-email", "sam@gmail dot com"),
    ("pii-email", "a.b@example dot co dot uk"),
    ("pii-phone", "(212) 555-0147"), ("pii-phone", "212-555-0147"), ("pii-phone", "+1 212 555 0147"),
    ("pii-phone", "+44 20 7946 0958"), ("pii-phone", "+49 (30) 901820"),
    ("pii-card", "4111 1111 1111 1111"), ("pii-card", "5500-0000-0000-0004"), ("pii-card", "340000000000009"),
    ("pii-iban", "DE89 3704 0044 0532 0130 00"), ("pii-iban", "GB82WEST12345698765432"),
    ("pii-iban", "NO9386011117947"),
    ("secret-aws-key", "AKIAJ4Z7Q2XW5N3RTKLM"),
    ("secret-private-key", "-----BEGIN OPENSSH PRIVATE KEY-----"),
    ("secret-private-key", "-----BEGIN PRIVATE KEY-----"),
    ("secret-jwt", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dBjftJeZ4CVPmB92K27u"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "text"), FOUND)
@pytest.mark.parametrize("frame", ["{}", "Here: {}.", "Die Nummer {} gilt\nab 2024", "«{}»"])
def test_found_at_its_place(code: str, text: str, frame: str) -> None:
    (finding,) = patterns.find(frame.format(text))
    assert PERSONAL[finding.recogniser] == code
    assert frame.format(text)[finding.start : finding.end] == text


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1112", "1234 5678 9012 3456", "0000 0000 0000 0000", "3.14159265358979",
        "12345678901234567890123",
        "DE89 3704 0044 0532 0130 01", "DE89 3704 0044 0532 0130", "ZZ89370400440532013000", "GB29 NWBK",
        "a @ b.com", "x@y", "@handle and a@b", "2024-01-02 10:30:00", "192.168.100.200", "1,234,567,890",
        "AKIAIOSFODNN7EXAMPLE", "AKIA1234", "-----BEGIN PUBLIC KEY-----", "eyJhbGci", "version 10.0.19041.1", "",
        "www dot metronorth dot com", "look at amtrak dot com",
    ],
)  # fmt: skip
def test_no_false_alarm(text: str) -> None:
    assert list(patterns.find(f"see {text} there")) == []


def test_an_address_said_without_its_sign_is_found_where_mail_is_spoken_of() -> None:
    text = "my email is brandon at example dot com"
    (finding,) = patterns.find(text)
    assert (finding.type, text[finding.start : finding.end]) == ("email", "brandon at example dot com")
    assert list(patterns.find("brandon at example dot com")) == []


@pytest.mark.parametrize("piece", [
    "a", "a.", "1", "1 ", "A1", "@", "a@b.", "eyJ", "+9", "DE00 ", "a dot ", "a at a dot ", "a@a dot ", "-----BEGIN ",
])  # fmt: skip
def test_hostile_text_takes_linear_time(piece: str) -> None:
    began = time.process_time()
    list(patterns.find(piece * 100_000))
    assert time.process_time() - began < 2
