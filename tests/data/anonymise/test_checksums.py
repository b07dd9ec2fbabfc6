"""Check digits against published numbers."""

from __future__ import annotations

import pytest

from outcrop.data.anonymise.checksums import iban_digits, is_card, is_iban, is_luhn, luhn_digit
from outcrop.data.anonymise.patterns import is_base58, is_bech32

# Test numbers that card schemes publish, and the example of ISO/IEC 7812-1.
CARDS = ("4111111111111111", "5555555555554444", "378282246310005", "6011111111111117", "3530111333300000")
# Examples of the SWIFT IBAN registry.
IBANS = ("GB29NWBK60161331926819", "DE89370400440532013000", "FR1420041010050500013M02606", "NO9386011117947")
# BIP 173 and 350, and the first Bitcoin address.
BECH32 = (
    "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
    "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
)


@pytest.mark.parametrize("number", CARDS)
def test_published_card_numbers(number: str) -> None:
    assert is_card(number)
    assert luhn_digit(number[:-1]) == number[-1]
    assert not is_luhn(number[:-1] + str((int(number[-1]) + 1) % 10))


@pytest.mark.parametrize("account", IBANS)
def test_published_account_numbers(account: str) -> None:
    assert is_iban(account)
    assert iban_digits(account[:2], account[4:]) == account[2:4]
    assert not is_iban(account[:-1])
    assert not is_iban(account[:5] + account[6] + account[5] + account[7:]) or account[5] == account[6]


def test_published_crypto_addresses() -> None:
    assert is_base58("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa")
    assert not is_base58("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb")
    assert not is_base58("z" * 34)
    for address in BECH32:
        assert is_bech32(address)
        assert is_bech32(address.upper())
        assert not is_bech32(address[:-1] + ("q" if address[-1] != "q" else "p"))
    assert not is_bech32("bc1QW508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4")
