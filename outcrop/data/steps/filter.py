"""Filter: rows are dropped or counted by language, length, signs of bad answers, patterns and expressions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import field_validator

from outcrop.core.errors import UsageError, did_you_mean
from outcrop.core.spec import Spec, parameter
from outcrop.data.content import SHORTEST_LEAK
from outcrop.data.records import Record, Text, answer_text, parts, prompt_text
from outcrop.data.steps import expressions, quality
from outcrop.data.steps.step import NO_TOOLS, Drop, Outcome, RowStep, Tools

Action = Literal["drop", "count", "off"]
SHORTEST_LANGUAGE = 20
"""Letters below which the language of a text is not judged."""


class FilterSpec(Spec):
    """Which rows are dropped, and which are only counted."""

    languages: tuple[str, ...] = parameter(
        (), "ISO codes of the languages to keep; uncertain rows stay and are counted"
    )
    certain: float = parameter(0.8, "probability from which a language is certain", gt=0.5, le=1)
    min_chars: int | None = parameter(None, "shortest row", unit="characters", ge=0)
    max_chars: int | None = parameter(None, "longest row", unit="characters", ge=1)
    min_tokens: int | None = parameter(None, "shortest row, by the tokenizer", unit="tokens", ge=0)
    max_tokens: int | None = parameter(None, "longest row, by the tokenizer", unit="tokens", ge=1)
    tokenizer: str | None = parameter(None, "the model whose tokens are counted")
    answer_is_prompt: Action = parameter("drop", "answers that repeat the prompt and nothing else")
    prompt_in_answer: Action = parameter("count", "answers that contain the whole of a long prompt")
    refusals: Action = parameter("count", "answers that begin like an assistant's refusal")
    cut_off: Action = parameter("count", "answers that end in a mark of truncation or inside a sentence")
    broken_json: Action = parameter("count", "answers that begin like JSON and are none")
    repetition: Action = parameter("count", "texts that repeat themselves")
    most_repetition: float = parameter(0.5, "share of repeated groups of four words that is too much", gt=0, le=1)
    listed_words: Action = parameter("count", "texts with a word of the list")
    word_list: str | None = parameter(None, "file with one word per line; default: English profanity")
    keep_matching: tuple[str, ...] = parameter((), "regular expressions of which each must occur in the row")
    drop_matching: tuple[str, ...] = parameter((), "regular expressions of which none may occur in the row")
    keep_if: tuple[str, ...] = parameter((), "expressions that must all be true: len(completion) > 20")
    drop_if: tuple[str, ...] = parameter((), "expressions of which none may be true")

    @field_validator("keep_matching", "drop_matching")
    @classmethod
    def _patterns(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            _checked(expressions.compiled_pattern, pattern)
        return patterns

    @field_validator("keep_if", "drop_if")
    @classmethod
    def _expressions(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        for text in texts:
            _checked(expressions.parse, text)
        return texts

    @field_validator("word_list")
    @classmethod
    def _readable(cls, path: str | None) -> str | None:
        if path is not None and not Path(path).is_file():
            raise ValueError("no such file")
        return path


def _checked(parse: Callable[[str], Any], text: str) -> None:
    try:
        parse(text)
    except UsageError as error:
        raise ValueError(str(error)) from None


class Filter(RowStep[FilterSpec]):
    """Keeps a row or drops it, and counts what may be wrong with it; never changes it."""

    spec_type = FilterSpec
    _signs: ClassVar = {
        "answer-is-prompt": "the answer is the prompt",
        "prompt-in-answer": f"the answer contains the whole prompt of {SHORTEST_LEAK} characters or more",
        "refusal": "the answer begins like an assistant's refusal",
        "cut-off": "the answer was cut off",
        "broken-json": "the answer begins like JSON and is none",
        "repetition": "a text repeats itself",
        "listed-word": "a text has a word of the list",
    }
    reasons: ClassVar = _signs | {
        "language": "the row is in another language",
        "too-short": "the row is shorter than the limit",
        "too-long": "the row is longer than the limit",
        "pattern": "a pattern that must occur does not, or one that must not does",
        "expression": "an expression decided against the row",
        "predicate": "the caller's own condition decided against the row",
    }
    notes: ClassVar = _signs | {"language-uncertain": "too short or too mixed to tell the language"}

    def __init__(self, spec: FilterSpec | None = None, tools: Tools = NO_TOOLS) -> None:
        super().__init__(spec, tools)
        given = self.spec
        self._count = _token_counter(given, tools)
        self._listed = quality.listed_words(given.word_list or "") if given.listed_words != "off" else None
        if given.languages:
            _identifier(given.languages)
        self._actions = {
            "answer-is-prompt": given.answer_is_prompt, "prompt-in-answer": given.prompt_in_answer,
            "refusal": given.refusals, "cut-off": given.cut_off, "broken-json": given.broken_json,
            "repetition": given.repetition, "listed-word": given.listed_words,
        }  # fmt: skip

    @classmethod
    def files_of(cls, spec: FilterSpec) -> list[Path]:
        """The list of words, where one is given."""
        return [Path(spec.word_list)] if spec.word_list else []

    def __getstate__(self) -> tuple[FilterSpec, Tools]:
        return self.spec, self.tools

    def __setstate__(self, state: tuple[FilterSpec, Tools]) -> None:
        Filter.__init__(self, *state)

    def __call__(self, record: Record) -> Outcome:
        """The record, or why it is dropped, with the signs that were counted."""
        notes: dict[str, int] = {}
        drop = next(self._lengths(record), None) or self._language(record, notes) or self._asked(record)
        if drop is not None:
            return Outcome(None, drop=drop, notes=notes)
        for sign, detail in self._found(record):
            if self._actions[sign] == "drop":
                return Outcome(None, drop=Drop(sign, detail), notes=notes)
            notes[sign] = notes.get(sign, 0) + 1
        return Outcome(record, notes=notes)

    def _lengths(self, record: Record) -> Iterator[Drop]:
        spec = self.spec
        measures: list[tuple[str, Callable[[str], int], int | None, int | None]] = [
            ("characters", len, spec.min_chars, spec.max_chars)
        ]
        if self._count is not None:
            measures.append(("tokens", self._count, spec.min_tokens, spec.max_tokens))
        for unit, count, least, most in measures:
            if least is None and most is None:
                continue
            size = sum(count(part.text) for part in parts(record))
            if least is not None and size < least:
                yield Drop("too-short", f"{size:,} {unit}, limit {least:,}")
            if most is not None and size > most:
                yield Drop("too-long", f"{size:,} {unit}, limit {most:,}")

    def _language(self, record: Record, notes: dict[str, int]) -> Drop | None:
        if not self.spec.languages:
            return None
        text = f"{prompt_text(record)} {answer_text(record)}"[:1000]
        if sum(map(str.isalpha, text)) < SHORTEST_LANGUAGE:
            notes["language-uncertain"] = 1
            return None
        name, probability = _identifier(()).classify(text)
        if name in self.spec.languages:
            return None
        if probability < self.spec.certain:
            notes["language-uncertain"] = 1
            return None
        return Drop("language", f"{name} ({probability:.0%})")

    def _asked(self, record: Record) -> Drop | None:
        """What patterns, expressions and predicates say."""
        spec = self.spec
        text = "\n".join(part.text for part in parts(record)) if spec.keep_matching or spec.drop_matching else ""
        for patterns, wanted in ((spec.keep_matching, True), (spec.drop_matching, False)):
            for pattern in patterns:
                if bool(expressions.compiled_pattern(pattern).search(text)) != wanted:
                    return Drop("pattern", pattern)
        for conditions, wanted in ((spec.keep_if, True), (spec.drop_if, False)):
            for condition in conditions:
                if _condition(condition)(record) != wanted:
                    return Drop("expression", condition)
        wrong = next((each for each in self.tools.predicates if not each(record)), None)
        return None if wrong is None else Drop("predicate", getattr(wrong, "__qualname__", "predicate"))

    def _found(self, record: Record) -> Iterator[tuple[str, str]]:
        """The signs in a record that are looked for, with what was seen."""
        actions, answer = self._actions, answer_text(record)
        if answer:
            prompt = prompt_text(record).strip()
            signs = (
                ("answer-is-prompt", answer.strip() == prompt),
                ("prompt-in-answer", len(prompt) >= SHORTEST_LEAK and prompt in answer and answer.strip() != prompt),
                ("refusal", quality.is_refusal(answer)),
                ("cut-off", quality.is_cut_off(answer)),
                ("broken-json", quality.is_broken_json(answer)),
            )
            yield from ((sign, "") for sign, seen in signs if seen and actions[sign] != "off")
        learned = record.text if isinstance(record, Text) else answer
        if actions["repetition"] != "off" and (share := quality.repetition(learned)) > self.spec.most_repetition:
            yield "repetition", f"{share:.0%}"
        if self._listed is not None:
            texts = " ".join(part.text for part in parts(record))
            if words := quality.find_listed(texts, self._listed):
                yield "listed-word", f"{words.total()} found"


def _token_counter(spec: FilterSpec, tools: Tools) -> Callable[[str], int] | None:
    if spec.min_tokens is None and spec.max_tokens is None:
        return None
    if spec.tokenizer is None or tools.token_counter is None:
        raise UsageError(
            "A limit in tokens was given without a tokenizer to count them.",
            "Name a model: filter.tokenizer=MODEL, or give a limit in characters.",
        )
    return tools.token_counter(spec.tokenizer)


_CONDITIONS: dict[str, Callable[[Record], bool]] = {}


def _condition(text: str) -> Callable[[Record], bool]:
    if text not in _CONDITIONS:
        _CONDITIONS[text] = expressions.parse(text)
    return _CONDITIONS[text]


_IDENTIFIERS: list[Any] = []


def _identifier(languages: tuple[str, ...]) -> Any:
    """The language identifier, loaded once in a process. Raises UsageError for codes it does not know."""
    if not _IDENTIFIERS:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

        _IDENTIFIERS.append(LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True))
    known = [str(code) for code in _IDENTIFIERS[0].labels]
    for language in languages:
        if language not in known:
            raise UsageError(f"Unknown language {language}.", f"{did_you_mean(language, known)} Give ISO 639-1 codes.")
    return _IDENTIFIERS[0]
