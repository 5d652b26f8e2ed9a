"""The training room: the only one that imports skorch."""
