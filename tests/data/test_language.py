"""Languages by script and frequent words."""

from __future__ import annotations

import pytest

from outcrop.data.language import language

SENTENCES = {
    "English": "The train to the harbour was late and that is why they had to wait for it.",
    "German": "Der Zug ist nicht pünktlich, und ich werde mit dem Bus fahren, weil es auch eine Haltestelle gibt.",
    "French": "Le train est en retard et nous avons pris une voiture pour aller dans la ville au bord de la mer.",
    "Spanish": "El tren que va por la costa se detiene en una estación para los viajeros, pero no hay café.",
    "Italian": "Il treno che parte dalla stazione della città non è più in orario, ma gli altri sono puntuali.",
    "Portuguese": "O comboio não parou na estação e uma mulher que mora na cidade foi para casa mais tarde.",
    "Dutch": "De trein is niet op tijd en het station ligt aan een weg die ook voor fietsers te bereiken is.",
    "Cyrillic": "Утренний поезд опаздывает.",
    "Chinese": "从罗洛到达之前，它的人口没有差别。",
    "Japanese": "この電車は朝に出発します。",
    "Korean": "아침 기차가 늦게 출발합니다.",
    "Arabic": "قبل وصول القطار كان الجميع ينتظر.",
    "Greek": "Το πρωινό τρένο αργεί.",
    "Hebrew": "הרכבת מאחרת הבוקר.",
    "Thai": "รถไฟเช้านี้มาสาย",
    "Devanagari": "सुबह की ट्रेन देर से आती है।",
}


@pytest.mark.parametrize("name", SENTENCES)
def test_plain_sentences(name: str) -> None:
    assert language(SENTENCES[name]) == name


@pytest.mark.parametrize(
    "text",
    ["", "ok", "refund please", "SELECT a FROM b WHERE c = 'die'", "No. Do you? No. Do you do? No.", "αβ testing x"],
)
def test_short_or_unclear_texts_have_none(text: str) -> None:
    assert language(text) is None
