from .attribution import influence, stream_influence
from .files import LabelledMatrix, open_matrix, read_matrix
from .labels import Labels
from .landmarks import Landmarks, fit_landmarks
from .matrix import Matrix, MatrixLike, as_matrix
from .normalization import NORMALIZATIONS, ColumnWarning, normalize
from .stored import Attribution, open_attribution

__all__ = [
    "NORMALIZATIONS",
    "Attribution",
    "ColumnWarning",
    "LabelledMatrix",
    "Labels",
    "Landmarks",
    "Matrix",
    "MatrixLike",
    "as_matrix",
    "fit_landmarks",
    "influence",
    "normalize",
    "open_attribution",
    "open_matrix",
    "read_matrix",
    "stream_influence",
]
