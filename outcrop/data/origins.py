"""Where rows stand, for very many of them: twelve bytes each."""

from __future__ import annotations

from array import array
from collections import Counter

from outcrop.data.records import Origin


class Origins:
    """Many origins in little memory."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._files = array("I")
        self._lines = array("Q")

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, index: int) -> Origin:
        return Origin(self._names[self._files[index]], self._lines[index])

    def append(self, origin: Origin) -> int:
        """Keep one and return its index."""
        if not self._names or self._names[-1] != origin.file:
            self._names.append(origin.file)
        self._files.append(len(self._names) - 1)
        self._lines.append(origin.line)
        return len(self) - 1

    def by_file(self) -> dict[str, int]:
        """How many there are of each file."""
        found: Counter[str] = Counter()
        for number, count in Counter(self._files).items():
            found[self._names[number]] += count
        return dict(found)
