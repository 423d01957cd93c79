"""How much of a logit came from each token, through the dynamics."""

from dynprobe_evidence.analyzer import Evidence, EvidenceResult, SequenceEvidence
from dynprobe_evidence.tracing import Traces, trace

__all__ = ["Evidence", "EvidenceResult", "SequenceEvidence", "Traces", "trace"]
