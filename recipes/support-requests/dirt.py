"""Plant the defects that real exports have, in known numbers, so that a check can be judged by what it finds."""

from __future__ import annotations

import html
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace

from compose import BANK, Dice, Request, five_grams, jaccard

PLANTED = {  # extra rows, then rows changed where they stand
    "exact duplicate": 30,
    "near duplicate": 40,
    "conflicting labels": 15,  # texts, each carried by two rows
    "label variant": 6,
    "empty message": 4,
    "null label": 2,
    "contact details": 20,
    "mojibake": 12,
    "CR LF": 8,
    "double space": 12,
    "trailing space": 10,
    "HTML entity": 8,
    "line separator": 1,
}
NEAR = 0.85  # char-5-gram Jaccard from which two different texts count as near duplicates
EMPTY = ("", "", "   ", "\n")
PHONES = ("555-01{}", "555 01{}", "(020) 555-01{}", "+1 555-01{}")
MAIL = ("{0}.{1}@example.com", "{0}{2}@example.org", "{1}.{0}@example.net", "{0}_{1}@example.com")
ASK = ("Ring me on {}.", "My number is {}.", "Please call {}", "Reach me at {}", "Mobile {}", "Tel. {}")
WRITE = ("My mail is {}", "Please write to {}.", "Answer to {} please.", "(account {})", "I am registered as {}.")


@dataclass(frozen=True)
class Row:
    """A line of the file before it has an id; intent None is the null label."""

    message: str
    intent: str | None
    channel: str


def plant(requests: list[Request], dice: Dice) -> list[Row]:
    """All rows in their final order: the clean requests with PLANTED defects among them."""
    rows = [Row(request.message, request.intent, request.channel) for request in requests]
    planter = _Planter(rows, dice)
    planter.change("line separator", lambda row: _message(row, row.message.replace("\n", "\u2028", 1)))
    planter.change("CR LF", lambda row: _message(row, row.message.replace("\n", "\r\n")))
    planter.change("mojibake", lambda row: _message(row, _mojibake(row.message)))
    planter.change("HTML entity", lambda row: _message(row, html.escape(row.message).replace("&#x27;", "&#39;")))
    planter.change("contact details", lambda row: _message(row, _with_contact(row.message, dice)))
    planter.change("double space", lambda row: _message(row, row.message.replace(" ", "  ", 2)))
    planter.change("trailing space", lambda row: _message(row, row.message + dice.pick((" ", "  ", "\t", " \n"))))
    planter.change("label variant", lambda row: replace(row, intent=_variant(str(row.intent), dice)))
    planter.change("empty message", lambda row: replace(row, message=dice.pick(EMPTY)))
    planter.change("null label", lambda row: replace(row, intent=None))
    planter.copy("exact duplicate", lambda row: row)
    planter.copy("near duplicate", lambda row: _message(row, _nearly(row.message, dice)))
    return dice.shuffled([*planter.rows, *_conflicts(dice)])


class _Planter:
    """Gives every defect rows of its own, so that no count disturbs another."""

    def __init__(self, rows: list[Row], dice: Dice) -> None:
        self.rows = list(rows)
        self._free = dice.shuffled(range(len(rows)))

    def change(self, defect: str, edit: Callable[[Row], Row]) -> None:
        """Edit as many untouched rows in place as PLANTED says; a row that the edit leaves as it was is passed over."""
        for place, edited in self._edited(defect, edit):
            self.rows[place] = edited

    def copy(self, defect: str, edit: Callable[[Row], Row]) -> None:
        """Append edited copies of as many untouched rows as PLANTED says."""
        self.rows += [edited for _, edited in self._edited(defect, edit, copies=True)]

    def _edited(self, defect: str, edit: Callable[[Row], Row], *, copies: bool = False) -> list[tuple[int, Row]]:
        found: list[tuple[int, Row]] = []
        while len(found) < PLANTED[defect]:
            usable = (place for place in self._free if len(self.rows[place].message) >= 40)
            for place in usable:
                edited = edit(self.rows[place])
                if edited != self.rows[place] or (copies and defect == "exact duplicate"):
                    break
            else:
                raise SystemExit(f"No row is left that could carry the defect {defect!r}.")
            self._free.remove(place)
            found.append((place, edited))
        return found


def _message(row: Row, message: str) -> Row:
    return replace(row, message=message)


def _mojibake(text: str) -> str:
    typographic = text.replace("'", "\u2019")
    if set(typographic) & {"\u2019", "£"} and max(typographic) <= "\u2019":  # emoji hold bytes that cp1252 lacks
        return typographic.encode().decode("cp1252")
    return text


def _with_contact(text: str, dice: Dice) -> str:
    if " the " not in text.lower():  # the sentences added are English, so the row must be
        return text
    number = 10 + dice.below(90)
    if dice.chance(0.5):
        sentence = dice.pick(ASK).format(dice.pick(PHONES).format(number))
    else:
        names = ("anna", "moss", "ruth", "bennett", "jonas", "novak", "mei", "doyle", "frank", "wren")
        sentence = dice.pick(WRITE).format(
            dice.pick(MAIL).format(dice.pick(names[::2]), dice.pick(names[1::2]), number)
        )
    return f"{text} {sentence}"


def _variant(intent: str, dice: Dice) -> str:
    title = "_".join(word.capitalize() for word in intent.split("_"))
    return dice.pick((title + " ", intent.upper(), " " + intent, intent.replace("_", " "), title, intent + "\t"))


def _nearly(text: str, dice: Dice) -> str:
    """The text as sent a second time, one small thing changed; the text itself if that would take it below NEAR."""
    end = text.rstrip(".!?")
    nearly = dice.pick(
        (
            end + dice.pick(("!", "?", "...", "!!", "")),
            text + dice.pick((" Thanks!", " pls", " Please answer.", " (2nd try)")),
            text.replace(",", "", 1),
            text.replace("the ", "teh ", 1),
            text.replace(" I ", " i ", 1),
            text.replace(" is ", " was ", 1),
            "Re: " + text,
            text[0].swapcase() + text[1:],
        )
    )
    return nearly if jaccard(five_grams(text), five_grams(nearly)) >= NEAR else text


def _conflicts(dice: Dice) -> list[Row]:
    texts = tomllib.loads((BANK / "conflicts.toml").read_text(encoding="utf-8"))["text"]
    if len(texts) != PLANTED["conflicting labels"]:
        raise SystemExit(f"conflicts.toml has {len(texts)} texts, PLANTED says {PLANTED['conflicting labels']}.")
    channels = {text["message"]: dice.pick(("email", "chat")) for text in texts}
    return [Row(text["message"], intent, channels[text["message"]]) for text in texts for intent in text["intents"]]
