"""Kinds of resources, and the ARNs that Bedrock gives them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from outcrop.store.projects import Project


@dataclass(frozen=True)
class Kind:
    """A kind of resource. name: in the database; path: how its ARNs begin after the account; words: for messages."""

    name: str
    path: str
    words: str


CUSTOMIZATION_JOB: Final = Kind("customization-job", "model-customization-job", "model customization job")
CUSTOM_MODEL: Final = Kind("custom-model", "custom-model", "custom model")
DEPLOYMENT: Final = Kind("deployment", "custom-model-deployment", "custom model deployment")
PROVISIONED: Final = Kind("provisioned-model", "provisioned-model", "provisioned model")
IMPORT_JOB: Final = Kind("import-job", "model-import-job", "model import job")
IMPORTED_MODEL: Final = Kind("imported-model", "imported-model", "imported model")
INVOCATION_JOB: Final = Kind("invocation-job", "model-invocation-job", "model invocation job")
EVALUATION_JOB: Final = Kind("evaluation-job", "evaluation-job", "evaluation job")
COPY_JOB: Final = Kind("copy-job", "model-copy-job", "model copy job")

KINDS: Final = (
    CUSTOMIZATION_JOB, CUSTOM_MODEL, DEPLOYMENT, PROVISIONED, IMPORT_JOB, IMPORTED_MODEL, INVOCATION_JOB,
    EVALUATION_JOB, COPY_JOB,
)  # fmt: skip


def arn(region: str, project: Project, kind: Kind, resource_id: str, below: str = "") -> str:
    """The ARN of a resource. below: what stands between its kind and its id, such as the id of the base model."""
    middle = f"{kind.path}/{below}" if below else kind.path
    return f"arn:aws:bedrock:{region}:{project.account}:{middle}/{resource_id}"
