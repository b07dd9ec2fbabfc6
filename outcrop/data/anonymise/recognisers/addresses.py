"""Postal addresses: street and number as many countries write them, boxes, and the lines that follow."""

from __future__ import annotations

import re
from collections.abc import Iterator

from outcrop.data.anonymise.findings import Finding
from outcrop.data.anonymise.gazetteer import COUNTRY, fold, words
from outcrop.data.anonymise.lexicon import any_of, lexicon

CAPITAL = r"[A-ZÀ-ÖØ-ÞĀĂĄĆĈĊČĎĐĒĖĘĚĜĞĠĢĤĪĮİĶĹĻĽŁŃŅŇŌŐŒŔŘŚŜŞŠŢŤŪŮŰŲŹŻŽΑ-ΩА-Я]"
PROPER = rf"{CAPITAL}[\w'’.-]*"
SMALL = (
    r"(?:de|la|le|les|des|du|di|da|do|del|della|dei|degli|van|von|der|den|het|y|e|st\.?|"
    r"\d{1,2}(?:st|nd|rd|th)|\d{1,2}\.)"
)
NUMBER = r"\d{1,6}[A-Za-z]?(?:[-/]\d{1,4}[A-Za-z]?)?"
KIND = any_of(lexicon("street_kinds"))
GLUED_WORDS = lexicon("street_endings")
GLUED = any_of(GLUED_WORDS)
LEADING = any_of(lexicon("street_beginnings"))
UNIT = (
    r"(?:(?:Apt|Apartment|Suite|Ste|Unit|Flat|Room|Rm|Floor|Fl|Building|Bldg|App|Lgh|Top)\.? ?#?\d{1,5}[A-Za-z]?"
    r"|#\d{1,5})"
)
POSTCODE = (
    r"(?:\d{5}-\d{3,4}|\d{4,6}|\d{2,3}-\d{2,3}|\d{3} \d{2}|\d{4} ?[A-Z]{2}|[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}|"
    r"[A-Z]\d[A-Z] ?\d[A-Z]\d|\d{3})"
    r"(?![ /-]?\d)"
)
TOWN = rf"{CAPITAL}(?:[^\W\d]|['’()-])*(?:[ -](?:{CAPITAL}(?:[^\W\d]|['’()-])*|{SMALL})){{0,3}}"
BOX = re.compile(
    r"\b(?:(?:PSC|Unit|CMR) \d{1,5},? Box \d{1,5}|P\.? ?O\.? ?Box \d{1,6}|Postfach \d{2}[\d ]*|USN[SV] [A-Z][a-z]+|"
    r"USS [A-Z][a-z]+|USCGC [A-Z][a-z]+)",
)
STREETS = (
    re.compile(
        rf"(?:\b{NUMBER},? )?(?<!\w){NUMBER} (?:{PROPER} ){{1,4}}{KIND}\b\.?(?: (?:North|South|East|West|"
        rf"[NSEW]{{1,2}})\b)?"
    ),
    re.compile(
        rf"(?:\b{NUMBER},? )?(?<!\w)(?:{PROPER} ){{0,3}}"
        rf"{CAPITAL}\w*(?: (?=[a-zA-ZúÚ]))?(?i:{GLUED})(?!\w),? {NUMBER}\b"
    ),
    re.compile(
        rf"(?:\b{NUMBER},? )?(?:\b{NUMBER},? )?(?<!\w)(?i:{LEADING}) (?:(?i:{SMALL}) |d['’]|l['’]|"
        rf"{PROPER} ){{0,4}}(?:{PROPER}|\w{{3,}})(?:,? {NUMBER}\b)?"
    ),
)
"""Number and street, street in one word and number, street that begins with its kind."""

CROSSING = re.compile(rf"\bthe corner of [^\n!?;]{{2,40}}? and {PROPER}(?: {PROPER}){{0,2}}(?: {NUMBER}\b)?")
BY_FORM = re.compile(rf"(?<![\w.,-]){NUMBER} (?:{NUMBER} )?{PROPER}(?: (?:{PROPER}|{SMALL})){{0,4}}(?: {NUMBER}\b)?")
NUMBER_LAST = re.compile(rf"(?<!\w){PROPER}(?: (?:{PROPER}|{SMALL})){{0,4}},? {NUMBER}\b")
SAID_BEFORE = re.compile(
    r"(?:\baddress(?: is|:| to)?(?: [\w ]{0,24}(?:to|is|:|the same:))?|\baddress:|\bliv(?:e|es|ed|ing) (?:in|at|on|"
    r"near)|\b(?:located|is|restaurant|house|office|store|shop) at|"
    r"\b(?:moved|move|ship|deliver|send|sent|mail|post|taxi|cab|drive|come|go|meet(?: you| me| us)?|enter|"
    r"stay(?:ing)?|side) (?:it |them )?(?:to|at|on|of)|"
    r"\buser:|\bwhere:|\bit is)\s*$",
    re.IGNORECASE,
)
LETTERS = re.compile(r"[^\W\d_]+")
ADDRESS_WORDS = frozenset(lexicon("address_words"))
BOX_WORDS = frozenset(lexicon("box_words"))
POSTCODE_WORDS = frozenset(lexicon("postcode_words"))
KINDS = frozenset(word.casefold() for word in lexicon("street_kinds"))
LEADING_WORDS = frozenset(word.casefold().rstrip("./") for word in lexicon("street_beginnings"))
NUMBERED = re.compile(r"([^\W\d_]+\.?),? \d")
TAIL = re.compile(
    rf"(?:[ \t]*(?:\.,|,\n|,|\n(?:[ \t]*\n)?[ \t>?]*,|\n(?:[ \t]*\n)?)[ \t>?]*|\.?[ \t]+(?={UNIT}|{POSTCODE}\b))"
    rf"(?:(?P<unit>{UNIT})|(?P<code>(?:[A-Z]{{2,3}}[ -])?{POSTCODE}(?: {TOWN})?)|(?P<apo>[AFD]PO [A-Z]{{2}} \d{{5}})"
    rf"|(?P<town>{TOWN}|nan|[a-z]{{2}}|\d{{1,2}})(?:,? (?P<state>[A-Z]{{2}}|nan))?(?:,? (?P<zip>{POSTCODE}))?)(?!\w)"
)
ZIP_IN_CONTEXT = re.compile(
    r"\b(?:zip(?: ?code)?|post(?:al)? ?code|plz|c\.?p\.?)(?: is|:| of|"
    r" number)*\s*(?P<code>[A-Z\d][A-Z\d -]{1,9}\d\w{0,2})\b",
    re.IGNORECASE,
)
CONTEXT_CHARS = 60
LONGEST_TAIL = 7


class AddressRecogniser:
    """Addresses by the form of their street, and by the words and lines around them."""

    types = ("address",)

    def find(self, text: str) -> Iterator[Finding]:
        """Every address of the text, with flat, town and postcode where they follow."""
        if not any(digit in text for digit in "0123456789") and "corner" not in text:
            return
        said = set(LETTERS.findall(text.casefold()))
        if said & BOX_WORDS:
            for match in BOX.finditer(text):
                yield self._extended(text, *match.span(), 0.85, "box")
        for pattern, score, hinted in zip(STREETS, (0.85, 0.8, 0.75), _hints(text, said), strict=True):
            for match in pattern.finditer(text) if hinted else ():
                numbered = any(character.isdigit() for character in match.group())
                if numbered or said & ADDRESS_WORDS:
                    yield self._extended(text, *match.span(), score if numbered else 0.5, "street")
        if "corner" in said:
            for match in CROSSING.finditer(text):
                yield Finding("address", *match.span(), 0.8, "address:corner")
        if said & POSTCODE_WORDS:
            for match in ZIP_IN_CONTEXT.finditer(text):
                yield Finding("address", *match.span("code"), 0.8, "address:postcode")
        yield from self._by_surroundings(text)

    def _by_surroundings(self, text: str) -> Iterator[Finding]:
        """Forms that other things have too, after words that announce one, on a line of their own, before a flat."""
        for pattern in (BY_FORM, NUMBER_LAST):
            for match in pattern.finditer(text):
                before = text[max(0, match.start() - CONTEXT_CHARS) : match.start()]
                tail = TAIL.match(text, match.end())
                if SAID_BEFORE.search(before) or (tail and (tail["unit"] or tail["apo"])):
                    yield self._extended(text, *match.span(), 0.7, "context")
                elif text.count("\n") >= 2 and _own_line(text, match.start(), match.end()):
                    yield self._extended(text, *match.span(), 0.55, "line")

    def _extended(self, text: str, start: int, end: int, score: float, rule: str) -> Finding:
        """The street with the flat, town, state, postcode and country after it.

        Words without a digit are taken only where a postcode, a flat or the end of a line shows that they belong to it.
        """
        position = kept = end
        for _ in range(LONGEST_TAIL):
            match = TAIL.match(text, position)
            if match is None:
                break
            position = match.end()
            known = any(match[group] for group in ("unit", "code", "apo", "zip", "state"))
            ends_line = "\n" in match.group() and text[position : position + 1] in ("", "\n")
            if known or ends_line or COUNTRY in words().get(fold(match["town"]), ""):
                kept = position
        return Finding("address", start, kept, score, f"address:{rule}")


def _hints(text: str, said: set[str]) -> tuple[bool, bool, bool]:
    """Which of STREETS can match at all: searching for them is a hundred times dearer than looking for their words."""
    return (
        bool(said & KINDS),
        any(match[1].lower().endswith(GLUED_WORDS) for match in NUMBERED.finditer(text)),
        bool(said & LEADING_WORDS),
    )


def _own_line(text: str, start: int, end: int) -> bool:
    line = text.rfind("\n", 0, start) + 1
    stop = text.find("\n", end)
    return not text[line:start].strip(" \t>?") and not text[end : stop if stop >= 0 else len(text)].strip(" \t,")
