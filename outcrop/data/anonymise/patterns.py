"""Personal data and secrets that have a form of their own, found by pattern and checksum, without any library."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Callable, Iterator

from outcrop.data.anonymise.checksums import IBAN_LENGTHS, is_card, is_iban, is_luhn
from outcrop.data.anonymise.findings import Finding

EMAIL = re.compile(
    r"(?<![\w.+'-])[\w.%+&-]{1,64}(?:'[\w.%+&-]{1,64})?@(?:[^\W_][^\W_-]{0,62}(?:-+[^\W_]{1,62}){0,9}\.){1,8}[^\W\d_]{2,24}\b"
)
SPOKEN_EMAIL = re.compile(
    r"(?<![\w.+'@-])[\w.+-]{1,64}(?: ?@ ?| at )[^\W_][\w-]{0,62}(?: dot [^\W\d_]{2,24}){1,3}\b", re.IGNORECASE
)
"""As it is said: sam@gmail dot com, sam at gmail dot com."""

PHONE = re.compile(
    r"(?<![\w.+-])(?:"
    r"(?:\+?1[-. ]?)?(?:\(\d{3}\) ?|\d{3}[-. ])\d{3}[-. ]\d{4}"
    r"|\+[2-9]\d{0,2}(?:[-. ]?\(?\d\)?){7,12}"
    r")(?![\w-])"
)
CARD = re.compile(r"(?<![\w.-])\d(?:[ -]?\d){11,18}(?![\w-]|\.\d)")
CARD_BEFORE = re.compile(r"\b(?:card|cc|visa|maestro|credit|debit|amex|mastercard)\b[^\n\d]{0,24}$", re.IGNORECASE)
IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?= ?[A-Z0-9]{4})")
AWS_KEY = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b(?<!EXAMPLE)")
PRIVATE_KEY = re.compile(r"-----BEGIN (?:[A-Z]+ ){0,3}PRIVATE KEY-----")
PRIVATE_KEY_END = re.compile(r"-----END (?:[A-Z]+ ){0,3}PRIVATE KEY-----")
KEY_LINES = re.compile(r"(?:(?:\s|\\[nr]){0,4}[A-Za-z0-9+/=]{50,})+")
LONGEST_KEY = 10_000
JWT = re.compile(r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}")
IPV4 = re.compile(r"(?<![\w.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\w]|\.\d)")
IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?:(?:\d{1,3}\.){3}\d{1,3})?(?![\w:])")
MAC = re.compile(
    r"(?<![\w:.-])(?:[0-9A-Fa-f]{2}([:-])(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}|"
    r"(?:[0-9A-Fa-f]{4}\.){2}[0-9A-Fa-f]{4})(?![\w:.-])"
)
URL_CREDENTIALS = re.compile(r"(?<=://)[^\s/:@\"'<>]{1,100}:[^\s/@\"'<>]{1,200}(?=@[\w\[])")
ETHEREUM = re.compile(r"\b0x[0-9a-fA-F]{40}\b")
BASE58 = re.compile(r"(?<!\w)[13][1-9A-HJ-NP-Za-km-z]{25,34}(?!\w)")
BECH32 = re.compile(r"(?<!\w)bc1[02-9ac-hj-np-z]{11,71}(?!\w)", re.IGNORECASE)
DIGITS = re.compile(r"\d{2}")

Matches = Iterator[tuple[int, int]]


def find(text: str) -> Iterator[Finding]:
    """Every e-mail address, phone, card and account number, AWS key, private key and JWT in the text."""
    yield from _all(text, "email", "spoken-email", "aws-key", "private-key", "jwt")
    if DIGITS.search(text):
        found = list(_all(text, "card"))
        yield from found
        for match in PHONE.finditer(text):
            if not any(card.start <= match.start() < card.end for card in found):
                yield Finding("phone", *match.span(), 0.6, "pattern:phone")
        yield from _all(text, "iban")


class PatternRecogniser:
    """All types that a pattern, with its checksum where there is one, decides alone."""

    types = ("email", "card", "iban", "ip", "mac", "url-credentials", "crypto", "secret")

    def find(self, text: str) -> Iterator[Finding]:
        """Every value of these types; phone numbers are found elsewhere, with the plans of their countries."""
        return _all(text, *RULES)


def _all(text: str, *names: str) -> Iterator[Finding]:
    for name in names:
        kind, mark, score, matches = RULES[name]
        if mark in text:
            yield from (Finding(kind, start, end, score, f"pattern:{name}") for start, end in matches(text))


def _spans(pattern: re.Pattern[str], accepts: Callable[[str], bool] | None = None) -> Callable[[str], Matches]:
    def matches(text: str) -> Matches:
        return (match.span() for match in pattern.finditer(text) if accepts is None or accepts(match.group()))

    return matches


def _spoken_emails(text: str) -> Matches:
    """Addresses as they are said; without the sign @ only where the text speaks of mail, as sites are said so too."""
    of_mail = "mail" in text.lower()
    return (match.span() for match in SPOKEN_EMAIL.finditer(text) if of_mail or "@" in match.group())


def _named_cards(text: str) -> Matches:
    """Numbers with a right check digit that are called a card, whoever issued them."""
    for match in CARD.finditer(text):
        digits = re.sub(r"\D", "", match.group())
        if is_luhn(digits) and CARD_BEFORE.search(text, max(0, match.start() - 40), match.start()):
            yield match.span()


def _ibans(text: str) -> Matches:
    for match in IBAN.finditer(text):
        length = IBAN_LENGTHS.get(match.group()[:2], 0)
        end = match.start()
        account = ""
        while len(account) < length and end < len(text) and (text[end].isalnum() or text[end] == " "):
            account += text[end].strip()
            end += 1
        follows = text[end : end + 1].isalnum()
        if account.isascii() and account.isupper() and not follows and is_iban(account):
            yield match.start(), end


def _private_keys(text: str) -> Matches:
    """From the first line of a key to its last, or to the last that looks like one where the end is missing."""
    position = 0
    while begin := PRIVATE_KEY.search(text, position):
        body = KEY_LINES.match(text, begin.end(), begin.end() + LONGEST_KEY)
        last_line = text.find("-----END ", begin.end(), begin.end() + LONGEST_KEY)
        end = PRIVATE_KEY_END.match(text, last_line) if last_line >= 0 else None
        position = end.end() if end else body.end() if body else begin.end()
        yield begin.start(), position


def _is_mentionable_ipv4(text: str) -> bool:
    """Whether it names a machine: not 0.0.0.0 and not this machine itself."""
    address = ipaddress.ip_address(text)
    return not (address.is_unspecified or address.is_loopback)


def _is_ipv6(text: str) -> bool:
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return any(character.isdigit() for character in text) and not (address.is_unspecified or address.is_loopback)


ALPHABET58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
ALPHABET32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
GENERATOR32 = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


def is_base58(text: str) -> bool:
    """Whether a Bitcoin address in base 58 has its right checksum (Bitcoin wiki, Base58Check encoding)."""
    number = 0
    for character in text:
        number = number * 58 + ALPHABET58.index(character)
    if number >= 1 << 200:
        return False
    content = number.to_bytes(25, "big")
    return hashlib.sha256(hashlib.sha256(content[:-4]).digest()).digest()[:4] == content[-4:]


def is_bech32(text: str) -> bool:
    """Whether a Bitcoin address in base 32 has its right checksum (BIP 173, and BIP 350 for later versions)."""
    if text not in (text.lower(), text.upper()):
        return False
    human, data = "bc", text.lower()[3:]
    values = [ord(letter) >> 5 for letter in human] + [0] + [ord(letter) & 31 for letter in human]
    checksum = 1
    for value in values + [ALPHABET32.index(letter) for letter in data]:
        top = checksum >> 25
        checksum = (checksum & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(GENERATOR32):
            checksum ^= generator if top >> bit & 1 else 0
    return checksum in (1, 0x2BC830A3)


RULES: dict[str, tuple[str, str, float, Callable[[str], Matches]]] = {
    "email": ("email", "@", 0.95, _spans(EMAIL)),
    "spoken-email": ("email", " dot ", 0.8, _spoken_emails),
    "aws-key": ("secret", "A", 1.0, _spans(AWS_KEY)),
    "private-key": ("secret", "PRIVATE KEY", 1.0, _private_keys),
    "jwt": ("secret", "eyJ", 1.0, _spans(JWT)),
    "card": ("card", "", 1.0, _spans(CARD, is_card)),
    "named-card": ("card", "", 0.9, _named_cards),
    "iban": ("iban", "", 1.0, _ibans),
    "ipv4": ("ip", ".", 0.9, _spans(IPV4, _is_mentionable_ipv4)),
    "ipv6": ("ip", ":", 0.9, _spans(IPV6, _is_ipv6)),
    "mac": ("mac", "", 0.9, _spans(MAC)),
    "url-credentials": ("url-credentials", "://", 1.0, _spans(URL_CREDENTIALS)),
    "ethereum": ("crypto", "0x", 0.9, _spans(ETHEREUM)),
    "base58": ("crypto", "", 1.0, _spans(BASE58, is_base58)),
    "bech32": ("crypto", "1", 1.0, _spans(BECH32, is_bech32)),
}
"""Name of the rule → type, what must occur for it to be tried at all, score, where it applies."""
