"""From a finding to a replacement, and into the source."""
