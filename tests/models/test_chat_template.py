"""Chat templates give the text that transformers gives, and are refused where it refuses them."""

from __future__ import annotations

from typing import Any

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outcrop.data.records import Message
from outcrop.models.chat_template import apply
from outcrop.models.scratch import CHAT_TEMPLATE
from tests.models.chat import HYBRID, TEMPLATES
from tests.support.tiny import tiny_tokenizer

GENERATION = (
    "{% for message in messages %}\n    {% if message.role == 'assistant' %}\n"
    "{% set who = 'me' %}{% generation %}{% set who = 'you' %}{{ who }}{{ message.content }}{% endgeneration %}\n"
    "    {% else %}\n{{ who }}{{ message.content }}{%- endif %}\n{% endfor %}"
)
FEATURES = {
    "blocks": (
        "{% for m in messages %}\n  {% if loop.index0 > 0 %}\n  {{- m.content | trim }}\n  {% endif %}\n{% endfor %}"
    ),
    "json": "{{ messages | tojson }}{{ messages | tojson(indent=2) }}",
    "sorted json": "{{ {'b': 1, 'a': '<é>'} | tojson(sort_keys=true) }}",
    "loops": "{% for m in messages %}{% if loop.last %}{% break %}{% endif %}{{ m.role }}{% continue %}x{% endfor %}",
    "generation": GENERATION,
    "namespace": "{% set s = namespace(n=0) %}{% for m in messages %}{% set s.n = s.n + 1 %}{% endfor %}{{ s.n }}",
    "names in a namespace": "{{ namespace(self=1).self }}",
    "dict": "{{ dict(a=1) }}{{ dict.fromkeys(['x']) }}{{ dict([('k', 'v')]).k }}",
    "macros": "{% macro say(m) %}<{{ m.role }}>{{ m['content'] }}{% endmacro %}{{ say(messages[-1]) }}",
    "absent": "{{ tools is none }}{{ documents is none }}{{ tools is defined }}{{ nothing }}",
    "names": "{{ unk_token }}{{ cls_token }}{{ eos_token }}{{ caller is defined }}",
    "thinking": "{{ enable_thinking is defined and enable_thinking is false }}",
    "date": "{{ strftime_now('%Y-%m') }}",
    "methods": "{{ messages[0].content.upper().split(' ') }}{{ messages[0].items() | list }}{{ messages | length }}",
}
REFUSED = {
    "its own refusal": "{{ raise_exception('not so') }}",
    "syntax": "{% for",
    "another tag": "{% include 'x' %}",
    "classes": "{{ ''.__class__.__mro__ }}",
    "changes": "{{ messages.append(1) }}",
    "underscores": "{% set ns = namespace(__class__=1) %}",
    "underscores set": "{% set ns = namespace() %}{% set ns._x = 1 %}",
    "the class of dict": "{{ dict.__base__ }}",
    "addition of text and number": "{{ messages[0].content + 1 }}",
}
CONVERSATIONS = st.lists(
    st.builds(Message, st.sampled_from(["system", "user", "assistant"]), st.text(max_size=8)), min_size=1, max_size=4
)


def transformers_text(template: str, messages: list[Message], prompting: bool) -> str:
    turns = [{"role": message.role, "content": message.content} for message in messages]
    return str(
        tiny_tokenizer().apply_chat_template(
            turns, chat_template=template, tokenize=False, add_generation_prompt=prompting, enable_thinking=False
        )
    )


def outcome(make: Any, *given_: Any, **options: Any) -> str:
    """The text, or what kind of error there was."""
    try:
        return str(make(*given_, **options))
    except (jinja2.TemplateError, TypeError) as error:
        return f"refused: {type(error).__name__}"


ALL = {name: template for name, template in TEMPLATES.items() if template} | {"own": CHAT_TEMPLATE, "hybrid": HYBRID}


@pytest.mark.contract
@pytest.mark.parametrize("template", (ALL | FEATURES).values(), ids=ALL | FEATURES)
@settings(max_examples=30)
@given(messages=CONVERSATIONS, prompting=st.booleans())
def test_the_text_is_that_of_transformers(template: str, messages: list[Message], prompting: bool) -> None:
    names = tiny_tokenizer().special_tokens_map
    assert apply(template, messages, names, add_generation_prompt=prompting) == transformers_text(
        template, messages, prompting
    )


@pytest.mark.contract
@pytest.mark.parametrize("template", REFUSED.values(), ids=REFUSED)
def test_what_transformers_refuses_is_refused(template: str) -> None:
    messages = [Message("user", "hi")]
    ours = outcome(apply, template, messages, {}, add_generation_prompt=False)
    assert ours == outcome(transformers_text, template, messages, False)
    assert ours.startswith("refused") or not ours.strip()
