"""Training of networks. No other folder imports skorch."""
