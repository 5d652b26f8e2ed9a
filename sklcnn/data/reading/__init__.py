"""Reading X: from whatever the user passes to a store, and a schema by which later X are read alike."""

from sklcnn.data.reading.forms import is_table_of_numbers
from sklcnn.data.reading.kinds import check_kind
from sklcnn.data.reading.reader import read_again, read_inputs

__all__ = ["check_kind", "is_table_of_numbers", "read_again", "read_inputs"]
