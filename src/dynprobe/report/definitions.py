"""What each number of the page is: shown when a reader points at it."""

from __future__ import annotations

from dynprobe.report.summary import CLOUDS, Row

#: What the table of dimensions says of each cloud of states.
_CLOUD = (
    "(Σ v)² / Σ v² of the variances v of {} along their principal components: how many directions "
    "they use, unequal ones counting in part. In brackets its 95 % interval over sequences; then "
    "components for 90 %, for 95 % and for N/(N+1) of the variance, and how many exceed what "
    "shuffled units give."
)
_CLOUDS = {
    CLOUDS.measure: "Each line below is a cloud of states, and how many dimensions it uses.",
    "visited states": _CLOUD.format("all visited states"),
    "final states": _CLOUD.format("the last states of all sequences"),
    "fixed points": _CLOUD.format("the distinct certified fixed points"),
    "fixed and slow points": _CLOUD.format("the fixed and slow points that the search found"),
}

#: By analyzer, then by the measure's name or its beginning. Others explain their own numbers.
DEFINITIONS: dict[str, dict[str, str]] = {
    "recording": {
        "states": "Valid steps of all recorded sequences, one state each.",
        "accuracy": (
            "Share of the recorded sequences whose last logits are largest for their label. "
            "These are the sequences that were recorded, not a test set."
        ),
    },
    "manifold_dimension": {
        "variance shares": "Share of the variance along each of the first principal components.",
        "N - 1": (
            "Numbers that must be remembered to tell N classes apart by their evidence: only "
            "differences count."
        ),
        **_CLOUDS,
    },
    "fixed_point_dimension": _CLOUDS,
    "dimension_scale": {
        "GRIDE": (
            "Dimension from how the distance to the n-th and to the 2n-th neighbour compare, at "
            "several n: noise shows at small n, the shape at large n."
        ),
        "MLE": (
            "Dimension from the distances to the k nearest neighbours (Levina and Bickel 2004), at "
            "several k."
        ),
        "local PCA": (
            "Principal components that k neighbours of a state need, averaged over states, at "
            "several k."
        ),
        "sample": "States that the curves are worked out on, chosen at random by the seed.",
    },
    "fixed_points": {
        "seeds: fixed / slow / neither": (
            "Where the search came to rest from each recorded state it began at: on a "
            "certified fixed point, on a slow point (small speed ½‖F(s) − s‖², but it "
            "drifts), or on neither."
        ),
        "distinct fixed points": (
            "States s with F(s, x) = s for the held input x, certified one by one; seeds "
            "that came to the same point count once."
        ),
        "are any missing?": (
            "Whether fixed points are known to be missing, by the sum of their indices and "
            "by seeds between known points."
        ),
        "dimension of the slow set": (
            "Participation ratio of the fixed and slow points that the seeds came to rest on."
        ),
    },
    "integration_direction": {
        "longest time constants": (
            "|1/ln|λ|| of the eigenvalues λ of the Jacobian closest to 1 in size: steps "
            "until what a mode holds has faded, or grown, by a factor of e."
        ),
        "integrating modes": (
            "Eigenvectors of the map's Jacobian at a typical fixed or slow point whose time "
            "constant, |1/ln|λ||, is at least as long as a sequence: what they hold lasts."
        ),
        "slow modes in the PC plane": (
            "Share of the slowest modes that lies in the plane of the leading principal "
            "components of the states; beside it what random directions give."
        ),
        "readout in the slow modes": (
            "Share of the readout vectors inside the span of the slow modes; beside it what "
            "random directions give."
        ),
        "non-normality": (
            "Departure of the Jacobian from a normal matrix, over its norm: 0 where its "
            "eigenvectors are at right angles, near 1 where they are far from it."
        ),
        "error of the linear model": (
            "Error of the states that the linearisation foresees, relative to how far the "
            "states move."
        ),
        "only its": "The network run again with its states held to these modes at every step.",
        "without its": (
            "The network run again with these modes removed from its states at every step."
        ),
        "with all its": "The network run again with its states held to all these modes.",
        "without all its": "The network run again with all these modes removed from its states.",
        "readout angles": "Angles between the readout vectors of every two classes.",
        "readout angles in the plane": (
            "Angles between the projections of the readout vectors on the plane of the components."
        ),
        "largest deflections": (
            "Tokens with the longest mean change of the state by one occurrence, in the "
            "plane of the first two principal components."
        ),
        "deflection in the PC plane": (
            "Length of the mean change s_t − s_(t−1) by a token, in the plane of the first "
            "two principal components."
        ),
        "deflection in the full space": (
            "Length of the mean change s_t − s_(t−1) by a token, in all dimensions."
        ),
        "deflection by the slow modes": (
            "Length of what the slow modes take of a token's linear push J_inp (x − x*)."
        ),
    },
    "readout_geometry": {
        "readout angles": (
            "Angles between the readout vectors of every two classes, and what random "
            "vectors of this width have."
        ),
        "readout norms": "Lengths of the readout vectors; in a simplex all are equal.",
        "share of a norm in the span of the others": (
            "How much of each readout vector the others can make up: 1 in a simplex, whose "
            "vectors sum to zero."
        ),
    },
    "components_accuracy": {
        "components the readout needs": (
            "Fewest principal components to which final states can be reduced before the "
            "readout loses a hundredth."
        ),
        "accuracy by components": (
            "Accuracy of the readout on final states reduced to so many principal components "
            "of the visited states."
        ),
        "agreement with the whole state by components": (
            "Share of answers that stay the same when final states are reduced to so many "
            "principal components."
        ),
    },
    "order_shuffle": {
        "same answer in random order": (
            "Share of sequences whose answer stays when their inputs are run in random "
            "order: 1 where only counts matter."
        ),
        "final state in random order": (
            "Mean distance between the final states of both orders, over the length of the first."
        ),
        "accuracy": "Accuracy in the recorded order and in random order.",
    },
    "word_counts": {
        "dimension predicted by word counts": (
            "Dimensions of the classes' mean word frequencies: what counting words needs, "
            "without any network."
        ),
        "variance between classes": (
            "Variance between the classes' mean word frequencies over that with shuffled "
            "labels: near 1, word counts do not tell the classes apart."
        ),
    },
    "bag_of_words": {
        "accuracy of a bag of words": (
            "Accuracy of a logistic regression on word counts, on texts that it was not fitted to."
        ),
        "dimension predicted by a bag of words": (
            "Dimensions of what each word adds to the logits of that regression."
        ),
        "pushes of words, network and bag of words": (
            "Angle between what each word adds to the logits of the regression and of the "
            "network: 0 where both weigh words alike."
        ),
    },
}

#: The numbers at the top of the page.
HEADLINES: dict[str, str] = {
    "components for 95 %": (
        "Fewest principal components that together hold 95 % of the variance of the visited states."
    ),
    "mean readout angle": (
        "Mean angle between the readout vectors of every two classes, their common part "
        "removed. In a simplex it is arccos(−1/(N−1)) for N classes."
    ),
    "fixed points": (
        "States s with F(s, x) = s for the held input x, certified one by one: speed, "
        "remaining Newton step and drift are at rounding level. Seeds that came to the same "
        "point count once."
    ),
    "accuracy": DEFINITIONS["recording"]["accuracy"],
    "participation ratio": (
        "(Σ v)² / Σ v² of the variances v of the visited states along their principal "
        "components: how many directions the states use, unequal ones counting in part."
    ),
    "integrating modes": DEFINITIONS["integration_direction"]["integrating modes"],
}

#: What colours the words of a sequence.
PUSH = (
    "W (s_t − s_(t−1)), readout weights times the change of the state: what the step adds to "
    "each logit. A part that is the same for all classes does not change the answer."
)


def definition(analyzer: str, measure: str) -> str:
    """What a measure is, or nothing where only its analyzer knows."""
    known = DEFINITIONS.get(analyzer, {})
    begun = [name for name in known if measure.startswith(name)]
    return known[max(begun, key=len)] if begun else ""


def explained(analyzer: str, row: Row) -> str:
    """Everything there is to say of a row's value."""
    known = definition(analyzer, row.measure)
    if known and row.meaning:
        return f"{known} Here: {row.meaning}."
    return known or row.meaning or f"As the analyzer {analyzer} gives it; it adds no explanation."
