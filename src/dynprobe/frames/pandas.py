"""pandas, where it is installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dynprobe.errors import MissingPackageError


def data_frame(columns: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Any:
    """A pandas DataFrame of columns by name, or of rows.

    Raises
    ------
    MissingPackageError
        If pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise MissingPackageError(
            "to_pandas() makes a pandas DataFrame, and pandas is not installed. Install it: "
            "pip install 'dynprobe[pandas]'."
        ) from error
    return pandas.DataFrame(columns)
