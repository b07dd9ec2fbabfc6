"""Answers in a given form: JSON schema, regular expression or choice, by llguidance's token masks."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from outcrop.core.completions import Constraint
from outcrop.core.errors import MissingDependency, UsageError
from outcrop.generation.stopping import NO_ENDINGS, Endings


class Constraints:
    """Grammars for one tokenizer, which is read when the first is asked for: that takes up to a second."""

    def __init__(self, tokenizer: Any, vocabulary: int, endings: Endings = NO_ENDINGS) -> None:
        """endings: stop ids that add text, as the tokens of it."""
        self._tokenizer, self._vocabulary, self._endings = tokenizer, vocabulary, endings
        self._tokens: Any = None

    def grammar(self, constraint: Constraint | None, stop_ids: Sequence[int], where: str) -> Matcher | None:
        """What follows a constraint; None without one. Raises UsageError for a definition that cannot be followed."""
        if constraint is None:
            return None
        try:
            import llguidance
        except ImportError:
            raise MissingDependency.of("llguidance", "train", "Constrained output") from None
        ends = [stop for stop in stop_ids if stop not in self._endings] or [self._tokenizer.eos_token_id]
        if self._tokens is None:
            self._tokens = self._read(llguidance.LLTokenizer)
        matcher = llguidance.LLMatcher(self._tokens, _definition(llguidance.LLMatcher, constraint, where))
        if matcher.is_error():
            raise _refused(constraint, matcher.get_error(), where)
        endings = {ending: run if ending in stop_ids else () for ending, run in self._endings.items()}
        return Matcher(matcher, ends, self._vocabulary, endings)

    def _read(self, make: Any) -> Any:
        """As llguidance.hf.from_tokenizer, which imports transformers."""
        tokens = copy(self._tokenizer.backend_tokenizer)
        tokens.no_padding()
        tokens.no_truncation()
        return make(tokens.to_str(), n_vocab=self._vocabulary, eos_token=self._tokenizer.eos_token_id)


class Matcher:
    """Where an answer is in its grammar. It ends when nothing may follow, with one of the `ends`, or with one of the
    `endings`, whose text is its last; without text it may not be used."""

    def __init__(self, matcher: Any, ends: Sequence[int], vocabulary: int, endings: Endings = NO_ENDINGS) -> None:
        self._matcher, self._ends, self._endings = matcher, ends, endings
        self._words = np.zeros((1, (vocabulary + 31) // 32), np.int32)
        self._vocabulary = vocabulary

    @property
    def finished(self) -> bool:
        """Whether nothing may follow."""
        return bool(self._matcher.is_stopped())

    def forbid(self, logits_V: Tensor) -> None:
        """Set the logits of the tokens that may not follow to -inf."""
        import llguidance.numpy

        llguidance.numpy.fill_next_token_bitmask(self._matcher, self._words)
        bits = np.unpackbits(self._words[0].view(np.uint8), bitorder="little")[: self._vocabulary]
        allowed = torch.from_numpy(bits.astype(np.bool_)).to(logits_V.device)
        allowed[list(self._ends)] = self._matcher.is_accepting()
        for ending, run in self._endings.items():
            allowed[ending] = bool(run) and allowed[run[0]] and self._completes(run)
        logits_V.masked_fill_(~allowed, -torch.inf)

    def accept(self, token: int) -> None:
        """Go on to what may follow this token; after an end nothing does."""
        if token not in self._ends and token not in self._endings and not self._matcher.is_stopped():
            self._matcher.consume_token(token)

    def _completes(self, run: Sequence[int]) -> bool:
        """Whether these tokens may follow, and an end after them."""
        if self._matcher.validate_tokens(list(run)) < len(run):
            return False
        after = self._matcher.deep_copy()
        after.consume_tokens(list(run))
        return bool(after.is_accepting())


def _definition(matcher: Any, constraint: Constraint, where: str) -> str:
    try:
        if constraint.kind == "json_schema":
            return _json(matcher, constraint, where)
        if constraint.kind == "regex":
            return str(matcher.grammar_from_regex(constraint.definition))
        choices = json.loads(constraint.definition)
    except ValueError as error:
        raise _refused(constraint, str(error), where) from None
    if not isinstance(choices, list) or not choices or not all(isinstance(c, str) and c for c in choices):
        raise _refused(constraint, "it is no list of texts", where)
    return str(matcher.grammar_from_regex("|".join(f"({re.escape(choice)})" for choice in choices)))


def _json(matcher: Any, constraint: Constraint, where: str) -> str:
    """With a space at most wherever JSON may have white space, and before it: most models write {"a": 1}, some {"a":1},
    and tuned ones as their rows have it. Free white space would let a model fill an answer with it."""
    plain = matcher.grammar_from_json_schema(constraint.definition)
    if wrong := matcher.validate_grammar(plain):
        raise _refused(constraint, wrong, where)
    schema = json.loads(constraint.definition)
    rules = schema if isinstance(schema, dict) else {} if schema else {"not": {}}
    spaced = {**rules, "x-guidance": {"whitespace_flexible": True, "whitespace_pattern": " ?"}}
    return str(matcher.grammar_from_lark(f"start: / ?/ value\nvalue: %json {json.dumps(spaced)}"))


def _refused(constraint: Constraint, reason: str, where: str) -> UsageError:
    given = " ".join(reason.split()).rstrip(".")
    return UsageError(f"The {constraint.kind} cannot be followed: {given}.", "Give another definition.", where)
