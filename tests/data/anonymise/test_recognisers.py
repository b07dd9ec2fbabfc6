"""Every family finds what it should, where it is, and leaves alone what only looks like it."""

from __future__ import annotations

import time

import pytest

from outcrop.data.anonymise.anonymiser import Anonymiser
from outcrop.data.anonymise.findings import TYPES, Finding, without_overlaps
from outcrop.data.anonymise.recognisers.catalog import FAMILIES, RECOGNISERS
from outcrop.data.anonymise.spec import AnonymiseSpec

FIND = Anonymiser(AnonymiseSpec(types=tuple(TYPES))).find

FOUND = [
    ("email", "jürgen.o'neil+shop@müller-söhne.de", "Mail an {} bitte"),
    ("phone", "+44 20 7946 0958", "{}"), ("phone", "(212) 555-0147", "ring {}, please"),
    ("phone", "07911123456", "please call me on {}"), ("phone", "0049 30 901820", "Tel. {}"),
    ("phone", "416 60 039", "{} office"),
    ("card", "4111 1111 1111 1111", "paid with {}"), ("card", "503867297114", "my card {} is lost"),
    ("iban", "DE89 3704 0044 0532 0130 00", "to {}."),
    ("national-id", "219-09-9999", "{}"), ("national-id", "943 476 5919", "NHS number {}"),
    ("national-id", "RSSMRA85T10A562S", "codice fiscale {}"), ("national-id", "12345678Z", "DNI {}"),
    ("national-id", "44051401359", "PESEL: {}"), ("national-id", "86095742719", "Meine Steuer-ID ist {}"),
    ("ip", "10.20.30.40", "from {}:8080"), ("ip", "2001:db8:85a3::8a2e:370:7334", "at {} now"),
    ("mac", "00:1B:44:11:3A:B7", "device {}"), ("mac", "001b.4411.3ab7", "port {}"),
    ("url-credentials", "bob:hunter2", "https://{}@example.org/x"),
    ("crypto", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "send to {}"),
    ("crypto", "0x52908400098527886E0F7030069857D2E4169EE7", "wallet {}"),
    ("secret", "ghp_0123456789abcdefghijABCDEFGHIJ012345", "token {}"), ("secret", "hunter2!x", "password: {}"),
    ("secret", "AbCdEf123456", 'api_key = "{}"'), ("secret", "xoxb-123456789012-abcdefABCDEF", "slack {}"),
    ("secret", "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----", "key:\n{}\nend"),
    ("birth-date", "12 March 1985", "My date of birth is {}."), ("birth-date", "03/04/1990", "DOB: {}"),
    ("birth-date", "1985-03-12", "she was born on {} in Oslo"),
    ("address", "12 Main Street, Boston, MA 02110", "I live at {}."), ("address", "Hauptstraße 5a", "wohnt {}"),
    ("address", "26 rue des Martyrs", "his flat, {}"), ("address", "ul. Narewska 94", "Send it to {}"),
    ("address", "P.O. Box 1234", "write to {}"), ("address", "221B Baker Street, London NW1 6XE", "ship it to {}"),
    ("address", "90210", "my zip code is {}"),
    ("name", "Anna Kowalska", "Best regards,\n{}"), ("name", "John F. Kennedy", "I met {} there"),
    ("name", "Krithika", "my name is {}"), ("name", "Smith", "Dear Mr. {},"),
    ("name", "sarah jones", "my name is {} ok"),
    ("name", "Ludwig van Beethoven", "a song by {} again"),
    ("place", "Chiclana de la Frontera", "She lives in {}."), ("place", "New Zealand", "a week in {}"),
    ("place", "Brno", "the office in {}"), ("place", "switzerland", "i'm originally from {}"),
    ("organisation", "Acme Widgets Inc.", "They bought {} last year"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value", "frame"), FOUND)
def test_found_at_its_place(kind: str, value: str, frame: str) -> None:
    text = frame.format(value)
    assert (kind, value) in [(each.type, text[each.start : each.end]) for each in FIND(text)]


@pytest.mark.parametrize(
    "text",
    [
        "Order 48593021 shipped 2024-05-06 at 10:30:45", "version 10.0.19041.1", "in 1998-2004 and 2005/2006", "a :: b",
        "std::vector<int> x; y = a::b", "dear customer, hi team", "Thank you very much. Please call back.",
        "the password is required", 'password: "********"', "She was born on a Sunday",
        "Will you mark my paper in May?", "I hope the bill is fair", "A nice reading of the new order",
        "3.14159265358979", "USD 1,234,567.89",
        "What is the capital of the country?", "127.0.0.1 and 0.0.0.0", "The river ran under the bridge.",
        "1 2 3 4 5 6 7 8 9 10 11 12", "SELECT name FROM users WHERE id = 12345", "due on 12 March 1985",
        "passport control is there", "@Angie_Jerez #Taurus", "",
    ],
)  # fmt: skip
def test_no_false_alarm(text: str) -> None:
    assert [(each.type, text[each.start : each.end]) for each in FIND(text)] == []


def test_every_type_has_a_recogniser() -> None:
    assert set(FAMILIES) == set(RECOGNISERS)
    assert {kind for types in FAMILIES.values() for kind in types} == set(TYPES)


@pytest.mark.parametrize("text", ["<EMAIL_1> and [NAME]", "{{name}} lives at {street}", "${API_KEY} <NAME_k3f9a2xq7b>"])
def test_placeholders_are_left_alone(text: str) -> None:
    assert FIND(text) == []


def test_of_overlapping_findings_one_counts() -> None:
    street, town = Finding("address", 0, 30, 0.7, "a"), Finding("place", 20, 26, 0.8, "b")
    sure, unsure = Finding("card", 40, 56, 1.0, "c"), Finding("phone", 40, 52, 0.6, "d")
    assert without_overlaps([town, unsure, street, sure]) == [street, sure]


@pytest.mark.parametrize(
    "piece",
    ["A", "Ab ", "1", "1 ", "12 Main ", "A. ", "a@b.", ":", "::1", "0:", "my name is ", "Dear ", "+1 ", "(1", "Anna, ",
     "the corner of ", "password=", "-----BEGIN PRIVATE KEY-----", "x://a:b", "12 A\n", "Box 1, ", "é", "AB12"],
)  # fmt: skip
def test_hostile_text_takes_linear_time(piece: str) -> None:
    FIND("Warm up: Ann, 123-45-6789.")
    short, long = (_seconds(piece * count) for count in (300, 2_400))
    assert long < 32 * max(short, 0.005)


def _seconds(text: str) -> float:
    began = time.process_time()
    FIND(text)
    return time.process_time() - began
