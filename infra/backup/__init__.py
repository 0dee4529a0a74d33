"""Point-in-time restore with PostgreSQL's own tools: pg_receivewal follows the primary, its bytes go to S3 within a
fraction of a second, pg_basebackup's copies lie beside them.

`archiver` is the process that does so, `archive` its pure core and the names of the objects, `bucket` the thin way to
S3, `restore` brings a PostgreSQL of its own up as the cluster was at an instant.

pg_receivewal rather than archive_command: that one hands over whole segments, so that a small loss means switching
segments all the time, whose padding every region's replica would have to be sent.
"""
