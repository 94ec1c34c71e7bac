"""Pytest plugins that put fsstore in the place of a framework's own store.

They run in an environment that has the framework, and are found there by their bare names: the frameworks' tests are in
packages called `tests`, too.
"""
