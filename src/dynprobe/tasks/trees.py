"""Reading sentences from trees in which every phrase carries a label."""

from __future__ import annotations

import re
from pathlib import Path

from dynprobe.errors import DataError
from dynprobe.tasks.reading import read_utf8
from dynprobe.tasks.rows import ClassNames, Rows
from dynprobe.tasks.words import split_words

# The Stanford Sentiment Treebank (Socher et al. 2013) numbers them from 0.
SENTIMENTS = ["very negative", "negative", "neutral", "positive", "very positive"]

_TOKEN = re.compile(r"[()]|[^\s()]+")
# How the Penn Treebank writes what would be taken for a bracket or a branch.
_ESCAPES = {
    "-LRB-": "(",
    "-RRB-": ")",
    "-LSB-": "[",
    "-RSB-": "]",
    "-LCB-": "{",
    "-RCB-": "}",
}


def read_sentences(path: Path) -> Rows:
    """Read one tree a line, ``(3 (2 It) (4 (2 's) (4 good)))``: its words and its root's label.

    Labels 0 to 4, where all of them occur, are named as the Stanford Sentiment Treebank does.

    Raises
    ------
    DataError
        Naming file and line, if a line is no tree; naming the file, if it is missing, not UTF-8
        or without trees.
    """
    trees = _read_trees(path)
    roots = [nodes[-1] for nodes in trees.values()]
    labels = [[label] for _, label in roots]
    names = None
    if {label for _, label in roots} == {str(k) for k in range(len(SENTIMENTS))}:
        names = ClassNames(SENTIMENTS, "the Stanford Sentiment Treebank")
    return Rows(str(path), [words for words, _ in roots], labels, list(trees), names=names)


def read_phrases(path: Path) -> Rows:
    """Read every labelled phrase of every tree, the sentence last; those without a word left out.

    Raises
    ------
    DataError
        As :func:`read_sentences`.
    """
    phrases = [
        (words, label, line)
        for line, nodes in _read_trees(path).items()
        for words, label in nodes
        if split_words(words)
    ]
    return Rows(
        str(path),
        [words for words, _, _ in phrases],
        [[label] for _, label, _ in phrases],
        [line for _, _, line in phrases],
    )


def _read_trees(path: Path) -> dict[int, list[tuple[str, str]]]:
    """Return words and label of the nodes of each tree, by line number."""
    lines = read_utf8(path).split("\n")
    trees = {
        number: _nodes(line, f"{path}, line {number}")
        for number, line in enumerate(lines, start=1)
        if line.strip()
    }
    if not trees:
        raise DataError(f"{path}: there are no trees. Give a file with one tree a line.")
    return trees


def _nodes(tree: str, place: str) -> list[tuple[str, str]]:
    """Return the words and the label of every node, a node after those below it."""
    nodes: list[tuple[str, str]] = []
    leaves: list[str] = []
    opened: list[tuple[str, int]] = []  # label, and how many leaves came before
    before = ""
    for token in _TOKEN.findall(tree):
        if nodes and not opened:
            raise _no_tree(place, f"{token!r} follows after its last bracket")
        if token == ")":
            if not opened or before in ("", "("):
                raise _no_tree(place, "a closing bracket has no node to close")
            label, start = opened.pop()
            if start == len(leaves):
                raise _no_tree(place, f"a node with label {label!r} has no words")
            nodes.append((" ".join(leaves[start:]), label))
        elif before == "(":
            if token == "(":
                raise _no_tree(place, "a node has no label")
            opened.append((token, len(leaves)))
        elif token != "(":
            if not opened:
                raise _no_tree(place, "it does not begin with an opening bracket")
            leaves.append(_ESCAPES.get(token, token).replace("\\/", "/"))
        before = token
    if opened or before == "(":
        raise _no_tree(place, "a bracket is not closed")
    return nodes


def _no_tree(place: str, why: str) -> DataError:
    return DataError(f"{place}: not a tree like (1 (2 not) (3 good)): {why}. Repair the line.")
