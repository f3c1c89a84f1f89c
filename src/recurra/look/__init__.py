"""Looking into a model: every number behind an answer, why it came out so, and how the signal flows through time."""
