"""Three versions of one document made one, for git. Pure: no I/O."""
