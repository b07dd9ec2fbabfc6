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
)

REVISION = "0001"
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
