"""Alembic's entry point; the connection comes from ``contracts.database`` (or a developer's own engine)."""

from alembic import context

from contracts.platform import PlatformBase

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=PlatformBase.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
