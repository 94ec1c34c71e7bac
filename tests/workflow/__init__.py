"""Makes the sample sessions by really running a small agent workflow.

`python -m tests.workflow --out sample_data` runs a LangGraph graph (a scripted model, real tools, an in-memory
checkpointer) for some hundred conversations and writes each finished thread as session data. Nothing touches the
network, and clock, ids and chance are our own, so the same arguments give the same bytes.

From the rim inwards: `__main__` writes files, `sessions` shapes a thread into session data, `casting` draws who
talks when, `sitting` drives one conversation, `graph` and `model` are the agent, `scenarios` is what is said and
`tools` what the agent can do.
"""
