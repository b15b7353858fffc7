"""Many files, and other processes that run them."""
