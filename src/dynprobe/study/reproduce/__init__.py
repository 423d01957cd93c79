"""Aitken et al. 2020 (arXiv 2010.15114) once more: train, measure, set beside what they found."""
