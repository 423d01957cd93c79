"""What a linear transformer is made of."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

from dynprobe.errors import FeatureMapError, UnknownNameError, suggest
from dynprobe.nn.linear_attention.feature_maps import FEATURE_MAPS

POSITIONS = ("none", "sinusoidal", "learned", "rotary")
MAPS = (*FEATURE_MAPS, "favor")


class LinearTransformerConfig(PreTrainedConfig):
    """Configuration of a :class:`LinearTransformerModel`.

    Parameters
    ----------
    vocab_size, hidden_size, num_hidden_layers, num_attention_heads : int
        As in other transformers.
    head_dim : int, optional
        Width of a head's queries, keys and values; ``hidden_size / num_attention_heads``.
    intermediate_size : int, optional
        Width of the feed-forward layer; ``4 * hidden_size``.
    feature_map : str
        "elu", "relu", "squared_relu", or "favor": positive random features of the softmax kernel.
    num_features, feature_seed : int
        Of "favor": number of random features (None: ``2 * head_dim``), and the seed of layer 0.
    normalize : bool
        Divide by the sum of the weights (Katharopoulos et al. 2020, eq. 8). False divides each
        head's output by its root mean square instead (Qin et al. 2022, arXiv 2210.10340, eq. 7).
    attention_eps : float
        Added to the denominator.
    decay : "retnet", float, list of float or None
        What is left of a head's state after a token, in (0, 1]: one number, one for each head, or
        ``1 - 2**(-5 - head)`` (Sun et al. 2023, arXiv 2307.08621, eq. 8). None: everything.
    causal : bool
        False is an encoder: every token sees every token.
    position_embedding : str
        "none", "sinusoidal", "learned" (up to `max_position_embeddings`), or "rotary". Rotary
        turns features after phi, which makes them signed: it needs ``normalize=False``.
    rotary_base : float
        Longest wavelength of rotary positions over 2 pi.
    dropout : float
        Of embeddings and of what each sublayer adds.
    chunk_size, backend
        Of :func:`dynprobe.nn.causal_linear_attention`.
    classifier_pooling : str
        "last" valid token or "mean" of valid tokens; None: "last" if causal, else "mean".

    Raises
    ------
    FeatureMapError
        If rotary positions are asked for together with `normalize`.
    UnknownNameError
        If a feature map, position embedding or decay is not among those above.
    ValueError
        If a number is out of range, or an encoder is given a decay.
    """

    model_type = "linear_transformer"
    keys_to_ignore_at_inference = ["past_key_values"]  # noqa: RUF012

    def __init__(
        self,
        vocab_size: int = 32_000,
        hidden_size: int = 256,
        num_hidden_layers: int = 4,
        num_attention_heads: int = 8,
        head_dim: int | None = None,
        intermediate_size: int | None = None,
        hidden_act: str = "gelu",
        feature_map: str = "elu",
        num_features: int | None = None,
        feature_seed: int = 0,
        normalize: bool = True,
        attention_eps: float = 1e-6,
        decay: str | float | list[float] | None = None,
        causal: bool = True,
        position_embedding: str = "sinusoidal",
        max_position_embeddings: int = 2048,
        rotary_base: float = 10_000.0,
        dropout: float = 0.0,
        layer_norm_eps: float = 1e-5,
        initializer_range: float = 0.02,
        chunk_size: int = 64,
        backend: str = "auto",
        classifier_pooling: str | None = None,
        use_cache: bool = True,
        pad_token_id: int | None = None,
        bos_token_id: int | None = None,
        eos_token_id: int | list[int] | None = None,
        tie_word_embeddings: bool = True,
        **kwargs: Any,
    ) -> None:
        if head_dim is None:
            if hidden_size % num_attention_heads:
                raise ValueError(
                    f"hidden_size {hidden_size} is not a multiple of num_attention_heads "
                    f"{num_attention_heads}; pass head_dim."
                )
            head_dim = hidden_size // num_attention_heads
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.head_dim = head_dim
        self.intermediate_size = 4 * hidden_size if intermediate_size is None else intermediate_size
        self.hidden_act = hidden_act
        self.feature_map = feature_map
        self.num_features = 2 * head_dim if num_features is None else num_features
        self.feature_seed = feature_seed
        self.normalize = normalize
        self.attention_eps = attention_eps
        self.decay = decay
        self.causal = causal
        self.position_embedding = position_embedding
        self.max_position_embeddings = max_position_embeddings
        self.rotary_base = rotary_base
        self.dropout = dropout
        self.layer_norm_eps = layer_norm_eps
        self.initializer_range = initializer_range
        self.chunk_size = chunk_size
        self.backend = backend
        self.classifier_pooling = classifier_pooling or ("last" if causal else "mean")
        self.use_cache = use_cache
        self._check()
        super().__init__(
            pad_token_id=pad_token_id,
            bos_token_id=bos_token_id,
            eos_token_id=eos_token_id,
            tie_word_embeddings=tie_word_embeddings,
            **kwargs,
        )

    @property
    def feature_dim(self) -> int:
        """Width of phi(k), rows of a head's state."""
        return int(self.num_features if self.feature_map == "favor" else self.head_dim)

    @property
    def rates(self) -> list[float] | None:
        """What is left of each head's state after a token; None for everything."""
        heads = range(self.num_attention_heads)
        if self.decay is None:
            return None
        if self.decay == "retnet":
            return [1 - 2.0 ** (-5 - head) for head in heads]
        if isinstance(self.decay, (int, float)):
            return [float(self.decay) for _ in heads]
        return [float(rate) for rate in self.decay]

    def _check(self) -> None:
        _known("feature_map", self.feature_map, MAPS)
        _known("position_embedding", self.position_embedding, POSITIONS)
        _known("classifier_pooling", self.classifier_pooling, ("last", "mean"))
        if isinstance(self.decay, str):
            _known("decay", self.decay, ("retnet",))
        rates = self.rates
        if rates is not None:
            if len(rates) != self.num_attention_heads or not all(0 < r <= 1 for r in rates):
                raise ValueError(
                    f"decay is {self.decay}; give one number in (0, 1], or one for each of the "
                    f"{self.num_attention_heads} heads."
                )
            if not self.causal:
                raise ValueError("decay has no meaning without causality; leave out one of them.")
        if self.position_embedding == "rotary":
            if self.normalize:
                raise FeatureMapError(
                    "Rotary positions turn phi(q) and phi(k), so that weights can be negative and "
                    "the denominator can cross zero. Pass normalize=False, or another "
                    "position_embedding."
                )
            if self.feature_dim % 2:
                raise ValueError(
                    f"Rotary positions turn pairs of features, but phi(k) has {self.feature_dim}; "
                    "make it even."
                )


def _known(argument: str, name: str, names: tuple[str, ...]) -> None:
    if name not in names:
        raise UnknownNameError(f"{argument} is {name!r}, which is unknown. {suggest(name, names)}")
