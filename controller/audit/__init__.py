"""What was decided and done, kept for later: a spool on disk, a database behind it, and questions about the past."""
