"""The tables, as the newest migration leaves them. Times are seconds since 1970 by the database's clock."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
)

REVISION = "0002"
"""The newest migration."""

METADATA = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)

JSON_OR_NULL = JSON(none_as_null=True)

JOBS = Table(
    "jobs",
    METADATA,
    Column("id", String(12), primary_key=True),
    Column("verb", String(32), nullable=False),
    Column("arguments", JSON, nullable=False),
    Column("target", Text, nullable=False),
    Column("directory", Text, nullable=False),
    Column("device", String(8), nullable=False),
    Column("foreground", Boolean, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("retries", JSON, nullable=False),
    Column("owner", JSON_OR_NULL),
    Column("lease_until", Double),
    Column("created", Double, nullable=False),
    Column("started", Double),
    Column("ended", Double),
    Column("reason", String(32)),
    Column("error", JSON_OR_NULL),
    Column("result", JSON_OR_NULL),
    Column("progress", JSON_OR_NULL),
    Column("event_count", Integer, nullable=False),
    Index("ix_jobs_state_created", "state", "created"),
)
"""directory: where relative paths of the arguments begin; attempt: the fencing token, counted up by every claim;
retries: reason → how often it was met since a checkpoint; event_count: the number of the job's last event."""

JOB_EVENTS = Table(
    "job_events",
    METADATA,
    Column("job_id", String(12), ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("at", Double, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("event", JSON, nullable=False),
    PrimaryKeyConstraint("job_id", "number"),
)
"""number: 1, 2, 3 … within a job, in the order of commits, without gaps: the cursor of whoever follows."""

PROJECTS = Table(
    "projects",
    METADATA,
    Column("id", String(12), primary_key=True),
    Column("name", String(63), nullable=False),
    Column("account", String(12), nullable=False),
    Column("created", Double, nullable=False),
    UniqueConstraint("name"),
    UniqueConstraint("account"),
)
"""A project sees nothing of another one. account: twelve digits, its account in ARNs."""

API_KEYS = Table(
    "api_keys",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("project_id", String(12), ForeignKey("projects.id", ondelete="CASCADE"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("secret", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("revoked", Double),
)
"""kind: "signature" or "bearer"; secret: encrypted where signatures need it, a digest where it is only compared."""

RESOURCES = Table(
    "resources",
    METADATA,
    Column("id", String(12), primary_key=True),
    Column("project_id", String(12), ForeignKey("projects.id", ondelete="CASCADE"), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("name", String(256), nullable=False),
    Column("arn", Text, nullable=False),
    Column("status", String(32), nullable=False),
    Column("model", Text),
    Column("job_id", String(12), ForeignKey("jobs.id")),
    Column("created", Double, nullable=False),
    Column("updated", Double, nullable=False),
    Column("ended", Double),
    Column("body", JSON, nullable=False),
    UniqueConstraint("project_id", "kind", "name"),
    UniqueConstraint("arn"),
    Index("ix_resources_project_id_kind_created", "project_id", "kind", "created"),
    Index("ix_resources_status", "status"),
)
"""What a project made through an API: jobs, models, deployments. kind, status and body: as the API has them;
model: ARN of the model it is about; job_id: the durable job that does its work."""

TAGS = Table(
    "tags",
    METADATA,
    Column("resource_id", String(12), ForeignKey("resources.id", ondelete="CASCADE"), nullable=False),
    Column("key", String(128), nullable=False),
    Column("value", String(256), nullable=False),
    PrimaryKeyConstraint("resource_id", "key"),
)

REQUEST_TOKENS = Table(
    "request_tokens",
    METADATA,
    Column("project_id", String(12), ForeignKey("projects.id", ondelete="CASCADE"), nullable=False),
    Column("operation", String(64), nullable=False),
    Column("token", String(256), nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("answer", JSON, nullable=False),
    Column("created", Double, nullable=False),
    PrimaryKeyConstraint("project_id", "operation", "token"),
)
"""Requests that may be repeated: the same token gets the same answer. fingerprint: digest of the request."""

PROJECT_SETTINGS = Table(
    "project_settings",
    METADATA,
    Column("project_id", String(12), ForeignKey("projects.id", ondelete="CASCADE"), nullable=False),
    Column("name", String(64), nullable=False),
    Column("value", JSON, nullable=False),
    PrimaryKeyConstraint("project_id", "name"),
)
