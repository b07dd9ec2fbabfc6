"""Repairs of one text: wrongly decoded characters, Unicode forms, control characters, HTML residue, white space."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable

WORDS_OF_MARKUP = re.compile(r"\b(?:html|xml|xhtml|css|jsx?|javascript|tags?|markup|element)\b", re.IGNORECASE)
ENTITY = re.compile(r"&(?:#\d{1,7}|#x[0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});")
BREAK = re.compile(r"<(?:br|hr)\s*/?>", re.IGNORECASE)
COMMENT = re.compile(r"<!--.{0,10000}?-->", re.DOTALL)
TAG = re.compile(
    r"<(/?)(a|abbr|b|big|blockquote|center|cite|dd|div|dl|dt|em|font|h[1-6]|i|img|li|ol|p|small|span|strong|sub|sup|"
    r"table|tbody|td|th|thead|tr|u|ul)(?:\s[^<>]{0,2000})?/?>",
    re.IGNORECASE,
)
ENDS_LINE = ("p", "div", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "dd", "dt", "table", "ul", "ol")
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
TERMINAL_ESCAPE = re.compile("\x1b\\[[0-?]*[ -/]*[@-~]")
INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff]")
ODD_SPACE = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
SPACES = re.compile(r"(?<=\S)[ \t]{2,}(?=\S)")
TRAILING = re.compile(r"[ \t]+$", re.MULTILINE)
BLANK_LINES = re.compile(r"\n{3,}")

SQL = re.compile(
    r"\bselect\b.{1,2000}?\bfrom\b\s+[\w\"`\[(]|\binsert\s+into\b|\bupdate\b\s+\w+\s+set\b|\bcreate\s+table\b",
    re.IGNORECASE | re.DOTALL,
)
CODE_LINE = re.compile(
    r"^\s*(?:def \w+\(.*\).*:|class \w+.*[:{]|import [\w.]+;?|from [\w.]+ import |#include\b|"
    r"(?:public|private|static) \w|"
    r"(?:const|let|var) \w+ ?=|function\b.*\{|return\b.*;|(?:if|for|while) ?\(.*\) ?\{|.*[;{}]\s*$|\w+\(.*\);?$)"
)
CODE_SHARE = 0.5
"""Share of a text's lines that must look like code."""


def is_code(text: str) -> bool:
    """Whether a text holds code or SQL, by its own marks; such a text is verbatim unless asked otherwise."""
    if "```" in text or ("select" in text.lower() and SQL.search(text)):
        return True
    if not any(mark in text for mark in "(;{="):
        return bool(SQL.search(text))
    lines = [line for line in text.split("\n") if line.strip()]
    return sum(bool(CODE_LINE.match(line)) for line in lines) > CODE_SHARE * len(lines) and len(lines) > 1


def encoding(text: str) -> str:
    """Undo decoding with the wrong table ("cafÃ©"), by ftfy; quotes, ligatures and widths stay as they are."""
    if text.isascii():
        return text
    import ftfy

    repaired: str = ftfy.fix_encoding(text)
    return repaired


def normal_form(text: str) -> str:
    """Unicode's composed form (NFC): the same letter has the same code points."""
    return text if text.isascii() or unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text)


def control_characters(text: str) -> str:
    """Without control characters and terminal escapes; line breaks and tabs stay."""
    return CONTROL.sub("", TERMINAL_ESCAPE.sub("", text)) if CONTROL.search(text) else text


def html_residue(text: str) -> str:
    """Without entities, and without tags that come in pairs; a text that speaks of HTML is left alone."""
    if ("&" not in text and "<" not in text) or WORDS_OF_MARKUP.search(text):
        return text
    cleared = BREAK.sub("\n", COMMENT.sub("", text)) if "<" in text else text
    found = TAG.findall(cleared) if "<" in cleared else []
    closed = {name.lower() for slash, name in found if slash}
    opened = {name.lower() for slash, name in found if not slash}
    pairs = (closed & opened) | ({"img"} & opened)
    if pairs:
        cleared = TAG.sub(lambda match: _tag(match, pairs), cleared)
    return ENTITY.sub(_entity, cleared) if "&" in cleared else cleared


def _tag(match: re.Match[str], pairs: set[str]) -> str:
    name = match[2].lower()
    if name not in pairs:
        return match.group()
    return "\n" if match[1] and name in ENDS_LINE else ""


def _entity(match: re.Match[str]) -> str:
    character = html.unescape(match.group())
    return match.group() if CONTROL.search(character) or "\ud800" <= character <= "\udfff" else character


def white_space(text: str) -> str:
    """Line ends as line feeds, one kind of space and one at a time, at most one blank line, nothing around.

    The indentation of a line stays.
    """
    if not text.isascii():
        text = ODD_SPACE.sub(" ", INVISIBLE.sub("", text))
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "  " in text or "\t" in text:
        text = SPACES.sub(" ", text)
    if "\n" in text:
        text = BLANK_LINES.sub("\n\n", TRAILING.sub("", text))
    return text.strip(" \t\n")


REPAIRS: dict[str, Callable[[str], str]] = {
    "encoding": encoding,
    "control_characters": control_characters,
    "html": html_residue,
    "normal_form": normal_form,
    "white_space": white_space,
}
"""By the name of the parameter that asks for it, in the order in which they are made."""
