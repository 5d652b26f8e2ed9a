"""The kinds of target: each a class that says all that depends on the kind."""
