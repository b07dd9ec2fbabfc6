"""Presidio's own engine with a blank spaCy pipeline, as its documentation sets it up, never touching the network."""

from __future__ import annotations

import logging
import os

# tldextract would fetch the list of public suffixes at its first use; its bundled copy is taken instead.
os.environ.setdefault("TLDEXTRACT_CACHE_TIMEOUT", "0.001")
logging.getLogger("tldextract").setLevel(logging.CRITICAL)

import spacy  # noqa: E402
import tldextract  # noqa: E402
from presidio_analyzer import AnalyzerEngine, RecognizerRegistry  # noqa: E402
from presidio_analyzer.nlp_engine import SpacyNlpEngine  # noqa: E402

from outcrop.data.anonymise.findings import Finding  # noqa: E402

TYPES = {
    "EMAIL_ADDRESS": "email", "CREDIT_CARD": "card", "IBAN_CODE": "iban", "IP_ADDRESS": "ip", "MAC_ADDRESS": "mac",
    "CRYPTO": "crypto", "PHONE_NUMBER": "phone", "US_SSN": "national-id", "US_ITIN": "national-id",
    "US_PASSPORT": "national-id", "US_DRIVER_LICENSE": "national-id", "UK_NHS": "national-id", "UK_NINO": "national-id",
}  # fmt: skip
THRESHOLD = 0.4
"""Presidio's usual threshold: a phone number without context scores 0.4."""


class BlankEngine(SpacyNlpEngine):
    """English words and nothing else: no model is loaded, so none is missing."""

    def load(self) -> None:
        """Make the pipeline."""
        self.nlp = {"en": spacy.blank("en")}

    def is_loaded(self) -> bool:
        """Always true after `load`."""
        return bool(self.nlp)


class PlainPresidio:
    """Presidio's default recognisers."""

    def __init__(self) -> None:
        tldextract.tldextract.TLD_EXTRACTOR = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
        engine = BlankEngine()
        engine.load()
        registry = RecognizerRegistry()
        registry.load_predefined_recognizers(languages=["en"])
        registry.remove_recognizer("SpacyRecognizer")
        self._engine = AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=["en"])

    def find(self, text: str) -> list[Finding]:
        """Its findings of the types that Outcrop has too."""
        return [
            Finding(TYPES[result.entity_type], result.start, result.end, result.score, result.entity_type)
            for result in self._engine.analyze(text, language="en", score_threshold=THRESHOLD)
            if result.entity_type in TYPES
        ]
