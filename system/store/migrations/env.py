"""Alembic's entry: runs the migrations on the connection that system.store.migrate hands over."""

from alembic import context

from system.store import new_consumers

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    # One at a time: a second migrate waits here, and then finds nothing left to do.
    context.get_bind().exec_driver_sql("select pg_advisory_xact_lock(hashtext('covenant.migrate'))")
    context.run_migrations()
    new_consumers.begin(context.get_bind())
