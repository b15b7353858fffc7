"""Random loss programs over the ops table, and what must be true of every one of them."""
