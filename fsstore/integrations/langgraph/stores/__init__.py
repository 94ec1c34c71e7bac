"""Items of LangGraph in a store: the store that it knows, and what that is made of."""
