"""How the shares of a bag of words' components on AG News depend on how it is fitted.

python benchmarks/bag_of_words_shares.py FOLDER

Logistic regressions with several penalties and three ways to weight words, every word weighing as
often as it occurs; and the classifier of the reproduction, every word counting once, where texts of
more than 50 words are left out, as there, or cut. Of each: accuracy, and the shares of variance of
what an occurrence of a word adds to the logits.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from machine import save
from scipy.sparse import csr_matrix, diags
from sklearn.linear_model import LogisticRegression

from dynprobe.dimension.spectrum import centred_spectrum
from dynprobe.study.bag_of_words import bag_of_words
from dynprobe.study.reproduce.news import SEEDS, STEPS, WORDS
from dynprobe.study.summed_embeddings import summed_embeddings
from dynprobe.tasks import TextTask, text
from dynprobe.tasks.text_split import TextSplit

#: Inverse strength of the penalty, scikit-learn's C.
STRENGTHS = (1e-3, 1e-2, 0.1, 1.0, 10.0)


def counts(split: TextSplit, words: int) -> csr_matrix:
    """(texts, words), how often each word occurs."""
    rows = np.repeat(np.arange(len(split)), [len(t) for t in split.tokens])
    columns = torch.cat(list(split.tokens)).numpy()
    return csr_matrix((np.ones(len(rows)), (rows, columns)), (len(split), words))


def fitted(task: TextTask, weighting: str, strength: float) -> tuple[float, list[float]]:
    """Test accuracy, and shares of the three components."""
    if weighting == "tf-idf":
        found = bag_of_words(task, regularisation=strength)
        return found.accuracy["test"], found.spectrum.variance_ratios[:3].tolist()
    parts = [task.split(part) for part in ("train", "test")]
    x, x_test = (counts(part, len(task.vocabulary)) for part in parts)
    often = np.asarray(x.sum(0)).ravel()
    if weighting == "mean":
        x, x_test = (diags(1 / np.asarray(m.sum(1)).ravel()) @ m for m in (x, x_test))
    y, y_test = (part.labels.numpy() for part in parts)
    model = LogisticRegression(C=strength, max_iter=1000).fit(x, y)
    seen = often > 0
    spectrum = centred_spectrum(
        torch.from_numpy(model.coef_.T[seen].copy()), torch.from_numpy(often[seen])
    )
    return float(model.score(x_test, y_test)), spectrum.variance_ratios[:3].tolist()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    options = parser.parse_args()
    torch.set_num_threads(1)
    task = text(options.folder)
    rows = []
    for weighting in ("counts", "mean", "tf-idf"):
        for strength in STRENGTHS:
            accuracy, shares = fitted(task, weighting, strength)
            rows.append(
                {"weighting": weighting, "C": strength, "accuracy": accuracy, "shares": shares}
            )
            print(f"{weighting:7} C {strength:<6g} accuracy {accuracy:.3f}  shares "
                  + " ".join(f"{s:.3f}" for s in shares), flush=True)  # fmt: skip
    for overlong in ("drop", "cut"):
        short = text(options.folder, max_length=WORDS, overlong=overlong)
        for seed in SEEDS:
            found = summed_embeddings(short, steps=STEPS, seed=seed)
            shares = found.spectrum.variance_ratios[:3].tolist()
            rows.append(
                {"weighting": f"summed embeddings, long texts: {overlong}", "seed": seed,
                 "accuracy": found.accuracy, "shares": shares}
            )  # fmt: skip
            print(f"summed embeddings, {overlong}, seed {seed} accuracy {found.accuracy:.3f}  "
                  "shares " + " ".join(f"{s:.3f}" for s in shares), flush=True)  # fmt: skip
    save("bag_of_words_shares", {"fits": rows})


if __name__ == "__main__":
    main()
