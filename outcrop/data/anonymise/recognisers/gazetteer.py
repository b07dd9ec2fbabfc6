"""Names, places and organisations of a text, read once for all three."""

from __future__ import annotations

from collections.abc import Iterator

from outcrop.data.anonymise.findings import Finding
from outcrop.data.anonymise.recognisers.organisations import organisations
from outcrop.data.anonymise.recognisers.people import names, partners, small_names
from outcrop.data.anonymise.recognisers.places import places
from outcrop.data.anonymise.runs import is_shouting, runs


class GazetteerRecogniser:
    """Names, places, organisations by lists and by the words around them; English contexts, names of many languages."""

    types: tuple[str, ...] = ("name", "place", "organisation")

    def __init__(self, types: tuple[str, ...] = types) -> None:
        self.types = types

    def find(self, text: str) -> Iterator[Finding]:
        """Every finding of the asked types. Names and places judge each other even where only one is asked for."""
        found: list[Finding] = []
        if not is_shouting(text):
            for run in runs(text):
                found += names(text, run)
                found += places(text, run)
            found += partners(text, found)
        found += small_names(text)
        if "organisation" in self.types:
            found += organisations(text)
        return (each for each in found if each.type in self.types)
