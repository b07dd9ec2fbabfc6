"""Shared sentences: counted by row, with their share of the text, and none where texts differ."""

from __future__ import annotations

from outcrop.data.boilerplate import boilerplate
from tests.data.corpus import prompts

NOTICE = "The resources from MedlinePlus offer information about this condition."


def test_a_notice_in_every_third_text_is_found() -> None:
    texts = [f"{text} {NOTICE.upper() if row % 2 else NOTICE} {NOTICE}" if row % 3 == 0 else text
             for row, text in enumerate(prompts())]  # fmt: skip
    found = boilerplate(texts)
    assert (found.rows, found.sentences) == (22, 1)
    assert [(each.text, each.rows, each.first) for each in found.most] == [(NOTICE, 22, 0)]
    assert found.characters == 44 * len(NOTICE) / sum(map(len, texts))


def test_texts_that_differ_share_nothing() -> None:
    found = boilerplate(prompts())
    assert (found.rows, found.characters, found.sentences, found.most) == (0, 0.0, 0, ())
    assert boilerplate([]).rows == 0


def test_rare_and_short_repeats_are_no_boilerplate() -> None:
    assert boilerplate([f"{text} {NOTICE}" if row < 4 else text for row, text in enumerate(prompts())]).rows == 0
    assert boilerplate([f"{text} Thank you." for text in prompts()]).rows == 0
    many = [f"{prompts()[row % 64][:-1]} {row}? " + (NOTICE if row < 9 else "") for row in range(5000)]
    assert boilerplate(many).rows == 0
