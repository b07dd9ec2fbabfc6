"""The recognisers by family; each is imported only where one of its types is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from outcrop.core.catalog import Catalog
from outcrop.core.errors import MissingDependency
from outcrop.data.anonymise.findings import Recogniser
from outcrop.data.anonymise.spec import AnonymiseSpec

HERE = "outcrop.data.anonymise"

RECOGNISERS: Catalog[Callable[..., Recogniser]] = Catalog(
    "recogniser",
    {
        "patterns": f"{HERE}.patterns:PatternRecogniser",
        "phones": f"{HERE}.recognisers.phones:PhoneRecogniser",
        "national": f"{HERE}.recognisers.national:NationalIdRecogniser",
        "secrets": f"{HERE}.recognisers.secrets:SecretRecogniser",
        "dates": f"{HERE}.recognisers.dates:BirthDateRecogniser",
        "addresses": f"{HERE}.recognisers.addresses:AddressRecogniser",
        "gazetteer": f"{HERE}.recognisers.gazetteer:GazetteerRecogniser",
    },
)

FAMILIES: dict[str, tuple[str, ...]] = {
    "patterns": ("email", "card", "iban", "ip", "mac", "url-credentials", "crypto", "secret"),
    "phones": ("phone",),
    "national": ("national-id",),
    "secrets": ("secret",),
    "dates": ("birth-date",),
    "addresses": ("address",),
    "gazetteer": ("name", "place", "organisation"),
}
"""Family → the types that it finds."""


def recognisers(spec: AnonymiseSpec) -> list[Recogniser]:
    """The recognisers of the types that are asked for.

    Raises MissingDependency where a library that one of them needs is not installed.
    """
    wanted: list[Recogniser] = []
    for family, types in FAMILIES.items():
        asked = tuple(name for name in types if name in spec.types)
        if not asked:
            continue
        arguments: dict[str, Any] = {"phones": {"regions": spec.regions}, "gazetteer": {"types": asked}}.get(family, {})
        try:
            wanted.append(RECOGNISERS.load(family)(**arguments))
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package in ("", "outcrop"):
                raise
            raise MissingDependency.of(package, "anonymise", f"Finding {' and '.join(asked)}") from error
    return wanted
