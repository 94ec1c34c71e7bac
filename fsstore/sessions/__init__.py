"""Sessions on top of any storage: their contract, their models, their policy, edits and transactions."""
