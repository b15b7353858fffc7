"""From a match to a witness: what torch computes, and what is exact."""
