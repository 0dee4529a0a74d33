"""Point-in-time restore with PostgreSQL's own tools: pg_receivewal streams the primary's WAL, which goes to S3 within a
fraction of a second, beside base backups of pg_basebackup.

`archiver` is the process that does this, `archive` its pure core with the names of the objects, `bucket` a thin layer
over S3. `restore` starts a separate PostgreSQL with the cluster's state at an instant.

We use pg_receivewal and not archive_command, since that hands over whole segments: to lose little, the primary would
have to switch segments all the time, and every region's replica would receive their padding.
"""
