"""The linear transformer as transformers models; importing it makes the Auto classes know them."""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
)

from dynprobe.nn.linear_transformer import observer as _observer  # noqa: F401  (registers itself)
from dynprobe.nn.linear_transformer.cache import LinearTransformerCache
from dynprobe.nn.linear_transformer.configuration import LinearTransformerConfig
from dynprobe.nn.linear_transformer.heads import (
    LinearTransformerForCausalLM,
    LinearTransformerForSequenceClassification,
)
from dynprobe.nn.linear_transformer.model import LinearTransformerModel

LinearTransformer = LinearTransformerModel

AutoConfig.register(LinearTransformerConfig.model_type, LinearTransformerConfig)
AutoModel.register(LinearTransformerConfig, LinearTransformerModel)
AutoModelForCausalLM.register(LinearTransformerConfig, LinearTransformerForCausalLM)
AutoModelForSequenceClassification.register(
    LinearTransformerConfig, LinearTransformerForSequenceClassification
)

__all__ = [
    "LinearTransformer",
    "LinearTransformerCache",
    "LinearTransformerConfig",
    "LinearTransformerForCausalLM",
    "LinearTransformerForSequenceClassification",
    "LinearTransformerModel",
]
