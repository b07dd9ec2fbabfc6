"""Projects, their keys and settings, and what they made through an API."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "projects",
        sa.Column("id", sa.String(12), nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("account", sa.String(12), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_projects"),
        sa.UniqueConstraint("name", name="uq_projects_name"),
        sa.UniqueConstraint("account", name="uq_projects_account"),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("project_id", sa.String(12), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("revoked", sa.Double()),
        _of_project("api_keys"),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
    )
    _create_resources()
    _create_tokens_and_settings()


def _create_tokens_and_settings() -> None:
    op.create_table(
        "request_tokens",
        sa.Column("project_id", sa.String(12), nullable=False),
        sa.Column("operation", sa.String(64), nullable=False),
        sa.Column("token", sa.String(256), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("answer", sa.JSON(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        _of_project("request_tokens"),
        sa.PrimaryKeyConstraint("project_id", "operation", "token", name="pk_request_tokens"),
    )
    op.create_table(
        "project_settings",
        sa.Column("project_id", sa.String(12), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        _of_project("project_settings"),
        sa.PrimaryKeyConstraint("project_id", "name", name="pk_project_settings"),
    )


def _create_resources() -> None:
    op.create_table(
        "resources",
        sa.Column("id", sa.String(12), nullable=False),
        sa.Column("project_id", sa.String(12), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("name", sa.String(256), nullable=False),
        sa.Column("arn", sa.Text(), nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("model", sa.Text()),
        sa.Column("job_id", sa.String(12)),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("updated", sa.Double(), nullable=False),
        sa.Column("ended", sa.Double()),
        sa.Column("body", sa.JSON(), nullable=False),
        _of_project("resources"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_resources_job_id"),
        sa.PrimaryKeyConstraint("id", name="pk_resources"),
        sa.UniqueConstraint("project_id", "kind", "name", name="uq_resources_project_id_kind_name"),
        sa.UniqueConstraint("arn", name="uq_resources_arn"),
    )
    op.create_index("ix_resources_project_id_kind_created", "resources", ["project_id", "kind", "created"])
    op.create_index("ix_resources_status", "resources", ["status"])
    op.create_table(
        "tags",
        sa.Column("resource_id", sa.String(12), nullable=False),
        sa.Column("key", sa.String(128), nullable=False),
        sa.Column("value", sa.String(256), nullable=False),
        sa.ForeignKeyConstraint(["resource_id"], ["resources.id"], name="fk_tags_resource_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("resource_id", "key", name="pk_tags"),
    )


def _of_project(table: str) -> sa.ForeignKeyConstraint:
    name = f"fk_{table}_project_id"
    return sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=name, ondelete="CASCADE")


def downgrade() -> None:
    """Drop the tables with all that is in them."""
    for table in ("project_settings", "request_tokens", "tags", "resources", "api_keys", "projects"):
        op.drop_table(table)
