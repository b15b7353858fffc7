"""From terms to matches: normal forms, ranges, and the rules."""
