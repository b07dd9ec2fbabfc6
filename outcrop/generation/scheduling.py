"""Continuous batching: which tokens of which sequences go through the model next.

Every step computes a piece of the waiting prompts, then candidates to score, then one token for every running answer.
Running answers lie in the first slots, all other rows behind them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from outcrop.core.errors import JobFailed
from outcrop.generation.adapters import AdapterBank
from outcrop.generation.answers import Answer, Task
from outcrop.generation.attention import Branch, DecodeAttention, Run, RunAttention, TreeAttention
from outcrop.generation.decoder import AnyAdapted, Tokens
from outcrop.generation.limits import not_finite
from outcrop.generation.prefix import PrefixCache, common_prefix
from outcrop.generation.sampling import choose_tokens
from outcrop.generation.scoring import Group, Scoring
from outcrop.generation.slots import Slots
from outcrop.generation.trunk import Trunk

BUCKETS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128)
"""Rows of a decoding step: few different numbers, so that products repeat their shapes."""
# Below this it costs more to wait for another prompt's beginning than to compute it too.
LEAST_WAITED_FOR = 32
# At most so many logits at once (256 MiB in fp32): with large vocabularies they outweigh everything else.
LOGITS_AT_ONCE = 2**26


@dataclass(frozen=True)
class Capacity:
    """slots: sequences at once; batch_tokens: of their prompts and answers together (one sequence may pass it);
    chunk_tokens: of prompts or candidates in a step; prefix_tokens: kept for later prompts, 0 for none."""

    slots: int = 32
    batch_tokens: int = 8192
    chunk_tokens: int = 1024
    prefix_tokens: int = 16384


@dataclass(eq=False)
class Row:
    """A task that has a slot. length: its tokens in the cache; restored: prefixes have been looked up."""

    task: Task
    number: int
    length: int = 0
    restored: bool = False

    @property
    def prefilled(self) -> bool:
        return self.length >= len(self.task.prompt_ids)

    @property
    def tokens(self) -> int:
        """What it may grow to."""
        return len(self.task.prompt_ids) + self.task.room


class Scheduler:
    """Steps through tasks, in one thread at a time. Rows and slots have the same order."""

    def __init__(self, trunk: Trunk, capacity: Capacity, vocabulary: int) -> None:
        self._trunk, self.capacity, self._vocabulary = trunk, capacity, vocabulary
        self._device = trunk.cache_shape.device
        self.slots = Slots(trunk.cache_shape, capacity.slots)
        self.prefixes = PrefixCache(capacity.prefix_tokens)
        self.adapters = AdapterBank()
        self._inbox: deque[Task] = deque()
        self.waiting: deque[Task] = deque()
        self.rows: list[Row] = []
        self.running = 0
        self.computed_tokens = self.prefix_tokens = self.generated_tokens = self._arrivals = 0

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self._inbox and not self.waiting and not self.rows

    @property
    def used_tokens(self) -> int:
        """What the rows may grow to together."""
        return sum(row.tokens for row in self.rows)

    @property
    def working(self) -> int:
        """How many tasks have a slot."""
        return len(self.rows)

    def uses(self, adapter: str) -> bool:
        """Whether a task needs that adapter."""
        tasks = [*self._inbox, *self.waiting, *(row.task for row in self.rows)]
        return any(task.adapter == adapter and not task.finished for task in tasks)

    def submit(self, task: Task) -> None:
        """Queue a task; from any thread."""
        self._inbox.append(task)

    def step(self) -> None:
        """Advance every row. A task whose logits are not numbers fails alone; an exception fails all rows."""
        try:
            self.drop_cancelled()
            self._admit()
            if len(self.rows) > self.running:
                self._prefill()
                self._score()
            if self.running:
                self._decode()
        except BaseException as error:
            failure = JobFailed(f"The engine was stopped by {type(error).__name__}: {error}.", "Ask again.")
            rows, self.rows, self.running = self.rows, [], 0
            for row in rows:
                row.task.error = failure
                row.task.notify()
            raise

    def drop_cancelled(self) -> None:
        """Free the slots of cancelled tasks now, not with the next step."""
        while self._inbox:
            self.waiting.append(self._inbox.popleft())
        if any(task.cancelled for task in self.waiting):
            self.waiting = deque(task for task in self.waiting if not task.cancelled)
        for row in [row for row in self.rows if row.task.cancelled]:
            self._remove(row)

    def _admit(self) -> None:
        used = self.used_tokens
        while self.waiting and len(self.rows) < self.capacity.slots:
            row = Row(self.waiting[0], self._arrivals)
            if self.rows and used + row.tokens > self.capacity.batch_tokens:
                return
            self.waiting.popleft()
            self.rows.append(row)
            used += row.tokens
            self._arrivals += 1

    def _prefill(self) -> None:
        """A piece of the oldest prompts, and what follows where they are complete."""
        pieces = self._pieces()
        if not pieces:
            return
        slots = {id(row): slot for slot, row in enumerate(self.rows)}
        runs = [Run(slots[id(row)], row.length, count) for row, count in pieces]
        self.slots.reserve(len(self.rows), max(run.start + run.size for run in runs) + 1)
        ids: list[int] = []
        positions: list[int] = []
        ends: list[int] = []
        for (row, _), run in zip(pieces, runs, strict=True):
            end = run.start + run.size
            ids += row.task.prompt_ids[run.start : end]
            positions += range(run.start, end)
            ends.append(len(ids) - 1)
            row.length = end
        complete = [number for number, (row, _) in enumerate(pieces) if row.prefilled]
        wanted = [ends[number] for number in complete] or ends[-1:]
        adapted = self.adapters.for_runs([row.task.adapter for row, _ in pieces], [run.size for run in runs])
        logits = self._compute(ids, positions, RunAttention(self.slots, runs), wanted, adapted)
        self.computed_tokens += len(ids)
        rows = [pieces[number][0] for number in complete]
        for row in rows:
            self.prefixes.insert(row.task.adapter, row.task.prompt_ids, self.slots, slots[id(row)])
        self._begin(rows, logits)

    def _pieces(self) -> list[tuple[Row, int]]:
        """Rows of the next pass and how many tokens of each. A prompt waits for another that it shares much with."""
        budget, earlier = self.capacity.chunk_tokens, list[Row]()
        pieces: list[tuple[Row, int]] = []
        unfilled = [row for row in self.rows[self.running :] if not row.prefilled]
        for row in sorted(unfilled, key=lambda row: row.number):
            if not budget:
                break
            if not row.restored:
                if self._waits(row, earlier):
                    continue
                self._restore(row)
            count = min(budget, len(row.task.prompt_ids) - row.length)
            pieces.append((row, count))
            budget -= count
            earlier.append(row)
        return pieces

    def _waits(self, row: Row, earlier: Sequence[Row]) -> bool:
        prompt, adapter = row.task.prompt_ids, row.task.adapter
        if not self.capacity.prefix_tokens or not earlier:
            return False
        known = self.prefixes.known(adapter, prompt)
        shared = (common_prefix(other.task.prompt_ids, prompt) for other in earlier if other.task.adapter == adapter)
        return any(count - known >= LEAST_WAITED_FOR for count in shared)

    def _restore(self, row: Row) -> None:
        self.slots.reserve(len(self.rows), 1)
        slot = self.rows.index(row)
        row.length = self.prefixes.restore(row.task.adapter, row.task.prompt_ids, self.slots, slot)
        row.restored = True
        row.task.begin(row.length)
        self.prefix_tokens += row.length

    def _begin(self, rows: Sequence[Row], logits_BV: Tensor) -> None:
        """Go on from complete prompts: choose the first token, or score what needs the prompt alone."""
        answering = [(row, at) for at, row in enumerate(rows) if isinstance(row.task, Answer)]
        for at, row in enumerate(rows):
            if isinstance(row.task, Scoring):
                row.task.take_prompt(logits_BV[at])
                self._end_if_finished(row)
        if answering:
            chosen_rows = [row for row, _ in answering]
            self._choose(chosen_rows, logits_BV[[at for _, at in answering]])
            for row in chosen_rows:
                if row in self.rows:
                    self._promote(row)

    def _score(self) -> None:
        """Candidates of the oldest complete prompts, as many as fit in a step."""
        budget = min(self.capacity.chunk_tokens, LOGITS_AT_ONCE // self._vocabulary)
        units: list[tuple[int, Row, Group]] = []
        for slot, row in enumerate(self.rows):
            if not isinstance(row.task, Scoring) or not row.prefilled:
                continue
            while row.task.waiting and (not units or len(row.task.waiting[0].tokens_N) <= budget):
                group = row.task.waiting.pop(0)
                units.append((slot, row, group))
                budget -= len(group.tokens_N)
        if not units:
            return
        branches = [Branch(slot, row.length, group.ancestors_NN, group.depths_N) for slot, row, group in units]
        sizes = [len(group.tokens_N) for *_, group in units]
        tokens = Tokens(
            torch.cat([group.tokens_N for *_, group in units]),
            torch.cat([branch.prefix + branch.depths_N for branch in branches]),
            max(row.tokens for _, row, _ in units),
        )
        adapted = self.adapters.for_runs([row.task.adapter for _, row, _ in units], sizes)
        logits = self._trunk.logits(tokens, TreeAttention(self.slots, branches), None, adapted)
        self.computed_tokens += len(logits)
        parts = logits.split(sizes)
        for (_, row, group), part in zip(units, parts, strict=True):
            if isinstance(row.task, Scoring) and not row.task.finished:
                row.task.take_group(group, part)
                self._end_if_finished(row)

    def _decode(self) -> None:
        """One token for every running answer, padded to a bucket with tokens that nothing reads."""
        rows = self.rows[: self.running]
        size = self._bucket(len(rows))
        # A padded token is written where the row behind it, if there is one, will write its next token.
        lengths = [row.length for row in self.rows[:size]]
        lengths += [0] * (size - len(lengths))
        self.slots.reserve(size, max(lengths) + 1)
        ids = [row.task.token_ids[-1] if isinstance(row.task, Answer) else 0 for row in rows]
        ids += [0] * (size - len(ids))
        adapters = [row.task.adapter for row in rows] + [None] * (size - len(rows))
        adapted = self.adapters.for_rows(adapters)
        logits = self._compute(ids, lengths, DecodeAttention(self.slots, lengths), None, adapted)
        self.computed_tokens += len(rows)
        for row in rows:
            row.length += 1
        self._choose(rows, logits[: len(rows)])

    def _bucket(self, rows: int) -> int:
        return min(self.capacity.slots, next((size for size in BUCKETS if size >= rows), self.capacity.slots))

    def _compute(
        self, ids: list[int], positions: list[int], attention: RunAttention | DecodeAttention,
        wanted: list[int] | None, adapted: AnyAdapted | None,
    ) -> Tensor:  # fmt: skip
        tokens = Tokens(
            torch.tensor(ids, device=self._device), torch.tensor(positions, device=self._device), max(positions)
        )
        last = None if wanted is None else torch.tensor(wanted, device=self._device)
        return self._trunk.logits(tokens, attention, last, adapted)

    def _choose(self, rows: Sequence[Row], logits_BV: Tensor) -> None:
        answers = [row.task for row in rows if isinstance(row.task, Answer)]
        chosen = choose_tokens(logits_BV, [answer.chooser for answer in answers])
        for row, answer, token, logprob, top, finite in zip(rows, answers, *chosen, strict=True):
            if finite:
                answer.accept(token, logprob, top)
                self.generated_tokens += 1
            else:
                answer.error = not_finite()
                self.slots.clear(self.rows.index(row))
            self._end_if_finished(row)
            if not answer.finished:
                answer.notify()

    def _end_if_finished(self, row: Row) -> None:
        if row.task.finished:
            self._remove(row)
            row.task.notify()

    def _promote(self, row: Row) -> None:
        """Make a row the last of the running ones."""
        at, first = self.rows.index(row), self.running
        if at != first:
            other = self.rows[first]
            kept = self.slots.copy_out(first, 0, other.length) if other.length else None
            self.slots.move(at, first, row.length)
            if kept is not None:
                self.slots.copy_in(at, 0, kept)
            self.rows[at], self.rows[first] = other, row
        self.running += 1

    def _remove(self, row: Row) -> None:
        """Free a slot; the last running row and the last of all move up."""
        at = self.rows.index(row)
        if at < self.running:
            self.running -= 1
            self._fill(at, self.running)
            at = self.running
        self._fill(at, len(self.rows) - 1)
        self.rows.pop()

    def _fill(self, hole: int, source: int) -> None:
        if hole != source:
            moved = self.rows[source]
            if moved.length:
                self.slots.move(source, hole, moved.length)
            self.rows[hole] = moved
