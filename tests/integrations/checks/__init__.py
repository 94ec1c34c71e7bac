"""Our own tests that need a framework: `python -m tests.integrations` runs them in its environment, pytest does not."""
