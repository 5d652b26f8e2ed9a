"""The kinds of target: one class for each, with everything that depends on the kind."""
