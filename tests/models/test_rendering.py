"""Properties of rendering that hold for every kind of tokenizer, every well-behaved template and every content."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outcrop.core.errors import DataError, ModelError
from outcrop.data.records import Conversation, Message, Origin, Pair, Record, Text
from outcrop.models.rendering import Rendered, Renderer, RenderingSpec
from tests.models.chat import CHATML, HYBRID, INST, KINDS, SPECIALS, TEMPLATES, tokenizer

EVERY = [(kind, name) for kind in KINDS for name in TEMPLATES]
EVERY_TOKENIZER = pytest.mark.parametrize("kind", KINDS)
FEWER = settings(max_examples=15)
SOME = settings(max_examples=50)
EVERY_RENDERER = pytest.mark.parametrize(("kind", "template"), EVERY)
NAMES = (*SPECIALS, "<s>", "</s>", "<unk>", "<pad>", "<|begin|>", "<|end|>", "<|pad|>", "<|reserved-0|>")
TEXTS = st.one_of(
    st.sampled_from(
        ["card", " card", "card ", "\ncard", "\n\n", "  ", "a\n\nb", "😀", "你好 12", "\u0301x", "[INST]", "�"]
    ),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12),
).filter(lambda text: not any(name in text for name in NAMES))
WORDS = st.one_of(st.sampled_from(["card arrival", "?"]), TEXTS.filter(str.strip))
_renderers: dict[tuple[str, str], Renderer] = {}


def renderer(kind: str, template: str = "default") -> Renderer:
    if (kind, template) not in _renderers:
        _renderers[kind, template] = Renderer(tokenizer(kind), RenderingSpec(chat_template=TEMPLATES[template]))
    return _renderers[kind, template]


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    system = [Message("system", draw(TEXTS))] if draw(st.booleans()) else []
    rounds = draw(st.lists(st.tuples(WORDS, TEXTS, st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=3))
    turns = [
        turn for asked, said, weight in rounds for turn in (Message("user", asked), Message("assistant", said, weight))
    ]
    last = Message("assistant", turns[-1].content)
    return Conversation((*system, *turns[:-1], last), Origin("rows.jsonl", 7))


def adds_begin(made: Renderer) -> bool:
    return bool(made.tokenizer("a").input_ids[0] == made.tokenizer.bos_token_id)


def same_text(made: Renderer, ids: list[int], expected: str) -> bool:
    """Tokenizers may compose characters; those of old put a space after special tokens, and decoders drop the first."""
    found = made.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    bare = [unicodedata.normalize("NFC", text) for text in (found, expected)]
    if made.tokenizer.decode(made.tokenizer("a").input_ids).endswith(" a"):
        bare = [text.replace(" ", "") for text in bare]
    return bare[0] == bare[1]


def trained_runs(row: Rendered) -> list[list[int]]:
    """The stretches of tokens with loss, in order."""
    runs: list[list[int]] = []
    before = 0.0
    for token, weight in zip(row.token_ids, row.weights, strict=True):
        if weight and not before:
            runs.append([])
        if weight:
            runs[-1].append(token)
        before = weight
    return runs


@EVERY_TOKENIZER
@SOME
@given(prompt=WORDS, completion=TEXTS)
def test_of_a_pair_the_completion_and_its_end_are_trained(kind: str, prompt: str, completion: str) -> None:
    made = renderer(kind)
    row = made.render(Pair(prompt, completion))
    [run] = trained_runs(row)
    assert run[-1] == made.eos_id == row.token_ids[-1]
    assert row.token_ids.count(made.eos_id) == 1
    gap = " " if completion and not prompt[-1].isspace() and not completion[0].isspace() else ""
    assert same_text(made, run[:-1], gap + completion)
    assert row.trained_tokens == len(run)


@EVERY_TOKENIZER
@SOME
@given(prompt=WORDS, completion=TEXTS)
def test_a_rendered_pair_is_prompt_gap_completion_and_end(kind: str, prompt: str, completion: str) -> None:
    made = renderer(kind)
    bos = made.tokenizer.bos_token if adds_begin(made) else ""
    gap = " " if completion and not prompt[-1].isspace() and not completion[0].isspace() else ""
    ids = made.render(Pair(prompt, completion)).token_ids
    assert same_text(made, ids, bos + prompt + gap + completion + made.tokenizer.eos_token)


@EVERY_RENDERER
@FEWER
@given(record=conversations())
def test_of_a_conversation_each_answer_and_its_end_are_trained(kind: str, template: str, record: Conversation) -> None:
    made = renderer(kind, template)
    row = made.render(record)
    answers = [turn for turn in record.messages if turn.role == "assistant" and turn.weight]
    runs = trained_runs(row)
    assert len(runs) == len(answers)
    closing = {made.tokenizer.convert_tokens_to_ids(name) for name in made.tokenizer.all_special_tokens}
    for run, answer in zip(runs, answers, strict=True):
        assert run[-1] in made.stop_ids
        assert not closing & set(run[:-1])
        assert (
            same_text(made, run[:-1], answer.content)
            or same_text(made, run[:-1], f" {answer.content}")
            or (template == "headers" and same_text(made, run[:-1], answer.content.strip()))
        )
    assert row.weights[-1] == 1.0, "the row ends where its last answer does"


@EVERY_RENDERER
@FEWER
@given(record=conversations())
def test_weights_are_those_of_the_turns(kind: str, template: str, record: Conversation) -> None:
    row = renderer(kind, template).render(record)
    wanted = [turn.weight for turn in record.messages if turn.role == "assistant" and turn.weight]
    changes = [
        weight for weight, before in zip(row.weights, [0.0, *row.weights], strict=False) if weight and not before
    ]
    assert changes == wanted


@EVERY_RENDERER
@FEWER
@given(record=conversations())
def test_the_ids_are_those_of_the_templates_text(kind: str, template: str, record: Conversation) -> None:
    made = renderer(kind, template)
    turns = [{"role": turn.role, "content": turn.content} for turn in record.messages]
    text = made.tokenizer.apply_chat_template(turns, chat_template=made.chat_template, tokenize=False)
    ids = made.render(record).token_ids
    if adds_begin(made) and not text.startswith(made.tokenizer.bos_token):
        ids = ids[1:]
    last = made.tokenizer.convert_ids_to_tokens(ids[-1])
    assert same_text(made, ids, text[: text.rindex(last) + len(last)])


RECORDS = st.one_of(conversations(), st.builds(Pair, WORDS, TEXTS))


@EVERY_RENDERER
@FEWER
@given(record=RECORDS)
def test_what_is_served_is_what_was_trained(kind: str, template: str, record: Record) -> None:
    made = renderer(kind, template)
    answer = record.messages[-1].content if isinstance(record, Conversation) else record.completion
    asked = made.prompt(record)
    assert made.render(record).token_ids == asked + made.answer(record, answer)
    if isinstance(record, Conversation):
        unanswered = Conversation(record.messages[:-1], record.origin)
        assert made.prompt(unanswered) == asked
        assert made.answer(unanswered, answer) == made.answer(record, answer)


@EVERY_RENDERER
@FEWER
@given(record=RECORDS)
def test_there_is_one_begin_token_at_most(kind: str, template: str, record: Record) -> None:
    made = renderer(kind, template)
    bos = made.tokenizer.bos_token_id
    ids = made.render(record).token_ids
    written = isinstance(record, Conversation) and template in ("headers", "inst")
    assert ids.count(bos) == (1 if written or adds_begin(made) else 0)
    assert bos not in ids[1:]


@EVERY_TOKENIZER
@SOME
@given(record=RECORDS)
def test_token_texts_make_up_the_text(kind: str, record: Record) -> None:
    made = renderer(kind)
    ids = made.render(record).token_ids
    texts = made.token_texts(ids)
    assert len(texts) == len(ids)
    assert "".join(texts) == made.tokenizer.decode(ids, clean_up_tokenization_spaces=False)


@EVERY_TOKENIZER
@given(st.lists(TEXTS, max_size=5))
@FEWER
def test_texts_rendered_together_are_those_rendered_alone(kind: str, texts: list[str]) -> None:
    records = [Text(text, Origin("x", number)) for number, text in enumerate([*texts, "<s>a", "the card"])]
    made = renderer(kind)
    fine = [record for record in records if not made.special_tokens_in(record)]
    assert list(made.render_texts(fine)) == [made.render(record).token_ids for record in fine]



@EVERY_TOKENIZER
def test_text_is_trained_whole_with_its_end(kind: str) -> None:
    made = renderer(kind)
    row = made.render(Text("the card"))
    assert row.token_ids[-1] == made.eos_id
    assert row.weights == [0.0] + [1.0] * (len(row.token_ids) - 1)


@pytest.mark.parametrize("special", ["</s>", "<|im_start|>", "<|im_end|>"])
def test_special_tokens_in_the_content_are_refused_with_their_place(special: str) -> None:
    made, origin = renderer("byte-level", "chatml"), Origin("rows.jsonl", 12)
    forged = f"hi{special}there"
    turns = (Message("user", "a"), Message("assistant", "b"))
    for record in (
        Pair(forged, "x", origin),
        Pair("x", forged, origin),
        Text(forged, origin),
        Conversation((Message("system", forged), *turns), origin),
        Conversation((*turns, Message("user", forged), Message("assistant", "b")), origin),
        Conversation((Message("user", "a"), Message("assistant", forged)), origin),
    ):
        with pytest.raises(DataError, match=r"rows\.jsonl:12: The special token") as caught:
            made.render(record)
        assert special in caught.value.message
    with pytest.raises(DataError):
        made.prompt(Pair(forged, "", origin))
    for record in (Pair("x", "", origin), Conversation(turns, origin)):
        with pytest.raises(DataError):
            made.answer(record, forged)


@EVERY_TOKENIZER
@pytest.mark.parametrize(
    ("record", "share"),
    [
        (Pair("", "all of it", Origin("rows.csv", 3)), "every token"),
        (Conversation((Message("user", "a"), Message("assistant", "b", 0.0)), Origin("rows.csv", 3)), "nothing"),
    ],
    ids=["all", "none"],
)
def test_masks_of_everything_and_of_nothing_are_refused(kind: str, record: Record, share: str) -> None:
    with pytest.raises(DataError, match=rf"^rows\.csv:3: With this row {share} would be trained"):
        renderer(kind).render(record)


def test_a_conversation_begins_with_a_question() -> None:
    with pytest.raises(DataError, match="No turn precedes the answer"):
        renderer("byte-level").render(Conversation((Message("assistant", "b"),)))


STRIPPING = CHATML.replace(
    "message['content']", "(message['content'] if loop.last or message['role'] == 'user' else '...')"
)
REFUSED_AT_ONCE = {
    "no end of turn": "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}",
    "no generation prompt": CHATML.partition("{% if add_generation_prompt")[0],
    "header in plain words": "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}{{ eos_token }}{% endfor %}",
    "answers left out": "{% for m in messages %}{{ m['role'] }}{{ eos_token }}{% endfor %}",
    "other generation prompt": CHATML.replace("<|im_start|>assistant\n", "<|im_start|>helper\n"),
    "not Jinja": "{% for %}",
    "an error of its own": "{{ raise_exception('no') }}",
}


@pytest.mark.parametrize("template", REFUSED_AT_ONCE.values(), ids=list(REFUSED_AT_ONCE))
def test_templates_that_cannot_be_trained_are_refused(template: str) -> None:
    with pytest.raises(ModelError, match=r"^some/model: The chat template") as caught:
        Renderer(tokenizer("byte-level"), RenderingSpec(chat_template=template), where="some/model")
    assert caught.value.remedy


def test_a_template_that_changes_earlier_turns_is_refused_where_it_does() -> None:
    made = Renderer(tokenizer("byte-level"), RenderingSpec(chat_template=STRIPPING))
    once = (Message("user", "a"), Message("assistant", "long"))
    made.render(Conversation(once))
    twice = Conversation(once * 2, Origin("rows.jsonl", 4))
    for use in (
        made.render,
        made.prompt,
        lambda record: made.prompt(Conversation(record.messages[:-1], record.origin)),
    ):
        with pytest.raises(ModelError, match=r"^rows\.jsonl:4: The chat template changes earlier turns"):
            use(twice)


def test_roles_that_a_template_refuses_are_named_with_the_row() -> None:
    picky = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + CHATML
    made = Renderer(tokenizer("byte-level"), RenderingSpec(chat_template=picky))
    turns = (Message("system", "s"), Message("user", "a"), Message("assistant", "b"))
    with pytest.raises(ModelError, match=r"^rows\.jsonl:4: .*no system role"):
        made.render(Conversation(turns, Origin("rows.jsonl", 4)))


def test_hybrid_models_have_their_empty_thought_in_the_prompt() -> None:
    made = Renderer(tokenizer("byte-level"), RenderingSpec(chat_template=HYBRID))
    record = Conversation((Message("user", "a"), Message("assistant", "b")))
    assert made.tokenizer.decode(made.prompt(record)).endswith("</think>\n\n")
    assert made.tokenizer.decode(made.answer(record, "b")) == "b<|im_end|>"


def test_the_template_is_the_specs_else_the_tokenizers_else_ours() -> None:
    bare = tokenizer("byte-level")
    ours = Renderer(bare).chat_template
    bare.chat_template = CHATML
    assert Renderer(bare).chat_template == CHATML != ours
    assert Renderer(bare, RenderingSpec(chat_template=INST)).chat_template == INST
    bare.chat_template = {"default": INST, "tool_use": CHATML}
    assert Renderer(bare).chat_template == INST


def test_stop_ids_are_the_end_the_models_own_and_the_one_that_closes_turns() -> None:
    words = tokenizer("byte-level")
    names = ["</s>", "<|im_end|>", "<|eot_id|>"]
    ids = [words.convert_tokens_to_ids(name) for name in names]
    assert Renderer(words, RenderingSpec(chat_template=CHATML), [ids[2]]).stop_ids == tuple(sorted(ids))


def test_a_tokenizer_without_an_end_is_refused() -> None:
    endless = tokenizer("byte-level")
    endless.eos_token = None
    with pytest.raises(ModelError, match="no end token"):
        Renderer(endless)


def test_worked_examples_are_joined_as_pairs_are() -> None:
    made = renderer("byte-level")
    record = Pair("Message: c\nIntent:", "z", Origin("f", 1), {"id": 3})
    shots = [Pair("Message: a\nIntent:", "x"), Pair("Message: b\nIntent: ", "y")]
    joined = made.with_prefix(record, shots)
    assert joined.prompt == "Message: a\nIntent: x\n\nMessage: b\nIntent: y\n\nMessage: c\nIntent:"
    assert (joined.completion, joined.origin, joined.fields) == (record.completion, record.origin, record.fields)


def test_the_separator_is_the_specs() -> None:
    made = Renderer(tokenizer("byte-level"), RenderingSpec(separator=" => "))
    ids = made.render(Pair("a", "b")).token_ids
    assert made.tokenizer.decode(ids) == "a => b</s>"


def test_what_follows_other_text_gets_no_space_of_the_tokenizers_own() -> None:
    for kind in ("metaspace", "prepend"):
        made = renderer(kind)
        for text in ("card", "\n\ncard", "\n card", "  card"):
            answer: list[Any] = made.answer(Pair("x ", ""), text)[:-1]
            tokens = made.tokenizer.convert_ids_to_tokens(answer)
            assert "".join(tokens).replace("▁", " ") == text, (kind, tokens)
