"""What changes, who receives it, and how a watcher catches up. No I/O; a backend publishes what happened."""
