"""THE LOG: what happened, as leaves that are stored verbatim. Anyone above may append; nobody changes what is there."""
