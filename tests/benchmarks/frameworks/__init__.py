"""Sessions and checkpoints of agent frameworks, next to the frameworks' own stores, in one run.

    python -m tests.benchmarks.frameworks openai-agents
    python -m tests.benchmarks.frameworks langgraph --json frameworks.json

They are `openai-agents`, `langgraph`, `pydantic-ai`, `key-value`, `strands`, `google-adk` and `claude-agent`. Each
needs the environment that `python -m tests.integrations --keep DIR` makes, and is measured by itself.
Every store writes durably where it can: fsstore and SQLite as they come. A round measures one store after the other,
so that what else the machine does meets all of them; printed are medians, and the ratio to the framework's own store.
Pydantic AI's own store is in memory alone, and those of Strands do not sync what they write. For key-value stores a
size is that of the entries in the store.
"""
