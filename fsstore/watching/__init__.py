"""What changes, who is told of it, and how a watcher catches up. No I/O; a backend brings what happened."""
