"""Records in PostgreSQL: the same contract for programs on many machines that share one database."""
