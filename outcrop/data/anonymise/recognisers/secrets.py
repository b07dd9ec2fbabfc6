"""Keys, tokens and passwords: the named detectors of detect-secrets, without those that judge by entropy."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from typing import Any

from outcrop.data.anonymise.findings import Finding

DETECTORS = {
    "artifactory:ArtifactoryDetector": "AKC",
    "aws:AWSKeyDetector": "A",
    "azure_storage_key:AzureStorageKeyDetector": "AccountKey",
    "discord:DiscordBotTokenDetector": ".",
    "github_token:GitHubTokenDetector": "gh",
    "gitlab_token:GitLabTokenDetector": "gl",
    "mailchimp:MailchimpDetector": "-us",
    "npm:NpmDetector": "_authToken",
    "openai:OpenAIDetector": "sk-",
    "pypi_token:PypiTokenDetector": "pypi-",
    "sendgrid:SendGridDetector": "SG.",
    "slack:SlackDetector": "xox",
    "square_oauth:SquareOAuthDetector": "sq0csp-",
    "stripe:StripeDetector": "k_live",
    "telegram_token:TelegramBotTokenDetector": ":",
    "twilio:TwilioKeyDetector": "",
}
"""Module and class → what must occur for it to be tried at all."""

NEWER = re.compile(
    r"\b(?:github_pat_\w{60,90}|sk-ant-[\w-]{24,120}|sk-proj-[\w-]{24,180}|hf_[A-Za-z0-9]{30,40}|AIza[\w-]{35}|"
    r"ya29\.[\w-]{20,200}|glpat-[\w-]{20,40}|dop_v1_[a-f0-9]{64}|shpat_[a-f0-9]{32})(?![\w-])"
)
"""Tokens that came after the last release of detect-secrets, in the forms that their services publish."""

LONG_WORD = re.compile(r"[\w./+=:-]{16}")
ASSIGNED = re.compile(
    r"(?<![A-Za-z])(?:[A-Za-z0-9_-]{0,30}[_-])?(?:password|passwd|pwd|passphrase|secret|api[_-]?key|apikey|"
    r"access[_-]?key|"
    r"secret[_-]?key|auth[_-]?token|access[_-]?token|client[_-]?secret|private[_-]?key)"
    r"[\"']?\s{0,3}(?::=|=>|=|:|\bis\b)\s{0,3}(?P<quote>[\"'`]?)(?P<value>[^\s\"'`<>{}\[\]()$,;]{6,200})(?P=quote)",
    re.IGNORECASE,
)
NO_SECRET = re.compile(
    r"(?:none|null|true|false|undefined|required|optional|string|your[\w-]*|x{3,}|\*{3,}|\.{3,}|example\w*|changeme|"
    r"%\w+)\W*",
    re.IGNORECASE,
)


class SecretRecogniser:
    """Tokens with the form of a known service, and values assigned to words such as password."""

    types = ("secret",)

    def __init__(self) -> None:
        self._detectors = [(mark, _detector(place)) for place, mark in DETECTORS.items()]

    def __reduce__(self) -> tuple[Any, ...]:
        return SecretRecogniser, ()

    def find(self, text: str) -> Iterator[Finding]:
        """Every secret of the text."""
        for match in ASSIGNED.finditer(text):
            value = match["value"].rstrip(".!?")
            if not NO_SECRET.fullmatch(value) and (match["quote"] or _is_odd(value)):
                start = match.start("value")
                yield Finding("secret", start, start + len(value), 0.8, "secret:assigned")
        if not LONG_WORD.search(text):
            return
        for match in NEWER.finditer(text):
            yield Finding("secret", *match.span(), 0.95, "secret:token")
        for mark, detector in self._detectors:
            if mark in text:
                # The detectors' own search yields only the groups of some patterns: "ghp" for a whole GitHub token.
                rule = f"detect-secrets:{detector.secret_type.lower().replace(' ', '-')}"
                for pattern in detector.denylist:
                    spans = (match.span() for match in pattern.finditer(text))
                    yield from (Finding("secret", start, end, 0.95, rule) for start, end in spans)


def _detector(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(f"detect_secrets.plugins.{module}"), name)()


def _is_odd(value: str) -> bool:
    """Whether a value is no plain word: it has a digit or a sign, and letters."""
    return any(not character.isalpha() for character in value) and any(character.isalpha() for character in value)
