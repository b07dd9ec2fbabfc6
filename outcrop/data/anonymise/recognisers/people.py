"""Names of people: by what stands around them, and by lists of first and last names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from outcrop.data.anonymise.findings import Finding
from outcrop.data.anonymise.gazetteer import COUNTRY, FAMOUS, FEMALE, FIRST, LAST, MALE, STATE, TOWN, fold, words
from outcrop.data.anonymise.lexicon import lexicon
from outcrop.data.anonymise.runs import PARTICLES, Word, begins_sentence

GIVEN = FEMALE + MALE + FIRST
PLACES = TOWN + FAMOUS + STATE + COUNTRY
PLACES_ALONE = frozenset(FAMOUS + STATE + COUNTRY)

TITLE_BEFORE = re.compile(
    r"\b(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Professor|Sir|Madam|Lady|Lord|Rev|Herr|Frau|Sr|Sra|Señor|Señora|Mme|Mlle|Signor|"
    r"Signora|Capt|Lt|Sgt|Judge|Senator|Uncle|Aunt|Sister|Brother|Father|Pastor|Nurse)\.?\s{1,2}$",
    re.IGNORECASE,
)
SAID_BEFORE = re.compile(
    r"(?:\b(?:my name is|my name's|name is|name's|i am called|(?:people |they |just )?call(?:s|ed)? me|named|"
    r"i['’]?m|i am|"
    r"this is|it's|what['’]?s your name\?|under|change it to|"
    r"dear|hi|hello|hey|regards,?|sincerely,?|cheers,?|thanks,?|thank you,?|yours,?|love,?|signed,?|attn:?|cc:|"
    r"speak (?:to|with)|talk (?:to|with)|ask for|contact|spoke (?:to|with)|signed by|directed by:?|written by|by|"
    r"(?:first |last |full |sur|given )?name:|names?:|from:|to:|customer:|patient:|beneficiary:?|mother|father|wife|"
    r"husband|son|daughter|brother|sister|friend|colleague|manager|boss|doctor|said|told|asked|with|and|met|"
    r"add))\s*[\"“*]*$",
    re.IGNORECASE,
)
SURE_BEFORE = re.compile(
    r"\b(?:my name is|my name's|i am called|call(?:s|ed)? me|dear|sincerely,?|regards,?|what['’]?s your name\?|"
    r"speak (?:to|with)|ask for|signed by|directed by:?|(?:first |last |full |sur|given )name:?|"
    r"change it to)\s*[\"“*]*$",
    re.IGNORECASE,
)
SAID_AFTER = re.compile(
    r"['’]s? (?:name|wife|husband|son|daughter|mother|father|brother|sister|account|address|phone|number|e-?mail|"
    r"birthday|house|office|passport|doctor)\b"
    r"|,? (?:said|says|told|asked|replied|wrote|called|is from|was born|lives|lived|works|worked|and I)\b|: ?[\"“]",
)
SMALL = re.compile(
    r"\b(?:my name is|my name['’]s|i am called|call me|(?:people )?call me|"
    r"name:)\s+([a-z][^\W\d_]+(?: [a-z][^\W\d_]+){0,2})",
)
FIRM_AFTER = re.compile(
    r",? ?(?:Inc|Ltd|LLC|LLP|PLC|plc|GmbH|AG|Corp|Corporation|Group|Company|Co\b|S\.?A\b|B\.?V\b|A/S|Oy|AB|Bank|"
    r"University|"
    r"College|School|Institute|Hospital|Foundation|Holdings|Partners|Street|St\b|Avenue|Ave\b|Road|Rd\b|Drive|Dr\b|"
    r"Lane|Court|Boulevard|Blvd|Park|Club|Award|Prize|Museum|Airport|Station|County|River|Lake|Mount|Island|Valley)"
)
FIRM_WORDS = frozenset(lexicon("firm_words"))
NOT_NAMES = frozenset(lexicon("not_names"))
SPEAKER_BEFORE = re.compile(r"(?:^|\n)[ \t>]*$")
SPEAKER_AFTER = re.compile(r" ?: ?[\"“]?[A-Za-z]")
KIN_AFTER = re.compile(
    r"['’]s (?:name|wife|husband|son|daughter|mother|father|brother|sister|account|address|phone|number|e-?mail|"
    r"birthday)\b"
    r"|,? (?:said|told|asked|replied|is from|was born|lives|spent)\b"
)
PAIR = re.compile(r"(?<![\w.] )\b([^\W\d_]{3,}) (?:and|&) (?=([^\W\d_]{3,}))")
JOINING = 0.55
SHORT_MONTHS = frozenset(lexicon("short_months"))
NUMBER_AFTER = re.compile(r"[. ]{1,2}\d")
CONTEXT_CHARS = 32
LONGEST = 6


def names(text: str, run: Sequence[Word]) -> Iterator[Finding]:
    """The names in one run of capitalised words."""
    before = text[max(0, run[0].start - CONTEXT_CHARS) : run[0].start]
    begin = 0
    while begin < len(run):
        end = _end_of_name(run, begin)
        firm = end < len(run) and run[end].text.casefold() in FIRM_WORDS
        if end == begin or firm or FIRM_AFTER.match(text, run[end - 1].end):
            begin += 1
            continue
        part = run[begin:end]
        score, rule = _score(text, part, before if begin == 0 else _before(text, part))
        if score:
            yield Finding("name", part[0].start, part[-1].end, score, f"name:{rule}")
        begin = end if score else begin + 1


def small_names(text: str) -> Iterator[Finding]:
    """Names written small after words that announce one."""
    for match in SMALL.finditer(text):
        start = match.start(1)
        end = start
        for index, word in enumerate(match[1].split(" ")):
            flags = words().get(fold(word), "")
            if "w" in flags or not any(flag in flags for flag in (GIVEN if index == 0 else GIVEN + LAST)):
                break
            end = start + len(" ".join(match[1].split(" ")[: index + 1]))
        if end > start:
            yield Finding("name", start, end, 0.75, "name:announced")


def _before(text: str, part: Sequence[Word]) -> str:
    return text[max(0, part[0].start - CONTEXT_CHARS) : part[0].start]


def _end_of_name(run: Sequence[Word], begin: int) -> int:
    """Where the words that can belong to one name end."""
    if run[begin].text in PARTICLES or (run[begin].initial and begin + 1 == len(run)):
        return begin
    end = begin
    while end < min(len(run), begin + LONGEST) and _can_be_name(run[end], end == begin):
        end += 1
    while end > begin and (run[end - 1].text in PARTICLES or (run[end - 1].initial and end - begin > 1)):
        end -= 1
    return end


def _can_be_name(word: Word, first: bool) -> bool:
    if word.initial or word.text in PARTICLES:
        return not first or word.initial
    if word.text.casefold() in NOT_NAMES or word.text.casefold() in FIRM_WORDS:
        return False
    if word.common:
        return word.has(GIVEN + LAST)
    return len(word.text) > 1 and not (word.text.isupper() and len(word.text) < 4)


def _score(text: str, part: Sequence[Word], before: str) -> tuple[float, str]:
    solid = [word for word in part if not word.initial and word.text not in PARTICLES]
    if not solid:
        return 0.0, ""
    titled = TITLE_BEFORE.search(before) is not None
    sure = SURE_BEFORE.search(before) is not None
    if (titled or sure) and not all(word.common and not (titled and word.has(GIVEN + LAST)) for word in solid):
        return 0.9, "titled" if titled else "announced"
    after = part[-1].end
    label = SPEAKER_BEFORE.search(before) is not None and SPEAKER_AFTER.match(text, after) is not None
    around = label or SAID_BEFORE.search(before) is not None or SAID_AFTER.match(text, after) is not None
    if len(solid) > 1:
        score, rule = _full_name(part, solid)
        if (
            not score
            and (around or _own_line(text, part))
            and not any(word.common or word.has(PLACES) for word in solid)
        ):
            return 0.6, "unknown-said" if around else "line"
    else:
        score, rule = _single_name(text, solid[0], len(part) > 1)
        if not score and solid[0].has(GIVEN) and (label or KIN_AFTER.match(text, after)):
            return 0.65, "first-said"
    if score and around:
        score = min(0.95, score + 0.15)
    return score, rule


def _own_line(text: str, part: Sequence[Word]) -> bool:
    """Whether the words are a line of their own in a text of several lines, as in a letter head or a signature."""
    start = text.rfind("\n", 0, part[0].start) + 1
    stop = text.find("\n", part[-1].end)
    rest = text[part[-1].end : stop if stop >= 0 else len(text)]
    return (
        "\n" in text and len(part) <= 4 and not text[start : part[0].start].strip(" \t>?*-") and not rest.strip(" \t,")
    )


def partners(text: str, found: Sequence[Finding]) -> list[Finding]:
    """Single unknown words joined to a sure name by "and"."""
    sure = {each.start: each for each in found if each.type == "name" and each.score >= JOINING}
    ends = {each.end for each in found}
    joined = []
    for match in PAIR.finditer(text):
        first, second = match.span(1), match.span(2)
        if second[0] in sure and first[1] not in ends and _is_unknown(match[1]):
            joined.append(Finding("name", *first, 0.55, "name:joined"))
    return joined


def _is_unknown(word: str) -> bool:
    flags = words().get(fold(word), "")
    return "w" not in flags and not any(flag in flags for flag in PLACES) and word.casefold() not in NOT_NAMES


def _full_name(part: Sequence[Word], solid: Sequence[Word]) -> tuple[float, str]:
    """Two words or more: surest where a known first name stands first and a known last name last."""
    first, last = solid[0], solid[-1]
    common = sum(word.common for word in solid)
    if common == len(solid) or PLACES_ALONE & set(words().get(" ".join(fold(word.text) for word in solid), "")):
        return 0.0, ""
    if first.has(GIVEN) and last.has(LAST + GIVEN):
        return (0.9 if not common else 0.75), "first-last"
    if first.has(GIVEN) and not first.common:
        return (0.75 if not last.has(PLACES) else 0.6), "first-unknown"
    if any(word.initial for word in part) and not common and len(solid) == 2:
        return 0.7, "initials"
    if last.has(LAST) and not common and not first.has(PLACES):
        return 0.6, "unknown-last"
    if first.has(LAST) and last.has(GIVEN) and not common:
        return 0.6, "last-first"
    return 0.0, ""


def _single_name(text: str, word: Word, initials: bool) -> tuple[float, str]:
    """One word: a name only if it is not written small otherwise, and not a place."""
    if word.common or len(word.text) < 3 or (word.text.isupper() and len(word.text) < 5):
        return 0.0, ""
    if word.text in SHORT_MONTHS and (NUMBER_AFTER.match(text, word.end) or text[max(0, word.start - 2)].isdigit()):
        return 0.0, ""
    if initials and word.has(GIVEN + LAST):
        return 0.7, "initials"
    if word.has(GIVEN):
        famous = word.has(FAMOUS + STATE + COUNTRY)
        return (0.4 if famous else 0.6 if word.has(TOWN) else 0.65), "first"
    if word.has(LAST):
        return (0.5 if not word.has(PLACES) and not begins_sentence(text, word.start) else 0.4), "last"
    return 0.0, ""
