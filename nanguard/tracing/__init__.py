"""From a live callable to an fx graph, and from that to terms."""
