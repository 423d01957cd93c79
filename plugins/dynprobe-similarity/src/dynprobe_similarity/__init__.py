"""How alike layers and models are, in what they represent and in how they move."""

from dynprobe_similarity.analyzer import LayerSimilarity, LayerSimilarityResult
from dynprobe_similarity.matrix import MEASURES, SimilarityMatrix
from dynprobe_similarity.recordings import similarity_matrix

__all__ = [
    "MEASURES",
    "LayerSimilarity",
    "LayerSimilarityResult",
    "SimilarityMatrix",
    "similarity_matrix",
]
