# SPDX-License-Identifier: Apache-2.0
"""Run the migrations on the connection that the caller hands over."""

from alembic import context

from rbdcloner.db import tables

context.configure(
    connection=context.config.attributes['connection'],
    target_metadata=tables.Base.metadata,
    # SQLite alters a table by making it anew.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
