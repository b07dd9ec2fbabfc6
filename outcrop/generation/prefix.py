"""Prefixes that were computed before: a radix tree over token ids, one for each adapter, with keys and values on it.

Least recently used ends are dropped when the tokens held pass the budget (the radix cache of SGLang,
arXiv 2312.07104, §3).
"""

from __future__ import annotations

from collections.abc import Sequence

from outcrop.generation.slots import Segment, Slots

LEAST_SHARED = 16
"""Fewer tokens than these are computed again rather than copied."""


class Node:
    """A run of tokens after its parent's, their keys and values, and what follows, by first token."""

    def __init__(self, parent: Node | None, tokens: tuple[int, ...], segment: Segment | None, used: int) -> None:
        self.parent, self.tokens, self.segment, self.used = parent, tokens, segment, used
        self.children: dict[int, Node] = {}


class PrefixCache:
    """Keys and values of prompts, at most `budget` tokens of them; 0 keeps nothing."""

    def __init__(self, budget: int) -> None:
        self._budget, self._clock = budget, 0
        self._roots: dict[str | None, Node] = {}
        self.tokens = 0

    def restore(self, adapter: str | None, prompt: Sequence[int], slots: Slots, slot: int) -> int:
        """Copy the longest known beginning of the prompt into a slot; how many tokens that was.

        The last token is never taken, because its logits are needed.
        """
        path = self._walk(adapter, tuple(prompt[:-1]))
        length = sum(count for _, count in path)
        if length < LEAST_SHARED:
            return 0
        slots.reserve(slot + 1, length + 1)
        start = 0
        for node, count in path:
            assert node.segment is not None, "only roots have no segment"
            slots.copy_in(slot, start, node.segment if count == node.segment.length else _view(node.segment, count))
            start += count
        return length

    def known(self, adapter: str | None, prompt: Sequence[int]) -> int:
        """How many tokens `restore` would copy."""
        length = sum(count for _, count in self._walk(adapter, tuple(prompt[:-1])))
        return length if length >= LEAST_SHARED else 0

    def insert(self, adapter: str | None, tokens: Sequence[int], slots: Slots, slot: int) -> None:
        """Remember the first len(tokens) tokens of a slot."""
        tokens = tuple(tokens)
        if len(tokens) < LEAST_SHARED or len(tokens) > self._budget:
            return
        path = self._walk(adapter, tokens)
        known = sum(count for _, count in path)
        if known == len(tokens):
            return
        parent = self._roots.setdefault(adapter, Node(None, (), None, self._clock))
        if path:
            node, count = path[-1]
            parent = node if count == len(node.tokens) else self._split(node, count)
        rest = tokens[known:]
        parent.children[rest[0]] = Node(parent, rest, slots.copy_out(slot, known, len(tokens)), self._clock)
        self.tokens += len(rest)
        self._evict()

    def forget(self, adapter: str | None) -> None:
        """Drop all that was computed with an adapter."""
        root = self._roots.pop(adapter, None)
        pending = [root] if root else []
        while pending:
            node = pending.pop()
            self.tokens -= len(node.tokens)
            pending += node.children.values()

    def clear(self) -> None:
        """Drop everything."""
        for adapter in list(self._roots):
            self.forget(adapter)

    def _walk(self, adapter: str | None, tokens: tuple[int, ...]) -> list[tuple[Node, int]]:
        """The nodes along the longest known beginning, and how many tokens of each; all are marked as used."""
        self._clock += 1
        node, at, path = self._roots.get(adapter), 0, []
        while node is not None and at < len(tokens):
            node = node.children.get(tokens[at])
            if node is not None:
                count = common_prefix(node.tokens, tokens[at : at + len(node.tokens)])
                node.used = self._clock
                path.append((node, count))
                at += count
                if count < len(node.tokens):
                    break
        return path

    def _split(self, node: Node, count: int) -> Node:
        """Put a node for the first `count` tokens above the node; the new one."""
        assert node.parent is not None, "roots have no tokens"
        assert node.segment is not None, "only roots have no segment"
        upper = Node(node.parent, node.tokens[:count], node.segment.part(0, count), node.used)
        node.parent.children[node.tokens[0]] = upper
        node.segment = node.segment.part(count, node.segment.length)
        node.tokens, node.parent = node.tokens[count:], upper
        upper.children[node.tokens[0]] = node
        return upper

    def _evict(self) -> None:
        while self.tokens > self._budget:
            oldest = min(self._leaves(), key=lambda leaf: leaf.used)
            assert oldest.parent is not None, "roots are no leaves"
            del oldest.parent.children[oldest.tokens[0]]
            self.tokens -= len(oldest.tokens)

    def _leaves(self) -> list[Node]:
        leaves, pending = [], list(self._roots.values())
        while pending:
            node = pending.pop()
            pending += node.children.values()
            if not node.children and node.parent is not None:
                leaves.append(node)
        return leaves


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two sequences of the same type begin with together."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _view(segment: Segment, count: int) -> Segment:
    return Segment(segment.keys_LKDS[..., :count], segment.values_LKSD[:, :, :count])
