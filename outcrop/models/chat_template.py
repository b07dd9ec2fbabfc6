"""Chat templates: Jinja from a model's folder, rendered in a sandbox to the text that transformers renders."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

import jinja2
import jinja2.nodes
import jinja2.parser
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from outcrop.data.records import Message


def apply(template: str, messages: Sequence[Message], names: Mapping[str, str], *, add_generation_prompt: bool) -> str:
    """The text of a conversation. names: special tokens by what templates call them (bos_token, eos_token, …).

    Raises jinja2.TemplateError or TypeError for a template that cannot be applied.
    """
    return _compiled(template).render(
        **names,
        messages=[{"role": message.role, "content": message.content} for message in messages],
        tools=None,
        documents=None,
        add_generation_prompt=add_generation_prompt,
        enable_thinking=False,  # hybrid models then get the empty thought as part of the prompt
    )


def check(template: str) -> None:
    """Raise jinja2.TemplateSyntaxError for what is no template."""
    _compiled(template)


class _Generation(Extension):
    """{% generation %} is where other trainers look for their loss mask; to the text it adds nothing."""

    tags = {"generation"}  # noqa: RUF012  where Jinja looks for it

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        """What stands between the tags."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return [jinja2.nodes.Scope(body, lineno=line)]


class _Dict:
    """`dict` without the attributes of a class, which lead out of the sandbox."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        """As of dict."""
        return dict.fromkeys(*args)


class _Namespace(Namespace):
    """`namespace` that takes no names with an underscore in front, which lead out of the sandbox."""

    def __init__(*args: Any, **kwargs: Any) -> None:  # `self` may be one of the names
        for name in dict(*args[1:], **kwargs):
            _check_name(name)
        Namespace.__init__(*args, **kwargs)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"{name!r} cannot be stored in a namespace: it begins with _.")


@lru_cache(maxsize=16)
def _compiled(template: str) -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _json
    environment.globals |= {
        "raise_exception": _refuse, "strftime_now": _now, "dict": _Dict(), "namespace": _Namespace
    }  # fmt: skip
    return environment.from_string(template)


def _json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as it is: Jinja's own filter would write it for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _now(form: str) -> str:
    return datetime.now().strftime(form)  # noqa: DTZ005  the date where the user is
