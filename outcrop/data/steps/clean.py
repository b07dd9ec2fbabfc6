"""Clean and normalise: texts are repaired, what is empty afterwards is dropped; completions stay unless asked."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar, Literal

from outcrop.core.spec import Spec, parameter
from outcrop.data.records import Record, is_answer, parts, with_texts
from outcrop.data.steps.repair import REPAIRS, is_code
from outcrop.data.steps.step import NO_TOOLS, Change, Outcome, RowStep, Tools


class CleanSpec(Spec):
    """What is repaired, and where."""

    encoding: bool = parameter(True, "undo decoding with the wrong table, as in cafÃ©", source="ftfy")
    control_characters: bool = parameter(True, "remove control characters and terminal escapes")
    html: bool = parameter(True, "remove entities and pairs of tags; texts that speak of HTML are left alone")
    normal_form: bool = parameter(True, "compose letters and accents (Unicode NFC)")
    white_space: bool = parameter(True, "one kind of space, one at a time, no more than one blank line")
    completions: bool = parameter(False, "repair completions too; without it they stay verbatim and are only counted")
    code: bool = parameter(False, "repair texts that look like code or SQL too")
    cut_off: Literal["drop", "keep"] = parameter("drop", "rows with a text that ends in half a character")


class Clean(RowStep[CleanSpec]):
    """Repairs the texts of a record."""

    spec_type = CleanSpec
    reasons: ClassVar = {
        "empty": "nothing is left of a text after cleaning",
        "cut-off": "a text ends in the mark of half a character (U+FFFD): it was cut in the middle",
    }
    notes: ClassVar = {
        "encoding": "wrongly decoded characters were restored",
        "control-characters": "control characters were removed",
        "html": "HTML entities and tags were removed",
        "normal-form": "letters and accents were composed",
        "white-space": "white space was made even",
        "verbatim-completion": "a completion that cleaning would change was left as it is",
        "verbatim-code": "a text that looks like code and that cleaning would change was left as it is",
    }

    def __init__(self, spec: CleanSpec | None = None, tools: Tools = NO_TOOLS) -> None:
        super().__init__(spec, tools)
        wanted = self.spec.model_dump()
        self._repairs = [(name.replace("_", "-"), repair) for name, repair in REPAIRS.items() if wanted[name]]

    def __call__(self, record: Record) -> Outcome:
        """The record with its texts repaired."""
        named = parts(record)
        texts, changes, notes = [], [], Counter[str]()
        for part in named:
            text, codes = self._repaired(part.text)
            if codes and (verbatim := self._verbatim(part.field, part.text)):
                notes[verbatim] += 1
                text = part.text
            elif codes:
                changes.append(Change(part.field, codes, part.text, text))
            if not text.strip():
                return Outcome.dropped("empty", part.field)
            if self.spec.cut_off == "drop" and text.endswith("\ufffd"):
                return Outcome.dropped("cut-off", part.field)
            texts.append(text)
        return Outcome(with_texts(record, texts) if changes else record, tuple(changes), notes=notes)

    def _repaired(self, text: str) -> tuple[str, tuple[str, ...]]:
        codes = []
        for code, repair in self._repairs:
            after = repair(text)
            if after != text:
                codes.append(code)
                text = after
        return text, tuple(codes)

    def _verbatim(self, field: str, text: str) -> str:
        """The note for a text that is left alone, or an empty string."""
        if is_answer(field) and not self.spec.completions:
            return "verbatim-completion"
        return "verbatim-code" if not self.spec.code and is_code(text) else ""
