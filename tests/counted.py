"""Counts of work, from what the package logs at level DEBUG."""

import logging


class Counted(logging.Handler):
    """Add up the first argument of each record of a logger, from now on.

    Parameters
    ----------
    name : {"sklcnn.features", "sklcnn.weights"}
        Images that go through a backbone; networks whose weights are read.
    """

    def __init__(self, name):
        super().__init__(logging.DEBUG)
        self.value = 0
        logger = logging.getLogger(name)
        logger.setLevel(logging.DEBUG)
        logger.addHandler(self)

    def emit(self, record):
        """Add a record's number."""
        self.value += record.args[0]
