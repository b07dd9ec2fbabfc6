"""Made-up values keep the form of the value, and are never the value."""

from __future__ import annotations

import ipaddress
import re

import phonenumbers
import pytest

from outcrop.data.anonymise.checksums import is_card, is_iban
from outcrop.data.anonymise.fakes import MAKERS, Fakes
from outcrop.data.anonymise.findings import TYPES, Finding
from outcrop.data.anonymise.gazetteer import fold, words
from outcrop.data.anonymise.surrogates import normalised

KEYS = [bytes([number]) * 16 for number in range(8)]

VALUES = {
    "email": "Eva.Lund@corp.example", "phone": "(212) 555-0147", "card": "4111-1111-1111-1111",
    "iban": "GB82 WEST 1234 5698 7654 32", "national-id": "219-09-9999", "ip": "8.8.4.4", "mac": "00:1b:44:11:3a:b7",
    "url-credentials": "bob:hunter2", "crypto": "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
    "secret": "ghp_0123456789abcdefghijABCDEFGHIJ012345", "birth-date": "12 March 1985",
    "address": "12 Main Street, Boston, MA 02110", "name": "Anna F. Kowalska", "place": "Spain",
    "organisation": "Acme Widgets Inc.",
}  # fmt: skip


def fake(kind: str, value: str, key: bytes = KEYS[0], rule: str = "test") -> str:
    return Fakes(key).of(Finding(kind, 0, len(value), 1.0, rule), value)


def test_every_type_can_be_made_up() -> None:
    assert set(MAKERS) == set(TYPES) == set(VALUES)


@pytest.mark.parametrize("kind", TYPES)
def test_same_key_same_fake_and_never_the_value(kind: str) -> None:
    value = VALUES[kind]
    made = [fake(kind, value, key) for key in KEYS]
    assert made == [fake(kind, value, key) for key in KEYS]
    assert len(set(made)) > 1
    assert normalised(kind, value) not in {normalised(kind, each) for each in made}


@pytest.mark.parametrize("key", KEYS)
def test_cards_and_accounts_stay_valid_in_their_layout(key: bytes) -> None:
    for value in ("4111-1111-1111-1111", "3782 822463 10005", "5555555555554444"):
        made = fake("card", value, key)
        assert is_card(made)
        assert re.sub(r"\d", "0", made) == re.sub(r"\d", "0", value)
        assert made[0] == value[0]
    for value in ("GB82 WEST 1234 5698 7654 32", "NO9386011117947"):
        made = fake("iban", value, key)
        assert is_iban(made.replace(" ", ""))
        assert (made[:2], [at for at, sign in enumerate(made) if sign == " "]) == (
            value[:2],
            [at for at, sign in enumerate(value) if sign == " "],
        )


@pytest.mark.parametrize(
    ("value", "region"),
    [("+44 20 7946 0958", "GB"), ("+49 30 901820", "DE"), ("(212) 555-0147", "US"), ("01 42 68 53 00", "FR")],
)
def test_phone_numbers_stay_in_their_country(value: str, region: str) -> None:
    for key in KEYS:
        made = fake("phone", value, key, f"phone:{region.lower()}")
        assert phonenumbers.is_valid_number_for_region(phonenumbers.parse(made, region), region)
        assert re.sub(r"\d", "0", made) == re.sub(r"\d", "0", value)


def test_the_same_number_in_another_layout_has_the_same_digits() -> None:
    assert normalised("card", fake("card", "4111 1111 1111 1111")) == normalised(
        "card", fake("card", "4111111111111111")
    )


@pytest.mark.parametrize("key", KEYS)
def test_names_keep_gender_and_case(key: bytes) -> None:
    assert "m" not in words()[fold("Margaret")]
    first, _, _ = fake("name", "Margaret", key).partition(" ")
    assert "f" in words().get(fold(first), "f")
    assert fake("name", "Margaret Smith", key).split() == [fake("name", "Margaret", key), fake("name", "Smith", key)]
    assert fake("name", "MARGARET", key).isupper()
    assert fake("name", "margaret", key).islower()
    assert " van der " in fake("name", "Rogier van der Weyden", key)


def test_addresses_of_machines_are_those_for_documentation() -> None:
    public = ipaddress.ip_address(fake("ip", "8.8.4.4"))
    assert any(public in ipaddress.ip_network(f"{net}.0/24") for net in ("192.0.2", "198.51.100", "203.0.113"))
    assert fake("ip", "10.1.2.3").startswith("10.")
    assert fake("ip", "192.168.7.7").startswith("192.168.")
    assert ipaddress.ip_address(fake("ip", "2a00:1450::1")) in ipaddress.ip_network("2001:db8::/32")
    assert fake("mac", "00:1b:44:11:3a:b7").startswith("02:")


def test_forms_of_the_others() -> None:
    assert fake("email", VALUES["email"]).partition("@")[2] in ("example.com", "example.org", "example.net")
    assert re.fullmatch(r"\d{3}-\d{2}-\d{4}", fake("national-id", "219-09-9999"))
    assert re.fullmatch(r"ghp_\w{36}", fake("secret", VALUES["secret"]))
    assert re.fullmatch(r"\d{1,2} [A-Z][a-z]+ 19\d\d", fake("birth-date", "12 March 1985"))
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", fake("birth-date", "1985-03-12"))
    assert re.fullmatch(r"\d{5}", fake("address", "90210"))
    assert fake("address", VALUES["address"]).count(",") == 2
    key = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----"
    assert fake("secret", key).split("\n")[::2] == key.split("\n")[::2]
