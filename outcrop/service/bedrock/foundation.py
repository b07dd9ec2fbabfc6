"""Foundation models: a catalog in TOML that leads from Bedrock's ids and aliases to model folders."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import StringConstraints

from outcrop.core import settings
from outcrop.core.errors import UsageError
from outcrop.core.spec import Spec, parameter
from outcrop.service.bedrock.model import CONTROL, service_model
from outcrop.service.spec import ServeSpec

BUILT_IN = Path(__file__).with_name("foundation_models.toml")
ID = str(service_model(CONTROL).shape_for("BedrockModelId").metadata["pattern"])
Id = Annotated[str, StringConstraints(pattern=rf"^(?:{ID})$", max_length=140)]
Customization = Literal["FINE_TUNING", "CONTINUED_PRE_TRAINING", "DISTILLATION"]


class FoundationModel(Spec):
    """A model of the catalog."""

    id: Id = parameter(..., "as clients name it")
    name: str = parameter("", "for people; default from the id", max_length=20)
    provider: str = parameter("", "for people; default from the id", max_length=20)
    path: str = parameter(..., "a folder, bundled:NAME or hf:ORG/NAME")
    aliases: tuple[Id, ...] = parameter((), "further ids that lead to the same model")
    customizations: tuple[Customization, ...] = parameter(
        ("FINE_TUNING", "CONTINUED_PRE_TRAINING", "DISTILLATION"), "which kinds of customization jobs may start from it"
    )
    method: Literal["", "full", "lora"] = parameter("", "how FINE_TUNING trains it; empty: by its size")

    @property
    def shown_name(self) -> str:
        """For people."""
        return self.name or self.id.partition(".")[2][:20]

    @property
    def shown_provider(self) -> str:
        """For people."""
        return self.provider or self.id.partition(".")[0].capitalize()[:20]


class NamedModel(NamedTuple):
    """A model under one of its names: clients see the one that they use in ARNs."""

    name: str
    arn: str
    model: FoundationModel


class FoundationModels:
    """The catalog: every id and alias leads to one model."""

    def __init__(self, models: Iterable[FoundationModel], region: str) -> None:
        self._prefix = f"arn:aws:bedrock:{region}::foundation-model/"
        self._names: dict[str, FoundationModel] = {}
        for model in models:
            for name in (model.id, *model.aliases):
                other = self._names.setdefault(name, model)
                if other.id != model.id:
                    raise UsageError(f"Two foundation models are called {name}.", "Rename one in the catalog.")

    @classmethod
    def load(cls, spec: ServeSpec) -> Self:
        """The bundled catalog, then the user's file, then --model; a later one replaces an earlier one of its id.

        Raises UsageError for an entry that is not allowed.
        """
        own = Path(spec.catalog) if spec.catalog else settings.home() / "models.toml"
        if spec.catalog and not own.is_file():
            raise UsageError(f"There is no catalog {own}.", "Give a TOML file with [[model]] entries.")
        entries = [*_entries(BUILT_IN), *(_entries(own) if own.is_file() else ())]
        models = {model.id: model for model in entries}
        for text in spec.models:
            name, equals, path = text.partition("=")
            if not equals:
                raise UsageError(f"--model {text} says no folder.", "Give it as ID=FOLDER.")
            models[name] = FoundationModel.parse({"id": name, "path": path}, "--model")
        return cls(models.values(), spec.region)

    def __iter__(self) -> Iterator[NamedModel]:
        """Every id and every alias, with its model."""
        return (self._named(name) for name in self._names)

    def find(self, identifier: str) -> NamedModel | None:
        """The model of an id, an alias or an ARN of either."""
        name = identifier.removeprefix(self._prefix)
        return self._named(name) if name in self._names else None

    def _named(self, name: str) -> NamedModel:
        return NamedModel(name, f"{self._prefix}{name}", self._names[name])


def _entries(file: Path) -> Iterator[FoundationModel]:
    try:
        content: Mapping[str, Any] = tomllib.loads(file.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"The catalog cannot be read: {error}.", "Mend the file.", str(file)) from None
    if unknown := set(content) - {"model"}:
        raise UsageError(f"Unknown table: {', '.join(sorted(unknown))}.", "Allowed: [[model]].", str(file))
    for number, entry in enumerate(content.get("model", []), 1):
        yield FoundationModel.parse(entry, f"{file}, model {number}")
