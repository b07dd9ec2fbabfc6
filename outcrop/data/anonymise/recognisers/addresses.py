"""Postal addresses: street and number as many countries write them, boxes, and the lines that follow."""

from __future__ import annotations

import re
from collections.abc import Iterator

from outcrop.data.anonymise.findings import Finding
from outcrop.data.anonymise.gazetteer import COUNTRY, fold, words

CAPITAL = r"[A-ZÀ-ÖØ-ÞĀĂĄĆĈĊČĎĐĒĖĘĚĜĞĠĢĤĪĮİĶĹĻĽŁŃŅŇŌŐŒŔŘŚŜŞŠŢŤŪŮŰŲŹŻŽΑ-ΩА-Я]"
PROPER = rf"{CAPITAL}[\w'’.-]*"
SMALL = r"(?:de|la|le|les|des|du|di|da|do|del|della|dei|degli|van|von|der|den|het|y|e|st\.?|\d{1,2}(?:st|nd|rd|th)|\d{1,2}\.)"
NUMBER = r"\d{1,6}[A-Za-z]?(?:[-/]\d{1,4}[A-Za-z]?)?"
KIND = (
    r"(?:Street|St|Avenue|Ave|Av|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Place|Pl|Square|Sq|Terrace|Ter|Way|"
    r"Parkway|Pkwy|Highway|Hwy|Circle|Cir|Close|Crescent|Cres|Grove|Gardens|Hill|Mews|Row|Walk|Quay|Wharf|Pike|Alley|"
    r"Trail|Loop|Plaza|Esplanade|Parade|Rise|Ridge|View|Green|Heights|Crossing|Junction|Bypass|Turnpike)"
)
GLUED_WORDS = tuple(
    "straße strasse str. gasse weg allee platz ufer laan straat gracht plein kade dreef katu kuja polku tie vägen gatan "
    "gränd stigen vej gade stræde allé vænget veien vegen gata gaten svingen braut stígur vegur götu utca tér körút út".split()
)
GLUED = f"(?:{'|'.join(map(re.escape, GLUED_WORDS))})"
LEADING = (
    r"(?:Rue|Avenue|Av\.|Boulevard|Bd|Impasse|Chemin|Allée|Place|Quai|Route|Cours|Via|Viale|Piazza|Piazzetta|Piazzale|Corso|"
    r"Strada|Vicolo|Largo|Calle|C/|Carrer|Avenida|Avda\.?|Plaza|Paseo|Camino|Carretera|Rúa|Rua|Praça|Travessa|Estrada|"
    r"ul\.|Ulica|al\.|os\.|pl\.|Rruga|Strada|Calea|Bulevardul|Jalan|Jl\.)"
)
UNIT = r"(?:(?:Apt|Apartment|Suite|Ste|Unit|Flat|Room|Rm|Floor|Fl|Building|Bldg|App|Lgh|Top)\.? ?#?\d{1,5}[A-Za-z]?|#\d{1,5})"
POSTCODE = (
    r"(?:\d{5}-\d{3,4}|\d{4,6}|\d{2,3}-\d{2,3}|\d{3} \d{2}|\d{4} ?[A-Z]{2}|[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}|[A-Z]\d[A-Z] ?\d[A-Z]\d|\d{3})"
    r"(?![ /-]?\d)"
)
TOWN = rf"{CAPITAL}[\w'’()-]*(?:[ -](?:{CAPITAL}[\w'’()-]*|{SMALL})){{0,3}}"
BOX = re.compile(
    r"\b(?:(?:PSC|Unit|CMR) \d{1,5},? Box \d{1,5}|P\.? ?O\.? ?Box \d{1,6}|Postfach \d{2}[\d ]*|USN[SV] [A-Z][a-z]+|USS [A-Z][a-z]+|USCGC [A-Z][a-z]+)",
)
STREETS = (
    re.compile(rf"(?:\b{NUMBER},? )?(?<!\w){NUMBER} (?:{PROPER} ){{1,4}}{KIND}\b\.?(?: (?:North|South|East|West|[NSEW]{{1,2}})\b)?"),
    re.compile(rf"(?:\b{NUMBER},? )?(?<!\w)(?:{PROPER} ){{0,3}}{CAPITAL}\w*(?: (?=[a-zA-ZúÚ]))?(?i:{GLUED})(?!\w),? {NUMBER}\b", re.UNICODE),
    re.compile(
        rf"(?:\b{NUMBER},? )?(?:\b{NUMBER},? )?(?<!\w)(?i:{LEADING}) (?:(?i:{SMALL}) |d['’]|l['’]|{PROPER} ){{0,4}}(?:{PROPER}|\w{{3,}})(?:,? {NUMBER}\b)?"
    ),
)
"""Number and street, street in one word and number, street that begins with its kind."""

CROSSING = re.compile(rf"\bthe corner of [^\n!?;]{{2,40}}? and {PROPER}(?: {PROPER}){{0,2}}(?: {NUMBER}\b)?")
BY_FORM = re.compile(rf"(?<![\w.,-]){NUMBER} (?:{NUMBER} )?{PROPER}(?: (?:{PROPER}|{SMALL})){{0,4}}(?: {NUMBER}\b)?")
NUMBER_LAST = re.compile(rf"(?<!\w){PROPER}(?: (?:{PROPER}|{SMALL})){{0,4}},? {NUMBER}\b")
SAID_BEFORE = re.compile(
    r"(?:\baddress(?: is|:| to)?(?: [\w ]{0,24}(?:to|is|:|the same:))?|\baddress:|\bliv(?:e|es|ed|ing) (?:in|at|on|near)|\b(?:located|is|restaurant|house|office|store|shop) at|"
    r"\b(?:moved|move|ship|deliver|send|sent|mail|post|taxi|cab|drive|come|go|meet(?: you| me| us)?|enter|stay(?:ing)?|side) (?:it |them )?(?:to|at|on|of)|"
    r"\buser:|\bwhere:|\bit is)\s*$",
    re.IGNORECASE,
)
LETTERS = re.compile(r"[^\W\d_]+")
ADDRESS_WORDS = frozenset(
    "address live lives lived located deliver ship sent moved street apt suite zip postcode postal".split()
)
BOX_WORDS = frozenset("box postfach usns usnv uss uscgc".split())
POSTCODE_WORDS = frozenset("zip zipcode postcode postal post plz cp c".split())
KINDS = frozenset(LETTERS.findall(KIND.casefold()))
LEADING_WORDS = frozenset(LETTERS.findall(LEADING.casefold()))
NUMBERED = re.compile(r"([^\W\d_]+\.?),? \d")
TAIL = re.compile(
    rf"(?:[ \t]*(?:\.,|,\n|,|\n(?:[ \t]*\n)?[ \t>?]*,|\n(?:[ \t]*\n)?)[ \t>?]*|\.?[ \t]+(?={UNIT}|{POSTCODE}\b))"
    rf"(?:(?P<unit>{UNIT})|(?P<code>(?:[A-Z]{{2,3}}[ -])?{POSTCODE}(?: {TOWN})?)|(?P<apo>[AFD]PO [A-Z]{{2}} \d{{5}})"
    rf"|(?P<town>{TOWN}|nan|[a-z]{{2}}|\d{{1,2}})(?:,? (?P<state>[A-Z]{{2}}|nan))?(?:,? (?P<zip>{POSTCODE}))?)(?!\w)"
)
ZIP_IN_CONTEXT = re.compile(
    r"\b(?:zip(?: ?code)?|post(?:al)? ?code|plz|c\.?p\.?)(?: is|:| of| number)*\s*(?P<code>[A-Z\d][A-Z\d -]{1,9}\d\w{0,2})\b", re.IGNORECASE
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
            if match["unit"] or match["code"] or match["apo"] or match["zip"] or match["state"]:
                kept = position
            elif COUNTRY in words().get(fold(match["town"]), ""):
                kept = position
            elif "\n" in match.group() and text[position : position + 1] in ("", "\n"):
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
