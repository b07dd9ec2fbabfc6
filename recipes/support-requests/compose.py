"""Turn the hand-written bank into clean requests: fill slots, add small talk, type like a person in a hurry."""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

Item = TypeVar("Item")

BANK = Path(__file__).parent / "bank"
NEIGHBOUR = 0.6  # char-5-gram Jaccard at which a new row is too close to an accepted row of its intent
LONGEST_WORDS = 60
CROSS = ("order_status", "refund_missing", "payment_problem", "warranty_claim", "complaint_staff")  # may end in anger
MOST_USES = {"any": 3, "chat": 2, "email": 2, "note": 2, "whole": 1}  # rows that one sentence of a section may become

ROWS = {
    "order_status": 205,
    "product_question": 200,
    "return_item": 186,
    "refund_missing": 176,
    "payment_problem": 170,
    "exchange_size": 168,
    "warranty_claim": 164,
    "cancel_order": 158,
    "store_hours": 152,
    "rental_damage": 148,
    "rental_extend": 144,
    "gift_card": 140,
    "change_address": 138,
    "complaint_staff": 124,
}

NEIGHBOUR_KEYS = {"a": "s", "e": "r", "i": "o", "n": "m", "o": "p", "r": "t", "s": "d", "t": "y", "l": "k", "h": "j"}
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November")


@dataclass(frozen=True)
class Request:
    """One clean row: what a person wrote, by which channel, and what it is about."""

    message: str
    intent: str
    channel: str
    sentence: str  # the line of the bank that it was made from


class Dice:
    """Seeded choices from random() alone: Python promises that stream between versions, not those of choice()."""

    def __init__(self, seed: int | str) -> None:
        self._random = random.Random(seed).random

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self._random() < probability

    def below(self, bound: int) -> int:
        """A whole number from 0 to bound - 1."""
        return int(self._random() * bound)

    def pick(self, items: Sequence[Item]) -> Item:
        """One of the items."""
        return items[self.below(len(items))]

    def shuffled(self, items: Sequence[Item]) -> list[Item]:
        """The items in a new order."""
        keys = [self._random() for _ in items]
        return [items[i] for i in sorted(range(len(items)), key=keys.__getitem__)]


def read_sentences(intent: str) -> list[tuple[str, str]]:
    """The (section, sentence) pairs of an intent's bank file; a line "# any" opens the section any."""
    section, sentences = "", []
    for line in (BANK / f"{intent}.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            section = line[2:]
        elif line:
            sentences.append((section, line))
    return sentences


def five_grams(text: str) -> set[str]:
    """The character 5-grams of a lower-cased text with single spaces; a shorter text is its own only gram."""
    plain = " ".join(text.lower().split())
    return {plain[i : i + 5] for i in range(max(1, len(plain) - 4))}


def jaccard(left: set[str], right: set[str]) -> float:
    """Shared grams as a share of all grams of both."""
    return len(left & right) / len(left | right)


class Composer:
    """Writes requests from the bank with one stream of dice."""

    def __init__(self, seed: int) -> None:
        self.dice = Dice(seed)
        self.shared: dict[str, Any] = tomllib.loads((BANK / "shared.toml").read_text(encoding="utf-8"))

    def requests(self, intent: str, count: int) -> list[Request]:
        """`count` rows of an intent: each sentence is used once before any is used again."""
        found: list[Request] = []
        grams: list[set[str]] = []
        for use in range(max(MOST_USES.values())):
            for section, sentence in self.dice.shuffled(read_sentences(intent)):
                if use >= MOST_USES[section] or len(found) == count:
                    continue
                request = self._request(intent, section, sentence)
                own = five_grams(request.message)
                if all(jaccard(own, other) < NEIGHBOUR for other in grams):
                    found.append(request)
                    grams.append(own)
        if len(found) < count:
            raise SystemExit(f"The bank of {intent} gives {len(found)} rows that differ enough, {count} are asked for.")
        return found

    def _request(self, intent: str, section: str, sentence: str) -> Request:
        channel = self._channel(section)
        slots = self.slots()
        core = self.fill(sentence, slots)
        if section == "whole":
            return Request(core, intent, channel, sentence)
        if channel == "email":
            text = self._email(core, slots, intent, alone=section == "email")
        elif channel == "chat":
            text = self._chat(core, slots)
        else:
            text = self._note(core, slots, spoken=section == "any")
        return Request(text, intent, channel, sentence)

    def _channel(self, section: str) -> str:
        if section == "note":
            return "phone note"
        if section == "any":
            return self.dice.pick(("email",) * 9 + ("chat",) * 8 + ("phone note",))
        return section if section in ("email", "chat") else self.dice.pick(("email", "chat", "chat"))

    def fill(self, sentence: str, slots: dict[str, str]) -> str:
        """Choose one side of every [a|b|c], then replace every {slot}."""
        chosen = re.sub(r"\[([^\]]*)\]", lambda match: self.dice.pick(match[1].split("|")), sentence)
        filled = re.sub(r"\{(\w+)\}", lambda match: slots[match[1]], chosen)
        return " ".join(re.sub(r" ([.,?!])(?=\s|$)", r"\1", filled).split())

    def slots(self) -> dict[str, str]:
        """One value for every slot, the same wherever it stands in one message."""
        dice = self.dice
        values = {name: dice.pick(words) for name, words in self.shared["slots"].items()}
        values["thing"] = dice.pick((values["wear"], values["gear"]))
        values["person"], (values["he"], values["his"]) = dice.pick(list(self.shared["people"].items()))
        values["day2"] = dice.pick([day for day in self.shared["slots"]["day"] if day != values["day"]])
        values["order"] = dice.pick(("CC-{}", "{}", "#{}", "cc{}", "CC {}", "CC-{}")).format(30000 + dice.below(29000))
        values["date"] = self._date()
        values["money"], values["money2"] = self._sums()
        return values

    def _date(self) -> str:
        day, month = 1 + self.dice.below(28), self.dice.pick(MONTHS)
        ending = "th" if 4 <= day <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
        nth, number = f"{day}{ending}", MONTHS.index(month) + 1
        forms = (
            "{day} {month}",
            "{month} {day}",
            "the {nth}",
            "the {nth} of {month}",
            "{month} {nth}",
            "{day}/{number}",
        )
        return self.dice.pick(forms).format(day=day, month=month, nth=nth, number=number)

    def _sums(self) -> tuple[str, str]:
        high = 18 + self.dice.below(240)
        low = 5 + self.dice.below(high - 6)
        form = self.dice.pick(("{} pounds", "{}.50", "£{}.95", "{} quid", "£{}", "{}.90 pounds", "{}.00"))
        return form.format(high), form.format(low)

    def _around(self, kind: str, slots: dict[str, str]) -> str:
        return self.fill(self.dice.pick(self.shared["around"][kind]), slots)

    def _email(self, core: str, slots: dict[str, str], intent: str, *, alone: bool) -> str:
        dice = self.dice
        before = [self._around("openers", slots)] if dice.chance(0.16) else []
        if dice.chance(0.12 if alone else 0.28):
            side = self._around(dice.pick(("contexts", "contexts", "contexts", "lures")), slots)
            body = [*before, *([side, core] if dice.chance(0.45) else [core, side])]
        else:
            body = [*before, core]
        if dice.chance(0.35):
            body.append(self._around("cross_closers" if intent in CROSS and dice.chance(0.3) else "closers", slots))
        text = self._typed(" ".join(body), haste=0.25)
        separator = dice.pick((" ", " ", "\n", "\n\n"))
        if dice.chance(0.62):
            text = self._around("greetings", slots) + separator + text
        if dice.chance(0.48):
            text = text + separator + self._around("signoffs", slots)
        return text if len(text.split()) <= LONGEST_WORDS else self._typed(core, haste=0.25)

    def _chat(self, core: str, slots: dict[str, str]) -> str:
        dice = self.dice
        parts = [core]
        if dice.chance(0.12):
            side = self._around(dice.pick(("contexts", "lures")), slots)
            parts = [side, core] if dice.chance(0.5) else [core, side]
        text = " ".join(parts)
        if dice.chance(0.3):
            first, rest = text[0], text[1:]
            text = self._around("chat_openers", slots) + " " + (first.lower() if rest[:1].islower() else first) + rest
        if dice.chance(0.28):
            text = text.rstrip(".") + " " + self._around("chat_closers", slots)
        return self._typed(text, haste=0.7)

    def _note(self, core: str, slots: dict[str, str], *, spoken: bool) -> str:
        if spoken:
            return f'{self._around("voicemail", slots)} "{core}"'
        text = core
        if self.dice.chance(0.3):
            text += " " + self.dice.pick(
                ("Cb pls.", "Call back after 5.", "Will mail too.", "Urgent.", "{name}", "({name})")
            )
        if self.dice.chance(0.15):
            text = self.dice.pick(("Tel. ", "Phone: ", "{day}: ", "Call {day} a.m. - ", "9.40 ", "URGENT ")) + text
        return self._typed(self.fill(text, slots), haste=0.2)

    def _typed(self, text: str, *, haste: float) -> str:
        """Type a text as people do; haste is the chance of each kind of carelessness, from 0 to 1."""
        dice = self.dice
        if dice.chance(0.012):
            return text.upper().rstrip(".?") + dice.pick(("!", "!!!", "??", ""))
        if dice.chance(haste * 0.3):
            text = self._shortened(text)
        if dice.chance(haste * 0.5):
            text = text.replace("'", "")
        if dice.chance(haste * 0.75):
            text = text.lower()
        if dice.chance(haste * 0.5):
            text = text.rstrip(" .")
        if dice.chance(haste * 0.2):
            text = re.sub(r"[,.](?=\s)", "", text)
        for _ in range(dice.below(3) if dice.chance(0.15 + haste * 0.35) else 0):
            text = self._mistyped(text)
        return text

    def _shortened(self, text: str) -> str:
        for word, short in self.shared["typing"].items():
            if self.dice.chance(0.5):
                text = re.sub(rf"\b{word}\b", short, text, flags=re.IGNORECASE)
        return text

    def _mistyped(self, text: str) -> str:
        words = text.split(" ")
        places = [i for i, word in enumerate(words) if len(word) > 4 and word.isalpha()]
        if not places:
            return text
        place = self.dice.pick(places)
        word, at = words[place], 1 + self.dice.below(len(words[place]) - 2)
        swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        doubled, dropped = word[: at + 1] + word[at:], word[:at] + word[at + 1 :]
        missed = word[:at] + NEIGHBOUR_KEYS.get(word[at], word[at]) + word[at + 1 :]
        words[place] = self.dice.pick((swapped, dropped, dropped, doubled, missed))
        return " ".join(words)
