"""Checkpoints of LangGraph in a store: the saver, and what it is made of."""
