"""From source to terms, without torch and without running anything."""
