"""Organisations, by the words that firms and institutions have in their names."""

from __future__ import annotations

import re
from collections.abc import Iterator

from outcrop.data.anonymise.findings import Finding

NAME = r"[A-Z][\w&'’.-]*"
FORMS = (
    r"(?:Inc\.?|Incorporated|Ltd\.?|Limited|LLC|LLP|PLC|plc|GmbH|AG|SE|KG|Corp\.?|Corporation|Group|Company|Co\.|"
    r"S\.A\.|"
    r"N\.V\.|B\.V\.|A/S|Oy|Bank|University|College|Institute|Hospital|Foundation|Holdings|Partners|Associates|"
    r"Airlines|Society|Association|Ministry|Agency|Council|Orchestra|Ventures|Capital|Solutions|Systems|Technologies|"
    r"and Sons)(?!\w)"
)
FORM = re.compile(FORMS)
FIRM = re.compile(
    rf"\b{NAME}(?:(?:,? | and | & | of | for )(?:the )?{NAME}){{0,5}}?,? "
    rf"{FORMS}"
)
AMONG_PARTNERS = re.compile(rf"\b{NAME}, {NAME} and {NAME}\b|\b[A-Z][a-z]+-[A-Z][a-z]+(?= (?:is|was|has|announced)\b)")
WORKS_FOR = re.compile(
    rf"\b(?:work(?:s|ed|ing)? (?:for|at)|employed (?:by|at)|CEO of|founder of|employer:|company:|director of)\s+"
    rf"((?:the )?{NAME}(?: {NAME}){{0,4}})"
)


def organisations(text: str) -> Iterator[Finding]:
    """Every organisation that its form or the words before it give away."""
    if FORM.search(text):
        for match in FIRM.finditer(text):
            yield Finding("organisation", *match.span(), 0.7, "organisation:form")
    for match in AMONG_PARTNERS.finditer(text):
        yield Finding("organisation", *match.span(), 0.6, "organisation:partners")
    for match in WORKS_FOR.finditer(text):
        yield Finding("organisation", *match.span(1), 0.7, "organisation:context")
